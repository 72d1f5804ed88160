"""A tenant with all that can be changed, and what a change left in the audit log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from orchestrator.models import ServerLoad, SlaProposal, Workflow
from tenants import services
from tenants.actors import Actor
from tenants.models import AuditEntry, Role, Tenant, TenantDatabase
from tests.alerts.planted import Planted
from tests.api.client import Answer, Api
from tests.engine import Engine

ME = Actor("user", "me", "192.0.2.7")
UNDO = {"handler": "core.echo", "args": {}}
STEPS = [{"name": "a", "handler": "core.echo", "undo": UNDO}]
WAITS = [{"name": "a", "signal": "go"}]
SLA = {"kind": "run_duration", "threshold": "1h"}
SOON = {"workflow": "w", "interval": "1m"}
HOOK = {"kind": "webhook", "url": "https://example.org/hook"}
QUIET = {"match": {"rule": "*"}, "reason": "r", "duration": "1h"}
WEEKLY = {"match": {"rule": "*"}, "cron": "0 2 * * 0", "duration": "1h"}
HOUR = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-01T01:00:00Z"}


@dataclass
class World:
    """A tenant with a workflow, a key for everything, and an admin at a browser."""

    tenant: Tenant
    api: Api
    engine: Engine
    client: Client

    def run(self, workflow: str = "w") -> str:
        """A run that is queued."""
        return str(self.api.post(f"/workflows/{workflow}/runs").body["id"])

    def failed(self) -> str:
        """A run that has failed."""
        run_id = self.run()
        for claim in self.engine.claim():
            self.engine.fail(claim)
        return run_id

    def succeeded(self) -> str:
        """A run that has succeeded."""
        run_id = self.run()
        self.engine.run_all(1)
        return run_id

    def paused(self) -> str:
        """A run that is paused."""
        run_id = self.run()
        assert self.api.post(f"/runs/{run_id}/pause").status == 200
        return run_id

    def made(self, noun: str, body: dict[str, Any] | None = None) -> Any:
        """A schedule, trigger, pool or secret named x."""
        bodies: dict[str, dict[str, Any]] = {
            "schedules": SOON,
            "triggers": {"workflow": "w"},
            "slas": SLA,
            "pools": {"limit": 1},
            "secrets": {"value": "long-enough"},
            "channels": HOOK,
            "maintenance-windows": WEEKLY,
        }
        made = self.api.post(f"/{noun}", {"name": "x", **bodies[noun], **(body or {})})
        assert made.status == 201, made.text
        return made.body

    def proposed(self) -> object:
        """A rule is proposed for the workflow."""
        return SlaProposal.objects.create(
            tenant_id=self.tenant.pk, workflow=Workflow.objects.get(tenant=self.tenant, name="w"),
            p95_s=1, threshold_s=2, run_count=100,
        )  # fmt: skip

    def alert(self) -> str:
        """The id of an alert that fires."""
        Planted(self.tenant.pk).bad()
        return str(self.api.get("/alerts").body["items"][0]["id"])

    def silence(self) -> str:
        """The id of a silence."""
        return str(self.api.post("/silences", QUIET).body["id"])

    def key(self) -> str:
        """The id of a key that may be rotated and revoked."""
        return services.create_api_key(tenant=self.tenant, actor=ME)[0].prefix

    def elsewhere(self) -> object:
        """The tenant's database is another server's."""
        row = TenantDatabase.objects.filter(tenant=self.tenant)
        return row.update(external=b"sealed", external_name="app@shop/shop")

    def invitation(self) -> int:
        """An invitation that is open."""
        return services.invite(tenant=self.tenant, role=Role.VIEWER, link=str, actor=ME)[0].pk

    def boosted(self) -> object:
        """A limit is set until tomorrow."""
        until = timezone.now() + timedelta(days=1)
        return services.set_quota(tenant=self.tenant, actor=ME, max_connections=20, until=until)

    def page(self, path: str, **form: str) -> Answer:
        """What the admin sends from a page."""
        return Answer(self.client.post(f"/t/{self.tenant.slug}/{path}", form))  # type: ignore[arg-type]


Act = Callable[[World], object]


@pytest.fixture
def walked(tenant: Tenant, api: Api, engine: Engine) -> World:
    slots = [ServerLoad(slot=slot) for slot in range(-1, 16)]
    ServerLoad.objects.bulk_create(slots, ignore_conflicts=True)
    assert api.put("/workflows/w", {"steps": STEPS}).status == 201
    assert api.put("/workflows/waits", {"steps": WAITS}).status == 201
    user = services.create_user(
        name="ada", password="a-long-enough-word-9", tenant=tenant, role=Role.ADMIN, staff=True,
        actor=ME,
    )  # fmt: skip
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    services.create_user(
        name="bea", password="a-long-enough-word-9", tenant=tenant, role=Role.ADMIN, actor=ME
    )
    return World(tenant, api, engine, client)


def acts(world: World, row: tuple[Act, Callable[[World, Any], object]]) -> list[AuditEntry]:
    """The entries that a call left."""
    before, call = row
    found = before(world)
    last = AuditEntry.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    answer = call(world, found)
    if isinstance(answer, Answer):
        assert answer.status < 400, answer.text
    return list(AuditEntry.objects.filter(pk__gt=last))
