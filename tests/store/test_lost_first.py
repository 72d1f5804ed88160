"""What a process died under goes before everything else, one at a time, into a process of its own."""

from __future__ import annotations

import pytest

from orchestrator import store
from orchestrator.models import Run
from orchestrator.services.pools import change_pool, create_pool
from orchestrator.services.runs import submit_run
from orchestrator.services.workflows import publish_workflow
from orchestrator.store import clock, workers
from tenants.actors import SYSTEM
from tenants.models import Tenant
from tenants.services import create_tenant
from tenants.services.quotas import set_quota
from tests.engine import Engine

WORK = {"name": "a", "handler": "core.echo", "args": {}}


@pytest.fixture
def tenant(db: None) -> Tenant:
    return create_tenant(slug="t", max_connections=20, actor=SYSTEM)


@pytest.fixture
def engine(db: None) -> Engine:
    return Engine()


def start(tenant: Tenant, **more: object) -> Run:
    """A run of one step."""
    publish_workflow(tenant=tenant, name="w", document={"steps": [{**WORK, **more}]}, actor=SYSTEM)
    made = submit_run(tenant=tenant, workflow="w", body={}, actor=SYSTEM)
    return Run.objects.get(pk=made.run_id)


def lose(engine: Engine) -> None:
    """The process dies, and another takes its place."""
    assert engine.worker is not None
    workers.reap(store.connection(), engine.worker.pk)
    engine.worker = None
    engine.join()
    assert clock.reconcile(store.connection()) == 0


def test_before_any_backlog_one_at_a_time(tenant: Tenant, engine: Engine) -> None:
    lost = {start(tenant).pk for _ in range(3)}
    assert len(engine.claim()) == 3
    lose(engine)
    waits = {start(tenant).pk for _ in range(30)}
    assert {one.run_id for one in engine.claim(5, alone=False)} < waits, "not into any process"
    for _ in range(3):
        (one,) = engine.claim(5, alone=True)
        assert one.suspect
        lost.remove(one.run_id)
    assert len(engine.claim(5, alone=True)) == 5
    assert clock.reconcile(store.connection()) == 0


def test_a_process_without_room_takes_it_too(tenant: Tenant, engine: Engine) -> None:
    start(tenant)
    engine.claim()
    lose(engine)
    start(tenant)
    (one,) = engine.claim(0, alone=True)
    assert one.suspect
    assert engine.claim(0, alone=True) == []


def test_what_may_not_run_holds_up_nobody(tenant: Tenant, engine: Engine) -> None:
    other = create_tenant(slug="u", actor=SYSTEM)
    create_pool(tenant=tenant, body={"name": "p", "limit": 1}, actor=SYSTEM)
    start(tenant, pool="p")
    engine.claim()
    lose(engine)
    change_pool(tenant=tenant, name="p", body={"limit": 0}, actor=SYSTEM)
    free = start(other)
    (one,) = engine.claim()
    assert one.run_id == free.pk
    # nor where its tenant has no connection for it
    change_pool(tenant=tenant, name="p", body={"limit": 1}, actor=SYSTEM)
    set_quota(tenant=tenant, max_connections=1, actor=SYSTEM)
    start(tenant)
    (calm,) = engine.claim(alone=False)
    assert engine.claim() == []
    engine.succeed([calm])
    (again,) = engine.claim()
    assert again.suspect
    assert again.losses == 1
