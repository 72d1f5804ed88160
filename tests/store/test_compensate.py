"""Compensations: while one lasts its step has not ended, and what it answers is what becomes of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator import store
from orchestrator.domain.undo import COMPENSATION
from orchestrator.models import Event, Run, StepRun
from orchestrator.services import repairs
from orchestrator.services.runs import cancel_run
from orchestrator.store import clock, work, workers
from orchestrator.store.work import Completion
from tenants.actors import SYSTEM
from tenants.models import Tenant
from tests.engine import Engine
from tests.store.test_undo import consistent, start, step, tenant
from tests.store.waiting import Waiting

__all__ = ["tenant"]


def compensated(tenant: Tenant, **more: Any) -> tuple[Run, Engine]:
    """A run whose only step has a compensation; its first attempt has failed."""
    call = {"handler": "core.echo", "args": {"why": "${{ error.message }}"}}
    run = start(tenant, [step("a", compensate=call, **more), step("b", "a", undo=None)])
    engine = Engine()
    engine.fail(engine.claim()[0])
    return run, engine


def own(run: Run) -> StepRun:
    """The step that is compensated."""
    return StepRun.objects.get(run=run, ordinal=0, batch=0)


def test_while_it_is_compensated_a_step_has_not_ended(tenant: Tenant) -> None:
    run, engine = compensated(tenant)
    row = own(run)
    assert (row.state, row.wait_reason, row.finished_at) == ("waiting", "compensate", None)
    (claim,) = engine.claim()
    assert (claim.batch, claim.states) == (COMPENSATION, ["1"])
    assert json.loads((claim.outputs or [""])[0] or "")["message"] == "no"
    run.refresh_from_db()
    assert run.failed_count == 0
    types = list(
        Event.objects.filter(run_id=run.pk, batch=0).order_by("seq").values_list("type", flat=True)
    )
    assert types == ["step.ready", "step.running", "step.retrying", "step.waiting"]
    consistent(tenant)
    engine.complete(Completion(claim, "succeeded", 0, output="42", reason="continue"))
    row = own(run)
    assert (row.state, row.handled, row.output) == ("succeeded", True, "42")
    assert row.error is not None
    (b,) = engine.claim()
    assert b.ordinal == 1
    engine.succeed([b])
    run.refresh_from_db()
    assert (run.state, run.undo_state) == ("succeeded", None)
    consistent(tenant)


def test_a_compensation_grants_three_more_attempts_at_most(tenant: Tenant) -> None:
    run, engine = compensated(tenant)
    for granted in range(1, 4):
        (claim,) = engine.claim()
        assert claim.batch == COMPENSATION
        engine.complete(Completion(claim, "succeeded", 0, reason="retry"))
        assert own(run).extra_attempts == granted
        (again,) = engine.claim()
        assert (again.batch, again.attempts) == (0, granted)
        engine.fail(again)
    (claim,) = engine.claim()
    engine.complete(Completion(claim, "succeeded", 0, reason="retry"))
    run.refresh_from_db()
    assert (own(run).state, own(run).attempts, run.state) == ("failed", 4, "failed")
    assert engine.claim() == []
    consistent(tenant)


def test_a_compensation_may_ask_for_a_delay(tenant: Tenant) -> None:
    run, engine = compensated(tenant)
    (claim,) = engine.claim()
    engine.complete(Completion(claim, "succeeded", 0, reason="retry", delay_s=3600))
    row = own(run)
    assert (row.state, row.wait_reason, row.charged_s) == ("waiting", "retry", 3600)
    assert row.due_at is not None
    assert engine.claim() == []
    consistent(tenant)


@pytest.mark.parametrize("outcome", ["succeeded", "failed", "skipped"])
def test_a_compensation_that_says_nothing_or_fails_leaves_the_step_failed(
    tenant: Tenant, outcome: str
) -> None:
    run, engine = compensated(tenant)
    (claim,) = engine.claim()
    engine.complete(Completion(claim, outcome, 0, error='{"code":"error","message":"also"}'))
    run.refresh_from_db()
    assert (own(run).state, run.state, run.failed_count) == ("failed", "failed", 1)
    assert json.loads(run.error or "")["cause"]["message"] == "no", "the step's error"
    assert Event.objects.filter(run_id=run.pk, type="step.failed", batch=0).count() == 1
    consistent(tenant)


def test_a_lost_compensation_runs_again(tenant: Tenant) -> None:
    run, engine = compensated(tenant)
    for _ in range(3):
        assert [c.batch for c in engine.claim()] == [COMPENSATION]
        assert engine.worker is not None
        workers.reap(store.connection(), engine.worker.pk)
        engine.worker = None
    assert (own(run).state, own(run).handled) == ("failed", False)
    run.refresh_from_db()
    assert run.state == "failed"
    consistent(tenant)


def test_the_fence_of_a_lost_compensation_outlives_a_repair_by_hand(tenant: Tenant) -> None:
    run, engine = compensated(tenant)
    (before,) = engine.claim()
    assert engine.worker is not None
    workers.reap(store.connection(), engine.worker.pk)
    engine.worker = None
    repairs.skip_step(tenant=tenant, run_id=run.pk, name="a", actor=SYSTEM)
    consistent(tenant)
    repairs.retry_run(tenant=tenant, run_id=run.pk, body={"from_step": "a"}, actor=SYSTEM)
    engine.fail(engine.claim()[0])
    (claim,) = engine.claim()
    assert (claim.batch, claim.epoch > before.epoch) == (COMPENSATION, True)
    consistent(tenant)


@pytest.mark.parametrize("claimed", [False, True])
def test_cancel_ends_a_compensation_and_its_step_stays_failed(
    tenant: Tenant, claimed: bool
) -> None:
    run, engine = compensated(tenant)
    claims = engine.claim() if claimed else []
    cancel_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    run.refresh_from_db()
    if claimed:
        assert run.state == "running", "its code is awaited"
        engine.complete(Completion(claims[0], "cancelled", 0, error='{"code":"cancelled"}'))
    run.refresh_from_db()
    assert (run.state, own(run).state, run.open_count) == ("cancelled", "failed", 0)
    consistent(tenant)


def test_a_step_that_fails_in_a_closing_run_is_not_compensated(tenant: Tenant) -> None:
    call = {"handler": "core.echo", "args": {}}
    run = start(tenant, [step("a", compensate=call)])
    engine = Engine()
    (claim,) = engine.claim()
    cancel_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    engine.fail(claim)
    run.refresh_from_db()
    assert (run.state, own(run).state) == ("cancelled", "failed")


def test_a_condition_that_fails_is_compensated_and_asked_again(tenant: Tenant) -> None:
    call = {"handler": "core.echo", "args": {}}
    run = start(tenant, [{**step("a", compensate=call), "if": "${{ input.n > 0 }}"}])
    engine = Engine()
    (asked,) = engine.claim()
    assert asked.kind == "condition"
    assert engine.worker is not None
    verdict = work.Verdict(asked, "failed", '{"code":"expression","message":"x","type":null}')
    work.exchange(store.connection(), engine.worker.pk, [], [verdict], None)
    (claim,) = engine.claim()
    assert claim.batch == COMPENSATION
    engine.complete(Completion(claim, "succeeded", 0, reason="retry"))
    (asked,) = engine.claim()
    assert asked.kind == "condition"
    assert own(run).parked == "control"
    consistent(tenant)


@pytest.mark.parametrize(
    ("reason", "what"), [("signal", {"signal": "go"}), ("child", {"workflow": "child"})]
)
def test_what_calls_no_handler_is_waited_for_once_more(
    tenant: Tenant, reason: str, what: dict[str, str]
) -> None:
    engine = Waiting(tenant)
    engine.publish("child", {"name": "ask", "signal": "go"})
    call = {"handler": "core.echo", "args": {}}
    engine.publish("w", {"name": "a", **what, "timeout": "1h", "compensate": call})
    run = engine.submit("w")
    assert engine.turn() == []
    engine.pass_time()
    (claim,) = engine.turn()
    assert claim.batch == COMPENSATION
    first = own(run).wait_key
    engine.complete(Completion(claim, "succeeded", 0, reason="retry"))
    assert engine.turn() == []
    row = own(run)
    assert (row.state, row.wait_reason, row.attempts) == ("waiting", reason, 1)
    assert (row.wait_key != first) == (reason == "child"), "a child run of its own"
    consistent(tenant)
    if reason == "child":
        run = Run.objects.get(parent_id=run.pk, finished_at=None)
    engine.signal(run, "go", 7)
    engine.run_all()
    row.refresh_from_db()
    assert (row.state, row.output, row.attempts) == ("succeeded", "7", 2)
    consistent(tenant)


def test_the_compensation_of_stuck_code_waits_for_its_end(tenant: Tenant) -> None:
    call = {"handler": "core.echo", "args": {}}
    run = start(tenant, [step("a", compensate=call)])
    engine = Engine()
    (claim,) = engine.claim()
    timeout = '{"code":"timeout","message":"late","type":null}'
    engine.complete(Completion(claim, "failed", 0.1, error=timeout, held=True))
    assert own(run).wait_reason == "compensate"
    assert engine.claim() == []
    assert engine.worker is not None
    work.unhold(store.connection(), engine.worker.pk, [claim])
    clock.due(store.connection())
    (again,) = engine.claim()
    assert again.batch == COMPENSATION
    assert own(run).state == "waiting"
    consistent(tenant)


def test_what_is_too_large_for_the_claim_is_fetched_alike(tenant: Tenant) -> None:
    _, engine = compensated(tenant)
    (claim,) = engine.claim()
    found = work.fetch_inputs(store.connection(), claim._replace(lazy=True), [0])
    assert (found.refs, found.states, found.outputs) == (claim.refs, claim.states, claim.outputs)
    assert found.input == claim.input == "{}"
