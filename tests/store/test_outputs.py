"""Outputs that nobody needs any more go, and only those."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection as django_connection

from orchestrator import store
from orchestrator.executor.payloads import put_away
from orchestrator.executor.plans import Plans
from orchestrator.handlers import registry
from orchestrator.models import Heartbeat, Payload, Run, SpentRun, StepRun, WorkflowVersion
from orchestrator.selectors.payloads import Payload as Shown
from orchestrator.services.runs import submit_run
from orchestrator.services.workflows import publish_workflow
from orchestrator.store import clock, heartbeats
from orchestrator.store.heartbeats import Beat
from orchestrator.store.payloads import INLINE
from orchestrator.store.work import Claimed, Completion
from tenants.actors import SYSTEM
from tenants.models import Tenant
from tenants.services import create_tenant, set_quota
from tests.engine import Engine

LARGE = '"' + "x" * INLINE * 2 + '"'


@pytest.fixture
def tenant(db: None) -> Tenant:
    """A tenant that does not keep outputs."""
    tenant = create_tenant(slug="t", actor=SYSTEM)
    set_quota(tenant=tenant, actor=SYSTEM, keep_outputs=False)
    return tenant


def start(tenant: Tenant) -> Run:
    """A run of two steps, one after the other."""
    steps: list[dict[str, Any]] = [
        {"name": "a", "handler": "core.echo"},
        {"name": "b", "handler": "core.echo", "depends_on": ["a"]},
    ]
    publish_workflow(tenant=tenant, name="w", document={"steps": steps}, actor=SYSTEM)
    made = submit_run(tenant=tenant, workflow="w", body={"input": LARGE}, actor=SYSTEM)
    return Run.objects.get(pk=made.run_id)


def succeed(engine: Engine, claims: list[Claimed]) -> None:
    """End claims with a large output each."""
    completions = [Completion(claim, "succeeded", 0.1, output=LARGE) for claim in claims]
    put_away(store.connection(), Plans(registry), completions)
    engine.complete(*completions)


def outputs() -> list[str | None]:
    return list(StepRun.objects.order_by("ordinal").values_list("output", flat=True))


def test_they_go_once_their_run_has_succeeded(tenant: Tenant) -> None:
    run = start(tenant)
    engine = Engine()
    (first,) = engine.claim()
    assert engine.worker is not None
    heartbeats.write(store.connection(), engine.worker.pk, [Beat(first, "1")])
    succeed(engine, [first])
    assert clock.drop_outputs(store.connection()) == 0, "the run goes on"
    succeed(engine, engine.claim())
    assert Payload.objects.count() == 3
    assert str(SpentRun.objects.get()) == str(run.pk)
    assert clock.drop_outputs(store.connection()) == 1
    assert clock.drop_outputs(store.connection()) == 0
    assert outputs() == [None, None]
    assert Payload.objects.count() == 2, "the run's own"
    assert not Heartbeat.objects.exists()
    run.refresh_from_db()
    assert run.outputs_dropped_at is not None
    assert Shown(str(run.output)).text == LARGE
    assert clock.reconcile(store.connection()) == 0


@pytest.mark.parametrize("why", ["kept", "undo", "failed", "goes on"])
def test_who_may_need_them_keeps_them(tenant: Tenant, why: str) -> None:
    engine = Engine()
    start(tenant)
    if why == "kept":
        set_quota(tenant=tenant, actor=SYSTEM, keep_outputs=True)
    if why == "undo":
        WorkflowVersion.objects.update(has_undo=True)
    succeed(engine, engine.claim())
    (last,) = engine.claim()
    if why == "failed":
        engine.fail(last)
    else:
        succeed(engine, [last])
    if why == "goes on":
        with django_connection.cursor() as cursor:
            cursor.execute("UPDATE run SET state = 'running', finished_at = NULL")
    assert clock.drop_outputs(store.connection()) == 0
    assert outputs()[0] is not None
    assert not SpentRun.objects.exists()
