"""Repairs against each other and against what workers write, with real transactions."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from orchestrator import store
from orchestrator.models import Run
from orchestrator.store import connect
from orchestrator.store import repairs as store_repairs
from orchestrator.store.work import Claimed, Completion
from tenants.actors import SYSTEM
from tenants.models import Tenant
from tenants.services import create_tenant
from tests.engine import Engine
from tests.store.repairing import fail, retry
from tests.store.test_pauses import in_order, start, states, step

pytestmark = pytest.mark.thorough


@pytest.fixture
def racing(transactional_db: None) -> Tenant:
    """A tenant whose rows are committed."""
    return create_tenant(slug="race", max_connections=100, actor=SYSTEM)


def at_once(*calls: Callable[[store.Connection], object]) -> list[object]:
    """Call each on a connection of its own, at the same moment; what they answered."""
    barrier = threading.Barrier(len(calls))
    answers: list[object] = [None] * len(calls)

    def go(place: int) -> None:
        with connect(name="race") as connection:
            barrier.wait()
            answers[place] = calls[place](connection)

    threads = [threading.Thread(target=go, args=(place,)) for place in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_of_two_retries_at_once_one_is_refused(racing: Tenant) -> None:
    engine = Engine()
    for _ in range(10):
        run = start(racing, step("a"), step("b", "a"))
        fail(engine, 0)

        def again(connection: store.Connection, run: Run = run) -> str | None:
            done = store_repairs.retry_run(
                connection, tenant_id=racing.pk, run_id=run.pk, from_ordinal=None, actor="x"
            )
            return done.refused

        assert sorted(map(str, at_once(again, again))) == ["None", "run running"]
        assert states(run) == "ready blocked"
        engine.run_all(1)
        in_order(racing)


def test_a_late_completion_after_a_retry_is_refused(racing: Tenant) -> None:
    """A worker that was given up speaks after the step was retried and claimed by another."""
    old, new = Engine(), Engine()
    run = start(racing, step("a"))
    gone, late = old, None
    for _ in range(3):  # the third loss fails it
        (late,) = old.claim()
        assert old.worker is not None
        store.connection().execute("SELECT engine_reap(%s)", (old.worker.pk,))
        gone, old = old, Engine()
    assert late is not None
    run.refresh_from_db()
    assert run.state == "failed"
    retry(racing, run)
    gone.succeed([late], "late")
    assert states(run) == "ready"
    (claim,) = new.claim()
    assert (claim.epoch, claim.attempts, claim.losses, claim.suspect) == (4, 0, 0, False)
    gone.succeed([late], "late")
    assert states(run) == "running"
    new.succeed([claim], "right")
    run.refresh_from_db()
    assert (run.state, run.output) == ("succeeded", '"right"')
    assert gone.worker is not None
    gone.worker.refresh_from_db()
    assert gone.worker.refused_count == 2
    in_order(racing)


def test_completing_a_step_against_its_end(racing: Tenant) -> None:
    """The step's failure or the hand comes first: the step has one end, and the run goes on from it."""
    engine = Engine()
    outcomes = set()
    for _ in range(10):
        run = start(racing, step("a"), step("b", "a"))
        (claim,) = engine.claim()
        assert engine.worker is not None

        def complete(connection: store.Connection, run: Run = run) -> str | None:
            done = store_repairs.settle_step(
                connection, tenant_id=racing.pk, run_id=run.pk, ordinal=0, state="succeeded",
                output="1", actor="x",
            )  # fmt: skip
            return done.refused

        def end(connection: store.Connection, claim: Claimed = claim) -> None:
            engine.complete_on(
                connection,
                Completion(claim, "failed", 0.1, error='{"code":"error","message":"m"}'),
            )

        refused, _ = at_once(complete, end)
        outcomes.add(refused)
        assert states(run) == ("failed skipped" if refused else "succeeded ready")
        in_order(racing)
        engine.run_all(1)
        in_order(racing)
    assert outcomes <= {None, "step running"}
