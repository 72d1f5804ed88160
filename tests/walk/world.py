"""Two tenants: one with a thing of every kind, all named `quillon`, and one that has nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, transaction
from pytest_django import DjangoDbBlocker

from orchestrator import store
from orchestrator.domain.steplog import Line
from orchestrator.models import ServerLoad, Sla, SlaProposal, SlaState, Workflow
from orchestrator.services import sla_counting
from orchestrator.store import logs
from orchestrator.store.logs import Written
from tenants import keys
from tenants.actors import SYSTEM
from tenants.models import Role, Tenant
from tenants.services import create_api_key, create_tenant, create_user
from tests.alerts.planted import Planted
from tests.api.client import Answer, Api
from tests.engine import Engine
from tests.fence.catalogue import owned

MARK = "quillon"
ABSENT = "nothing-here"
STEP = {"handler": "core.echo", "args": {"value": MARK}}
WORKFLOW = {
    "steps": [
        {"name": "quillon_a", **STEP},
        {"name": "quillon_b", "depends_on": ["quillon_a"], **STEP},
    ]
}
USED = ("api_key", "membership")
"""Tables in which looking alone writes when it was."""


@dataclass
class World:
    """The tenant that is walked around, and its ids by the names of paths' parts."""

    tenant: Tenant
    stranger: Tenant
    api: Api
    ids: dict[str, str] = field(default_factory=dict)

    def marks(self) -> dict[str, Any]:
        """What each table holds of the tenant, as sums."""
        found = {}
        with connection.cursor() as cursor:
            for table in owned():
                if table.name not in USED:
                    cursor.execute(
                        f"SELECT count(*), md5(string_agg(t::text, '' ORDER BY t::text))"
                        f' FROM "{table.name}" t WHERE tenant_id = %s',
                        [self.tenant.pk],
                    )
                    found[table.name] = cursor.fetchone()
        return found

    def key(self, tenant: Tenant, *scopes: str) -> Api:
        """A client with a key of this tenant (all scopes unless some are given)."""
        return Api(create_api_key(tenant=tenant, scopes=scopes or None, actor=SYSTEM)[1])


def _created(answer: Answer, *statuses: int) -> Any:
    assert answer.status in (statuses or (201,)), answer.text
    return answer.body


@pytest.fixture
def world(db: None) -> World:
    """A tenant with a thing of every kind, and a stranger."""
    return _made()


@pytest.fixture(scope="module")
def lasting_world(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[World]:
    """The same, made once for a module none of whose tests commits: what each writes is undone."""
    with django_db_blocker.unblock(), transaction.atomic():
        yield _made()
        transaction.set_rollback(True)


def _made() -> World:
    keys.forget()
    slots = [ServerLoad(slot=slot) for slot in range(-1, 16)]
    ServerLoad.objects.bulk_create(slots, ignore_conflicts=True)
    tenant = create_tenant(slug=f"{MARK}-{uuid4().hex[:8]}", actor=SYSTEM)
    made = World(tenant, create_tenant(slug=f"s{uuid4().hex[:8]}", actor=SYSTEM), Api(None))
    made.api = made.key(tenant)
    made.ids = {
        "name": MARK,
        "workflow": MARK,
        "step": "quillon_a",
        "version": "1",
        "slug": tenant.slug,
        **_runs(made.api),
        **_slas(tenant, made.api),
        **_alerts(tenant, made.api),
        **_access(tenant, made.api),
    }
    return made


def _runs(api: Api) -> dict[str, str]:
    """A workflow with a run that failed and one that goes on, and what starts others."""
    engine = Engine()
    _created(api.put(f"/workflows/{MARK}", WORKFLOW))
    submitted = {"input": {MARK: MARK}, "labels": {"k": MARK}}
    run = _created(api.post(f"/workflows/{MARK}/runs", submitted), 202)
    for claim in engine.claim():
        line = Line(1, time.monotonic(), 20, MARK, None)
        logs.write(store.connection(), [Written(claim, line)])
        engine.fail(claim, message=MARK)
    _created(api.post(f"/workflows/{MARK}/runs", submitted), 202)
    now = datetime.now(UTC)
    _created(api.post("/schedules", {"name": MARK, "workflow": MARK, "interval": "10m"}))
    hour = {"from": (now - timedelta(minutes=30)).isoformat(), "to": now.isoformat()}
    backfill = _created(api.post(f"/schedules/{MARK}/backfill", hour), 200, 201, 202)
    _created(api.post("/triggers", {"name": MARK, "workflow": MARK}))
    _created(api.post("/pools", {"name": MARK, "limit": 2}))
    letters = api.get("/dead-letters").body["items"]
    action = _created(api.post("/dead-letters/retry", {"all": True, "rate": "1/1d"}), 202)
    return {
        "run_id": run["id"],
        "backfill_id": str(backfill["id"]),
        "action_id": str(action["id"]),
        "fingerprint": letters[0]["fingerprint"],
    }


def _slas(tenant: Tenant, api: Api) -> dict[str, str]:
    """A rule that counts, and one that is proposed."""
    _created(api.post("/slas", {"name": MARK, "kind": "run_duration", "threshold": "1h"}))
    workflow = Workflow.objects.get(tenant=tenant, name=MARK)
    SlaProposal.objects.create(
        tenant_id=tenant.pk, workflow=workflow, p95_s=1, threshold_s=2, run_count=100
    )
    sla_counting.count(store.connection())
    SlaState.objects.create(
        sla=Sla.objects.get(tenant=tenant, name=MARK), tenant_id=tenant.pk, at=datetime.now(UTC),
        changed_at=datetime.now(UTC), sight="good",
    )  # fmt: skip
    return {}


def _alerts(tenant: Tenant, api: Api) -> dict[str, str]:
    """An alert that fires, a channel that is told, and what mutes."""
    mail = {"name": MARK, "kind": "email", "to": [f"{MARK}@example.org"], "group_wait": 0}
    _created(api.post("/channels", mail))
    rule = Planted(tenant.pk, f"sla:{MARK}", {"workflow": MARK}, name=MARK)
    rule.bad(summary=MARK)
    quiet = {"match": {"rule": MARK}, "reason": MARK}
    silence = _created(api.post("/silences", {**quiet, "duration": "1h"}))
    weekly = {**quiet, "name": MARK, "cron": "0 2 * * 0", "duration": "1h"}
    _created(api.post("/maintenance-windows", weekly))
    alert = api.get("/alerts").body["items"][0]
    return {"alert_id": alert["id"], "silence_id": silence["id"]}


def _access(tenant: Tenant, api: Api) -> dict[str, str]:
    """A secret, a key and a member."""
    _created(api.post("/secrets", {"name": MARK, "value": f"{MARK} {MARK}"}))
    key = _created(api.post("/api-keys", {"name": MARK}))
    create_user(name=MARK, password=None, tenant=tenant, role=Role.VIEWER, actor=SYSTEM)
    return {"key_id": key["id"]}
