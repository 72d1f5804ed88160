"""Places under a run's `max_parallel`: whoever waits for one gets it, also when the step that stood
before it goes away without having run."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator import store
from orchestrator.models import Run, StepRun, TenantLoad, Worker
from orchestrator.services.pauses import pause_run, resume_run
from orchestrator.services.pools import create_pool
from orchestrator.services.repairs import retry_step, skip_step
from orchestrator.services.runs import cancel_run
from orchestrator.store import clock
from orchestrator.store.work import Claimed
from tenants.actors import SYSTEM
from tenants.services import create_tenant
from tests.store.waiting import Waiting

UNDO = {"handler": "core.echo", "args": {}}


@pytest.fixture
def engine(db: None) -> Waiting:
    return Waiting(create_tenant(slug="t", max_connections=50, actor=SYSTEM))


def step(name: str, *parents: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "handler": "core.echo", "depends_on": list(parents), **more}


def start(engine: Waiting, *steps: dict[str, Any]) -> Run:
    """A run of which one step runs at a time."""
    engine.publish("w", *steps, max_parallel=1)
    return engine.submit("w")


def in_front(engine: Waiting, run: Run, name: str, batch: int = 0) -> None:
    """Let this one be the next of those that are parked."""
    at = StepRun.objects.filter(run=run, ordinal=engine.ordinal(run.pk, name), batch=batch)
    assert at.update(rank=0) == 1


def parked(engine: Waiting, run: Run, name: str, batch: int = 0) -> str | None:
    at = StepRun.objects.get(run=run, ordinal=engine.ordinal(run.pk, name), batch=batch)
    assert at.state == "ready"
    return at.parked


def names(claims: list[Claimed]) -> list[str]:
    """Which steps these are, in the definition's order a, b, c and so on."""
    return ["abcdef"[claim.ordinal] for claim in claims]


def go_on(engine: Waiting) -> list[str]:
    """Run all that may run; what ran, in its order."""
    ran: list[str] = []
    while claims := engine.turn():
        ran += names(claims)
        engine.succeed(claims)
    assert engine.counts_agree()
    return ran


def b_before_c(engine: Waiting, **of_c: Any) -> Run:
    """A run of which a has ended, b may be claimed, and c waits for b's place."""
    run = start(engine, step("a"), step("b"), step("c", **of_c))
    (a,) = engine.turn()
    in_front(engine, run, "b")
    engine.succeed([a])
    assert (parked(engine, run, "b"), parked(engine, run, "c")) == (None, "max_parallel")
    return run


def test_a_step_that_is_skipped_gives_its_place_on(engine: Waiting) -> None:
    run = b_before_c(engine)
    skip_step(tenant=engine.tenant, run_id=run.pk, name="b", actor=SYSTEM)
    assert go_on(engine) == ["c"]


def test_while_the_run_is_paused_too(engine: Waiting) -> None:
    run = start(engine, step("a"), step("b"), step("c"))
    (a,) = engine.turn()
    pause_run(tenant=engine.tenant, run_id=run.pk, actor=SYSTEM)
    in_front(engine, run, "b")
    engine.succeed([a])
    skip_step(tenant=engine.tenant, run_id=run.pk, name="b", actor=SYSTEM)
    assert go_on(engine) == []
    resume_run(tenant=engine.tenant, run_id=run.pk, actor=SYSTEM)
    assert go_on(engine) == ["c"]


def test_always_steps_of_a_cancelled_run_get_their_place(engine: Waiting) -> None:
    run = b_before_c(engine, trigger_rule="always")
    cancel_run(tenant=engine.tenant, run_id=run.pk, actor=SYSTEM)
    assert go_on(engine) == ["c"]
    run.refresh_from_db()
    assert run.state == "cancelled"


def test_a_step_that_is_reset_gives_its_place_on(engine: Waiting) -> None:
    """Its parent, tried again by hand, takes a cached output and never asks for a place."""
    cached = {"cache": {"key": "x", "ttl": "10m"}}
    run = start(
        engine,
        step("a", **cached),
        step("b", "a", trigger_rule="one_failed"),
        step("c", "e"),
        step("d", "e"),
        step("e"),
    )
    claimed = {}
    for name in "eac":
        in_front(engine, run, name)
        (claimed[name],) = engine.turn()
        assert names([claimed[name]]) == [name]
        if name == "e":
            engine.succeed([claimed[name]])
        elif name == "a":
            engine.fail(claimed[name])
    in_front(engine, run, "b")
    engine.succeed([claimed["c"]])
    assert (parked(engine, run, "b"), parked(engine, run, "d")) == (None, "max_parallel")
    pause_run(tenant=engine.tenant, run_id=run.pk, actor=SYSTEM)
    engine.publish("v", step("a", **cached))
    engine.submit("v")
    engine.succeed(engine.turn(), 1)
    resume_run(tenant=engine.tenant, run_id=run.pk, actor=SYSTEM)
    retry_step(tenant=engine.tenant, run_id=run.pk, name="a", actor=SYSTEM)
    assert go_on(engine) == ["d"]
    run.refresh_from_db()
    assert run.state == "succeeded"


def test_an_undo_that_is_given_up_gives_its_place_on(engine: Waiting) -> None:
    each = [step(name, undo=UNDO) for name in "abc"]
    run = start(engine, *each, step("d", "a", "b", "c"))
    for _ in range(3):
        engine.succeed(engine.turn())
    (d,) = engine.turn()
    engine.fail(d)
    in_front(engine, run, "a", -2)
    (a,) = engine.turn()
    in_front(engine, run, "b", -2)
    engine.fail(a, retry_in_s=3600)
    assert (parked(engine, run, "b", -2), parked(engine, run, "c", -2)) == (None, "max_parallel")
    skip_step(tenant=engine.tenant, run_id=run.pk, name="b", actor=SYSTEM)
    assert go_on(engine) == ["c"]


def test_a_cached_step_that_lets_others_go_ahead_gives_its_place_on(engine: Waiting) -> None:
    cached = {"cache": {"key": "x", "ttl": "10m"}}
    run = start(engine, step("a"), step("b", **cached), step("c"))
    (a,) = engine.turn()
    in_front(engine, run, "b")
    assert engine.turn() == []  # b and c are parked
    engine.succeed([a])
    pause_run(tenant=engine.tenant, run_id=run.pk, actor=SYSTEM)
    engine.publish("v", step("a", **cached))
    engine.submit("v")
    assert engine.turn() == []
    assert clock.tend_caches(store.connection()) == 1
    engine.succeed(engine.turn(), 1)
    resume_run(tenant=engine.tenant, run_id=run.pk, actor=SYSTEM)
    assert go_on(engine) == ["c"]


@pytest.mark.parametrize("alike", [True, False])
def test_a_step_that_nobody_can_run_gives_its_place_on(engine: Waiting, alike: bool) -> None:
    run = start(
        engine,
        step("a"),
        step("b", queue="gone"),
        step("c", queue="gone" if alike else "io"),
        step("d"),
    )
    worker = engine.join("io", "gone")
    (a,) = engine.turn()
    in_front(engine, run, "b")
    engine.succeed([a])
    Worker.objects.filter(pk=worker.pk).update(queues=["io"])
    worker.queues = ["io"]
    assert engine.turn() == []
    clock.unserved(store.connection(), lease_s=15)
    assert go_on(engine) == (["d"] if alike else ["c", "d"])
    Worker.objects.filter(pk=worker.pk).update(queues=["io", "gone"])
    worker.queues = ["io", "gone"]
    clock.unserved(store.connection(), lease_s=15)
    assert go_on(engine) == (["b", "c"] if alike else ["b"])


def test_steps_that_wait_for_a_full_pool_are_passed(engine: Waiting) -> None:
    create_pool(tenant=engine.tenant, body={"name": "p", "limit": 1}, actor=SYSTEM)
    run = start(engine, step("a"), step("b", pool="p"), step("c"), step("d", pool="p"))
    (a,) = engine.turn()
    engine.publish("v", step("a", pool="p"))
    engine.submit("v")
    (other,) = engine.turn()
    in_front(engine, run, "b")
    engine.succeed([a])
    assert engine.turn() == []
    clock.unserved(store.connection(), lease_s=15)
    assert (parked(engine, run, "c"), parked(engine, run, "d")) == (None, "max_parallel")
    clock.unserved(store.connection(), lease_s=15)
    assert go_on(engine) == ["c"]
    engine.succeed([other])
    assert sorted(go_on(engine)) == ["b", "d"]


def test_pools_without_work_are_no_trouble(engine: Waiting) -> None:
    create_pool(tenant=engine.tenant, body={"name": "p", "limit": 1}, actor=SYSTEM)
    assert clock.unserved(store.connection(), lease_s=15) == []


def test_the_reconciler_finds_who_was_forgotten(engine: Waiting) -> None:
    run = start(engine, step("a"), step("b"))
    StepRun.objects.filter(run=run).update(parked="max_parallel")
    TenantLoad.objects.update(ready_count=0)
    assert clock.reconcile(store.connection()) == 1
    assert go_on(engine) == ["a", "b"]
