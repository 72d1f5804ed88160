"""Repair of one step by hand: which state allows what, and what follows from it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator import store
from orchestrator.domain.errors import (
    InvalidRequest,
    StateConflict,
    StepNotFound,
    TooLarge,
)
from orchestrator.domain.repairs import step_repairs
from orchestrator.domain.statuses import RunState, StepState
from orchestrator.models import DeadLetter, Event, Run, StepRun
from orchestrator.services import pauses, repairs
from orchestrator.services.runs import cancel_run
from orchestrator.store import clock
from orchestrator.store.work import Completion
from tenants.actors import SYSTEM
from tenants.models import AuditEntry, Quota, Tenant
from tests.engine import Engine
from tests.store.repairing import fail, retry
from tests.store.test_pauses import engine, in_order, start, states, step, tenant

__all__ = ["engine", "tenant"]


Act = Callable[[str], object]


def act_on(tenant: Tenant, run: Run) -> dict[str, Act]:
    """The three things that can be done to a step by hand."""
    return {
        "retry": lambda name: repairs.retry_step(
            tenant=tenant, run_id=run.pk, name=name, actor=SYSTEM
        ),
        "complete": lambda name: repairs.complete_step(
            tenant=tenant, run_id=run.pk, name=name, body={"output": 42}, actor=SYSTEM
        ),
        "skip": lambda name: repairs.skip_step(
            tenant=tenant, run_id=run.pk, name=name, actor=SYSTEM
        ),
    }


CASES = ("blocked", "ready", "running", "backoff", "failed", "succeeded", "skipped")


def allowed(state: str) -> set[str]:
    """What the model allows in an open run."""
    backoff = state == "backoff"
    found = step_repairs(
        RunState.RUNNING, StepState("waiting" if backoff else state), closing=False, backoff=backoff
    )
    return {repair.value for repair in found}


@pytest.mark.parametrize("action", ["retry", "complete", "skip"])
@pytest.mark.parametrize("state", CASES)
def test_which_state_allows_what(tenant: Tenant, engine: Engine, state: str, action: str) -> None:
    """In an open run: `keep` goes on meanwhile."""
    run = start(
        tenant,
        step("x", retry={"max_attempts": 2}),
        step("keep"),
        step("y", "x"),
        step("z", "y", trigger_rule="all_done"),
    )
    engine.join()
    target = {"blocked": "y", "skipped": "y"}.get(state, "x")
    claims = [] if state == "ready" else sorted(engine.claim(), key=lambda claim: claim.ordinal)
    for first in claims[:1]:
        if state == "backoff":
            engine.fail(first, retry_in_s=60)
        elif state in ("failed", "skipped"):
            engine.fail(first)
        elif state == "succeeded":
            engine.succeed([first], 1)
    do = act_on(tenant, run)[action]
    if action not in allowed(state):
        with pytest.raises(StateConflict):
            do(target)
    else:
        do(target)
        found = StepRun.objects.get(run=run, ordinal="xkyz".index(target))
        wanted = {"complete": "succeeded", "skip": "skipped", "retry": "ready"}[action]
        if (state, action) == ("backoff", "retry"):
            clock.due(store.connection())
            found.refresh_from_db()
        assert found.state == wanted
        assert found.reason == ("manual" if action == "skip" else None)
        assert found.output == ("42" if action == "complete" else None)
        told = Event.objects.filter(run_id=run.pk, ordinal=found.ordinal).latest("seq")
        assert told.type == f"step.{wanted}"
        assert AuditEntry.objects.filter(action=f"step.{action}").count() == 1
    in_order(tenant)
    engine.succeed(claims[1:] if state not in ("blocked", "running") else claims, 1)
    clock.due(store.connection())
    for row in StepRun.objects.filter(run=run, state="waiting"):
        repairs.skip_step(tenant=tenant, run_id=run.pk, name="xkyz"[row.ordinal], actor=SYSTEM)
    engine.run_all(1)
    run.refresh_from_db()
    assert run.finished_at is not None
    in_order(tenant)


def test_a_completed_failure_lets_its_failed_run_go_on(tenant: Tenant, engine: Engine) -> None:
    run = start(
        tenant,
        step("a"),
        step("b", "a"),
        step("clean", "a", trigger_rule="all_done"),
        step("c", "b"),
    )
    fail(engine, 0)
    run.refresh_from_db()
    assert (run.state, states(run)) == ("failed", "failed skipped succeeded skipped")
    assert DeadLetter.objects.count() == 1
    act_on(tenant, run)["complete"]("a")
    run.refresh_from_db()
    # what has run stays as it is; what was skipped for the failure is decided again
    assert (run.state, states(run)) == ("running", "succeeded ready succeeded blocked")
    assert not DeadLetter.objects.exists()
    row = StepRun.objects.get(run=run, ordinal=0)
    assert (row.output, row.handled, row.error is not None) == ("42", True, True)
    engine.run_all(1)
    run.refresh_from_db()
    assert (run.state, run.succeeded_count) == ("succeeded", 4)
    for refused in act_on(tenant, run).values():
        with pytest.raises(StateConflict):
            refused("a")
    in_order(tenant)


def test_a_skipped_failure_skips_what_needs_it(tenant: Tenant, engine: Engine) -> None:
    run = start(tenant, step("a"), step("b", "a"), step("c", "a", "b", trigger_rule="none_failed"))
    fail(engine, 0)
    act_on(tenant, run)["skip"]("a")
    assert states(run) == "skipped skipped ready"
    engine.run_all(1)
    run.refresh_from_db()
    assert (run.state, run.skipped_count, run.succeeded_count) == ("succeeded", 2, 1)
    in_order(tenant)


def test_a_completed_step_under_one_success_starts_what_waited(
    tenant: Tenant, engine: Engine
) -> None:
    run = start(
        tenant, step("a"), step("slow"), step("first", "a", "slow", trigger_rule="one_success")
    )
    bad, slow = sorted(engine.claim(), key=lambda claim: claim.ordinal)
    engine.fail(bad)
    assert states(run) == "failed running blocked"
    act_on(tenant, run)["complete"]("a")
    assert states(run) == "succeeded running ready"
    engine.succeed([slow], 1)
    engine.run_all(1)
    run.refresh_from_db()
    assert run.state == "succeeded"
    in_order(tenant)


def test_a_step_retried_in_an_open_run_takes_what_follows_with_it(
    tenant: Tenant, engine: Engine
) -> None:
    run = start(
        tenant,
        step("a"),
        step("keep"),
        step("b", "a"),
        step("fallback", "a", trigger_rule="one_failed"),
        step("join", "a", "keep"),
    )
    bad, keep = sorted(engine.claim(), key=lambda claim: claim.ordinal)
    engine.fail(bad)
    (fallback,) = engine.claim()
    with pytest.raises(StateConflict, match="The step fallback still runs"):
        act_on(tenant, run)["retry"]("a")
    engine.succeed([fallback], 1)
    act_on(tenant, run)["retry"]("a")
    assert states(run) == "ready running blocked blocked blocked"
    in_order(tenant)
    engine.succeed([keep], 1)
    engine.run_all(1)
    run.refresh_from_db()
    assert (run.state, states(run)) == (
        "succeeded", "succeeded succeeded succeeded skipped succeeded",
    )  # fmt: skip
    in_order(tenant)


def test_steps_of_runs_that_close_or_are_cancelled_are_left_alone(
    tenant: Tenant, engine: Engine
) -> None:
    run = start(tenant, step("a"), step("b"))
    claim, other = engine.claim()
    engine.fail(claim)
    cancel_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    for refused in act_on(tenant, run).values():
        with pytest.raises(StateConflict, match="coming to its end"):
            refused("a")
    with pytest.raises(StateConflict):
        retry(tenant, run)
    engine.complete(Completion(other, "cancelled", 0.1))
    run.refresh_from_db()
    assert run.state == "cancelled"
    for name in ("complete", "skip"):
        with pytest.raises(StateConflict, match="cancelled"):
            act_on(tenant, run)[name]("a")
    act_on(tenant, run)["retry"]("b")
    # what was cancelled runs again; the failure stays until it is retried too
    assert states(run) == "failed ready"
    act_on(tenant, run)["retry"]("a")
    engine.run_all(1)
    run.refresh_from_db()
    assert run.state == "succeeded"
    in_order(tenant)


def test_what_fail_fast_cancelled_runs_when_the_failure_is_completed(
    tenant: Tenant, engine: Engine
) -> None:
    run = start(tenant, step("a"), step("b", "a"), step("c", "b"), step("d"), fail_fast=True)
    bad, other = sorted(engine.claim(), key=lambda claim: claim.ordinal)
    engine.succeed([bad], 1)
    (bad,) = engine.claim()
    engine.fail(bad)
    engine.complete(Completion(other, "cancelled", 0.1))
    run.refresh_from_db()
    assert (run.state, states(run)) == ("failed", "succeeded failed skipped cancelled")
    act_on(tenant, run)["complete"]("b")
    assert states(run) == "succeeded succeeded ready ready"
    engine.run_all(1)
    run.refresh_from_db()
    assert run.state == "succeeded"
    in_order(tenant)


def test_repair_of_a_paused_run_waits_for_its_resume(tenant: Tenant, engine: Engine) -> None:
    run = start(tenant, step("a"), step("b"), step("c", "a"))
    bad, other = engine.claim()
    engine.fail(bad)
    pauses.pause_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    act_on(tenant, run)["retry"]("a")
    assert engine.claim() == []
    act_on(tenant, run)["complete"]("a")
    assert engine.claim() == []
    engine.succeed([other], 1)
    act_on(tenant, run)["skip"]("c")
    run.refresh_from_db()
    assert (run.state, run.open_count) == ("paused", 0)
    pauses.resume_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    run.refresh_from_db()
    assert run.state == "succeeded"
    in_order(tenant)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ([], "wrong_type"),
        ({"from": "a"}, "unknown_key"),
        ({"from_step": 1}, "wrong_type"),
        ({"from_step": "aa"}, "unknown_step"),
    ],
)
def test_a_retry_that_cannot_be_read(
    tenant: Tenant, engine: Engine, body: object, code: str
) -> None:
    run = start(tenant, step("a"))
    with pytest.raises(InvalidRequest) as raised:
        repairs.retry_run(tenant=tenant, run_id=run.pk, body=body, actor=SYSTEM)
    assert [problem.code for problem in raised.value.problems] == [code]


def test_outputs_and_names_are_checked(tenant: Tenant, engine: Engine) -> None:
    run = start(tenant, step("a"))
    with pytest.raises(StepNotFound):
        act_on(tenant, run)["skip"]("b")
    Quota.objects.update(max_payload_bytes=10)
    for body, error in (
        ({"outputs": 1}, InvalidRequest),
        ({"output": "x" * 20}, TooLarge),
        ({"output": float("nan")}, InvalidRequest),
    ):
        with pytest.raises(error):
            repairs.complete_step(tenant=tenant, run_id=run.pk, name="a", body=body, actor=SYSTEM)
    repairs.complete_step(tenant=tenant, run_id=run.pk, name="a", body={}, actor=SYSTEM)
    run.refresh_from_db()
    assert (run.state, run.output) == ("succeeded", "null")
