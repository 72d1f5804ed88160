"""Pools, statement by statement: places, lanes, rates, and what is counted of them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from orchestrator import store
from orchestrator.models import Pool, Run, StepRun
from orchestrator.selectors.steps import steps_view
from orchestrator.services.pools import change_pool, create_pool
from orchestrator.services.runs import submit_run
from orchestrator.services.workflows import publish_workflow
from orchestrator.store import clock, work, workers
from orchestrator.store.work import Claimed, Completion
from tenants.actors import SYSTEM
from tenants.models import Tenant
from tenants.services import create_tenant
from tests.engine import Engine


@pytest.fixture
def tenant(db: None) -> Tenant:
    return create_tenant(slug="t", max_connections=50, actor=SYSTEM)


@pytest.fixture
def other(db: None) -> Tenant:
    return create_tenant(slug="u", max_connections=50, actor=SYSTEM)


@pytest.fixture
def engine(db: None) -> Engine:
    return Engine()


def step(name: str, pool: str | None = None, **more: Any) -> dict[str, Any]:
    found = {"name": name, "handler": "core.echo", "args": {}, **more}
    return found if pool is None else {**found, "pool": pool}


def pool(tenant: Tenant | None, name: str, limit: int, rate: str | None = None) -> Pool:
    body: dict[str, object] = {"name": name, "limit": limit}
    return create_pool(tenant=tenant, body={**body, "rate": rate}, actor=SYSTEM)


def start(tenant: Tenant, steps: list[dict[str, Any]], **more: Any) -> Run:
    name = f"w{Run.objects.count()}"
    publish_workflow(tenant=tenant, name=name, document={"steps": steps, **more}, actor=SYSTEM)
    made = submit_run(tenant=tenant, workflow=name, body={}, actor=SYSTEM)
    return Run.objects.get(pk=made.run_id)


def real(claims: list[Claimed]) -> list[Claimed]:
    return [c for c in claims if c.kind == "step"]


def in_use(name: str) -> int:
    return Pool.objects.get(name=name).in_use


def sound() -> None:
    """What is counted is what is."""
    assert clock.reconcile(store.connection()) == 0


def waiting(tenant: Tenant, run: Run) -> list[dict[str, Any]]:
    rows: Any = steps_view(tenant=tenant, run_id=run.pk)
    return [row["waiting"] for row in rows if row["state"] == "ready"]


def test_no_more_than_the_limit_and_places_come_back(tenant: Tenant, engine: Engine) -> None:
    pool(tenant, "p", 3)
    run = start(tenant, [step(f"s{i}", "p") for i in range(8)])
    claims = engine.claim()
    assert (len(claims), in_use("p")) == (3, 3)
    assert engine.claim() == []
    (held, *_) = waiting(tenant, run)
    assert held["reason"] == "pool"
    assert "3 of the 3 places" in held["detail"]
    sound()
    engine.succeed(claims[:2])
    assert in_use("p") == 1
    again = engine.claim()
    assert (len(again), in_use("p")) == (2, 3)
    engine.succeed([*again, claims[2]])
    engine.run_all()
    run.refresh_from_db()
    assert (run.state, in_use("p")) == ("succeeded", 0)
    sound()


def test_a_full_pool_hides_no_other_work(tenant: Tenant, other: Tenant, engine: Engine) -> None:
    pool(tenant, "p", 1)
    start(tenant, [step(f"s{i}", "p") for i in range(200)], priority=9)
    pool(tenant, "q", 1)
    free = start(tenant, [step("a"), step("b", "q")], priority=0)
    elsewhere = start(other, [step("a")], priority=0)
    assert len(engine.claim(1)) == 1
    # want 1: nothing that cannot start may stand first, in a tenant or before another
    runs = Counter(c.run_id for _ in range(4) for c in engine.claim(1))
    assert runs == {free.pk: 2, elsewhere.pk: 1}
    sound()


def test_a_pool_of_the_server_is_shared_by_tenants(
    tenant: Tenant, other: Tenant, engine: Engine
) -> None:
    pool(None, "shared", 2)
    for one in (tenant, other):
        start(one, [step(f"s{i}", "shared") for i in range(5)])
    done: Counter[int] = Counter()
    while claims := engine.claim():
        assert len(claims) == in_use("shared") == 2
        done.update(c.tenant_id for c in claims)
        assert abs(done[tenant.pk] - done[other.pk]) <= 2, "in turns"
        engine.succeed(claims)
    assert done == {tenant.pk: 5, other.pk: 5}
    sound()


def test_a_pool_of_the_tenant_hides_the_servers(
    tenant: Tenant, other: Tenant, engine: Engine
) -> None:
    pool(None, "p", 1)
    mine = pool(tenant, "p", 3)
    start(tenant, [step(f"s{i}", "p") for i in range(5)])
    start(other, [step(f"s{i}", "p") for i in range(5)])
    claims = engine.claim()
    assert Counter(c.tenant_id for c in claims) == {tenant.pk: 3, other.pk: 1}
    assert set(
        StepRun.objects.filter(tenant=tenant, state="running").values_list("pool_id", flat=True)
    ) == {mine.pk}
    engine.succeed(claims)
    sound()


def test_resized_live_and_paused(tenant: Tenant, engine: Engine) -> None:
    pool(tenant, "p", 4)
    run = start(tenant, [step(f"s{i}", "p") for i in range(20)])

    def resize(limit: int) -> None:
        change_pool(tenant=tenant, name="p", body={"limit": limit}, actor=SYSTEM)

    claims = engine.claim()
    resize(2)
    assert (len(claims), in_use("p"), engine.claim()) == (4, 4, []), "what runs may end"
    engine.succeed(claims[:3])
    claims = [claims[3], *engine.claim()]
    assert (len(claims), in_use("p")) == (2, 2)
    resize(0)
    engine.succeed(claims)
    assert engine.claim() == []
    assert "paused" in waiting(tenant, run)[0]["detail"]
    resize(100)
    engine.run_all()
    run.refresh_from_db()
    assert run.state == "succeeded"
    sound()


def test_a_pool_that_is_gone_is_waited_for(tenant: Tenant, engine: Engine) -> None:
    pool(tenant, "p", 1)
    run = start(tenant, [step("a", "p")])
    Pool.objects.all().delete()
    assert engine.claim() == []
    (held,) = waiting(tenant, run)
    assert (held["reason"], "no pool" in held["detail"]) == ("pool", True)
    pool(None, "p", 1)
    engine.run_all()
    run.refresh_from_db()
    assert run.state == "succeeded"


def test_what_waits_holds_no_place(tenant: Tenant, engine: Engine) -> None:
    pool(tenant, "p", 1)
    start(tenant, [step(f"s{i}", "p", retry={"max_attempts": 2, "delay": "1h"}) for i in range(3)])
    for _ in range(3):
        (claim,) = engine.claim()
        engine.fail(claim, retry_in_s=3600)
    assert in_use("p") == 0
    assert engine.claim() == []
    sound()


def test_lost_held_and_given_back_places(tenant: Tenant, engine: Engine) -> None:
    pool(tenant, "p", 3)
    start(tenant, [step(f"s{i}", "p") for i in range(3)])
    back, held, lost = engine.claim()
    assert engine.worker is not None
    engine.complete(Completion(back, "ready", 0.1, counts=False))
    assert in_use("p") == 2
    engine.complete(
        Completion(held, "failed", 0.1, error='{"code":"timeout","message":""}', held=True)
    )
    assert in_use("p") == 2, "its code still runs"
    sound()
    connection = store.connection()
    work.unhold(connection, engine.worker.pk, [held])
    assert in_use("p") == 1
    (again,) = engine.claim()
    assert again.key == back.key
    engine.complete(
        Completion(again, "failed", 0.1, error='{"code":"timeout","message":""}', held=True)
    )
    assert in_use("p") == 2
    assert workers.reap(connection, engine.worker.pk)[0] == 1
    assert in_use("p") == 0
    sound()
    # what was lost runs alone, within its pool too
    change_pool(tenant=tenant, name="p", body={"limit": 0}, actor=SYSTEM)
    engine.join()
    assert engine.claim() == []
    change_pool(tenant=tenant, name="p", body={"limit": 1}, actor=SYSTEM)
    (alone,) = engine.claim()
    assert (alone.key, alone.suspect, in_use("p")) == (lost.key, True, 1)
    engine.succeed([alone])
    sound()


def test_max_parallel_and_a_pool_together(tenant: Tenant, engine: Engine) -> None:
    pool(tenant, "p", 5)
    narrow = start(tenant, [step(f"s{i}", "p") for i in range(100)], max_parallel=2)
    wide = start(tenant, [step(f"s{i}", "p") for i in range(10)])
    claims = engine.claim()
    assert Counter(c.run_id for c in claims) == {narrow.pk: 2, wide.pk: 3}
    while claims:
        assert Counter(c.run_id for c in claims)[narrow.pk] <= 2
        engine.succeed(claims)
        claims = engine.claim()
    for run in (narrow, wide):
        run.refresh_from_db()
        assert run.state == "succeeded"
    sound()


def test_max_parallel_holds_however_many_steps_stand_before(tenant: Tenant, engine: Engine) -> None:
    start(tenant, [step(f"s{i}") for i in range(200)], max_parallel=1)
    assert len(engine.claim(1)) == 1
    for _ in range(6):
        assert engine.claim(1) == []
    sound()


def test_a_rate_spaces_starts_evenly(tenant: Tenant, engine: Engine) -> None:
    pool(tenant, "p", 100, rate="10/2s")
    run = start(tenant, [step(f"s{i}", "p") for i in range(6)])
    claims = engine.claim()
    assert [c.kind for c in claims] == ["step"]
    (later,) = engine.claim()
    assert later.kind == "later"
    assert 50 < later.epoch <= 205
    held = waiting(tenant, run)[0]
    assert (held["reason"], held["until"] is not None) == ("pool", True)
    engine.succeed(claims)
    sound()
    # time goes by
    store.connection().execute("UPDATE pool SET next_at = next_at - interval '1 hour'")
    assert len(real(engine.claim())) == 1, "idle time saves nothing up"
    change_pool(tenant=tenant, name="p", body={"rate": "1/1h"}, actor=SYSTEM)
    store.connection().execute("UPDATE pool SET next_at = now() - interval '1 s'")
    assert len(real(engine.claim())) == 1
    assert engine.claim() == [], "an hour is not waited for"
    change_pool(tenant=tenant, name="p", body={"rate": None}, actor=SYSTEM)
    assert len(real(engine.claim())) == 3
    assert Pool.objects.get(name="p").next_at is None


def test_a_quick_rate_lets_late_starts_catch_up(tenant: Tenant, engine: Engine) -> None:
    pool(tenant, "p", 1000, rate="1000/1s")
    start(tenant, [step(f"s{i}", "p") for i in range(200)])
    first = real(engine.claim())
    assert 40 <= len(first) <= 50


def test_reconcile_mends_a_pool(tenant: Tenant, engine: Engine) -> None:
    pool(tenant, "p", 3)
    pool(None, "s", 3)
    start(tenant, [step("a", "p"), step("b", "s")])
    engine.claim()
    sound()
    Pool.objects.update(in_use=7)
    assert clock.reconcile(store.connection()) == 2
    assert (in_use("p"), in_use("s")) == (1, 1)
    sound()


def test_the_clock_wakes_nobody_for_a_full_pool(tenant: Tenant, engine: Engine) -> None:
    pool(tenant, "p", 1)
    start(tenant, [step("a", "p"), step("b", "p", queue="cpu")])
    engine.join()
    connection = store.connection()
    assert clock.eligible(connection, lease_s=15) == ["cpu", "io"]
    (claim,) = engine.claim()
    assert clock.eligible(connection, lease_s=15) == []
    engine.succeed([claim])
    assert len(clock.eligible(connection, lease_s=15)) == 1
