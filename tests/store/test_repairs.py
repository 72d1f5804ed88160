"""Repair by hand: what runs again, what is kept, what is refused, and every count stays right."""

from __future__ import annotations

import threading
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
from orchestrator.models import Control, DeadLetter, Event, Hold, Run, StepRun, WorkflowVersion
from orchestrator.selectors.attempts import attempts_view
from orchestrator.services import pauses, repairs
from orchestrator.services.runs import cancel_run
from orchestrator.store import clock, connect
from orchestrator.store import repairs as store_repairs
from orchestrator.store.work import Claimed, Completion
from tenants.actors import SYSTEM
from tenants.models import AuditEntry, Quota, Tenant
from tenants.services import create_tenant
from tests.engine import Engine
from tests.store.test_pauses import engine, in_order, start, states, step, tenant

__all__ = ["engine", "tenant"]


def fail(engine: Engine, *ordinals: int) -> None:
    """Claim until these steps run, and fail them; the others succeed with their ordinal."""
    left = set(ordinals)
    while claims := engine.claim():
        for claim in claims:
            if claim.ordinal in left:
                left.discard(claim.ordinal)
                engine.fail(claim)
            else:
                engine.succeed([claim], claim.ordinal)
    assert not left


def retry(tenant: Tenant, run: Run, from_step: str | None = None) -> None:
    body = {} if from_step is None else {"from_step": from_step}
    repairs.retry_run(tenant=tenant, run_id=run.pk, body=body, actor=SYSTEM)
    run.refresh_from_db()


def test_a_failed_run_runs_again_from_what_failed(tenant: Tenant, engine: Engine) -> None:
    run = start(
        tenant,
        step("a"),
        step("b", "a"),
        step("c", "b"),
        step("clean", "b", trigger_rule="always"),
        step("other", "a"),
    )
    fail(engine, 1)
    run.refresh_from_db()
    assert (run.state, states(run)) == ("failed", "succeeded failed skipped succeeded succeeded")
    before = dict(StepRun.objects.filter(run=run).values_list("ordinal", "epoch"))
    retry(tenant, run)
    assert (run.state, run.error, run.finished_at, run.open_count) == ("running", None, None, 3)
    assert states(run) == "succeeded ready blocked blocked succeeded"
    assert (run.succeeded_count, run.failed_count, run.skipped_count) == (2, 0, 0)
    in_order(tenant)
    engine.run_all("again")
    run.refresh_from_db()
    assert (run.state, states(run)) == ("succeeded", " ".join(["succeeded"] * 5))
    after = dict(StepRun.objects.filter(run=run).values_list("ordinal", "epoch"))
    assert after[0] == before[0]
    assert after[1] == before[1] + 1, "an epoch is never reset"
    outputs = dict(StepRun.objects.filter(run=run).values_list("ordinal", "output"))
    assert (outputs[0], outputs[1], outputs[3]) == ("0", '"again"', '"again"')
    tries = attempts_view(tenant=tenant, run_id=run.pk, name="b")
    assert [(t["attempt"], t["state"]) for t in tries] == [(1, "failed"), (1, "succeeded")]
    entry = AuditEntry.objects.get(action="run.retry")
    assert (entry.target, entry.after) == (str(run.pk), {"from_step": None})
    in_order(tenant)


def test_a_run_is_retried_from_a_step(tenant: Tenant, engine: Engine) -> None:
    run = start(tenant, step("a"), step("b", "a"), step("c", "b"), step("side", "a"))
    fail(engine)
    run.refresh_from_db()
    assert run.state == "succeeded"
    with pytest.raises(StateConflict, match="succeeded"):
        retry(tenant, run)
    retry(tenant, run, "b")
    assert (run.state, run.output, states(run)) == (
        "running", None, "succeeded ready blocked succeeded",
    )  # fmt: skip
    with pytest.raises(StateConflict, match="running"):
        retry(tenant, run, "b")
    engine.run_all(7)
    run.refresh_from_db()
    assert run.state == "succeeded"
    in_order(tenant)


def test_a_cancelled_run_goes_on_with_what_was_cancelled(tenant: Tenant, engine: Engine) -> None:
    run = start(tenant, step("a"), step("b", "a"), step("c", "b", **{"if": "${{ 1 > 0 }}"}))
    engine.succeed(engine.claim(), 1)
    cancel_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    run.refresh_from_db()
    assert (run.state, states(run)) == ("cancelled", "succeeded cancelled cancelled")
    retry(tenant, run)
    assert (run.state, run.closing, states(run)) == ("running", None, "succeeded ready blocked")
    engine.succeed(engine.claim(), 1)
    engine.run_conditions()
    engine.run_all(1)
    run.refresh_from_db()
    assert run.state == "succeeded"
    in_order(tenant)


def test_from_a_step_other_failures_stay(tenant: Tenant, engine: Engine) -> None:
    run = start(tenant, step("a"), step("b"), step("c", "a"))
    fail(engine, 0, 1)
    retry(tenant, run, "a")
    assert states(run) == "ready failed blocked"
    engine.run_all(1)
    run.refresh_from_db()
    assert run.state == "failed"
    assert run.error is not None
    assert '"step" : "b"' in run.error
    assert list(DeadLetter.objects.values_list("ordinal", flat=True)) == [1]


def test_a_condition_is_asked_again_and_a_kept_parent_decides(
    tenant: Tenant, engine: Engine
) -> None:
    run = start(
        tenant,
        step("a", **{"if": "${{ 1 > 2 }}"}),
        step("b", "a"),
        step("c", "b", trigger_rule="all_done"),
    )
    (asked,) = engine.claim()
    engine.verdict(asked, "skipped", "condition")
    engine.run_all(1)
    run.refresh_from_db()
    assert (run.state, states(run)) == ("succeeded", "skipped skipped succeeded")
    retry(tenant, run, "b")
    # its parent was kept as it was: skipped again at once, and what follows goes on
    assert states(run) == "skipped skipped ready"
    in_order(tenant)
    engine.run_all(2)
    run.refresh_from_db()
    assert (run.state, run.skipped_count, run.succeeded_count) == ("succeeded", 2, 1)
    retry(tenant, run, "a")
    assert Control.objects.get().kind == "condition"
    (asked,) = engine.claim()
    engine.verdict(asked, "ready")
    engine.run_all(1)
    run.refresh_from_db()
    assert (run.state, states(run)) == ("succeeded", "succeeded succeeded succeeded")
    in_order(tenant)


def test_a_run_whose_output_failed_makes_it_again(tenant: Tenant, engine: Engine) -> None:
    run = start(tenant, step("a"), output="${{ steps.a.output.x }}")
    engine.succeed(engine.claim(), 1)
    (asked,) = engine.claim()
    engine.verdict(asked, "error", '{"code":"step_failed","message":"no x"}')
    run.refresh_from_db()
    assert run.state == "failed"
    retry(tenant, run)
    (asked,) = engine.claim()
    engine.verdict(asked, "output", "2")
    run.refresh_from_db()
    assert (run.state, run.output) == ("succeeded", "2")
    assert StepRun.objects.get().epoch == 1
    in_order(tenant)


def test_timeouts_begin_anew_and_a_deadline_that_passed_is_dropped(
    tenant: Tenant, engine: Engine
) -> None:
    run = start(tenant, step("a"), timeout="1h")
    fail(engine, 0)
    run.refresh_from_db()
    Run.objects.filter(pk=run.pk).update(deadline_at=run.created_at, expires_at=run.created_at)
    retry(tenant, run)
    assert run.deadline_at is None
    assert run.expires_at is not None
    assert 3500 < (run.expires_at - run.created_at).total_seconds() < 3700
    fail(engine, 0)
    pauses.pause_workflow(tenant=tenant, name="w", actor=SYSTEM)
    retry(tenant, run)
    again = Run.objects.get(pk=run.pk)
    assert (again.expires_at, again.resume_ms) == (None, 3_600_000)
    assert engine.claim() == []
    in_order(tenant)


def test_parts_of_a_step_go_when_it_runs_anew(tenant: Tenant, engine: Engine) -> None:
    run = start(tenant, step("a"), step("b", "a"))
    fail(engine, 1)
    row = StepRun.objects.get(run=run, ordinal=1, batch=0)
    for batch, state in ((1, "succeeded"), (2, "failed"), (-1, "failed")):
        StepRun.objects.create(
            tenant=tenant, run=run, ordinal=1, batch=batch, version_id=row.version_id, queue="io",
            rule="all_success", state=state, finished_at=row.finished_at,
        )  # fmt: skip
    undone = StepRun.objects.create(
        tenant=tenant, run=run, ordinal=0, batch=-2, version_id=row.version_id, queue="io",
        rule="always", state="succeeded", started_at=row.started_at, finished_at=row.finished_at,
    )  # fmt: skip
    retry(tenant, run)
    found = StepRun.objects.filter(run=run, batch=0).order_by("ordinal")
    assert [row.state for row in found] == ["ready", "blocked"], "what was undone runs again"
    left = StepRun.objects.filter(run=run).exclude(batch=0).values_list("batch", "reason")
    assert list(left) == [(-1, "retry")], "its fence goes on"
    assert undone.batch == -2
    in_order(tenant)


def test_steps_whose_code_still_runs_are_left_alone(tenant: Tenant, engine: Engine) -> None:
    run = start(tenant, step("a", retry={"max_attempts": 2}))
    (claim,) = engine.claim()
    error = '{"code":"timeout","message":"late","type":null}'
    engine.complete(Completion(claim, "failed", 0.1, error=error, held=True))
    run.refresh_from_db()
    assert run.state == "failed"
    assert Hold.objects.exists()
    with pytest.raises(StateConflict, match="The step a still runs"):
        retry(tenant, run)
    with pytest.raises(StateConflict, match="still runs"):
        repairs.retry_step(tenant=tenant, run_id=run.pk, name="a", actor=SYSTEM)


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


def test_every_version_has_its_steps(tenant: Tenant, engine: Engine) -> None:
    """A run of an older version is repaired by that version's graph."""
    run = start(tenant, step("a"), step("b", "a"))
    start(tenant, step("b"), step("a", "b"))
    assert WorkflowVersion.objects.count() == 2
    while claims := engine.claim():
        for claim in claims:
            if claim.run_id == run.pk and claim.ordinal == 0:
                engine.fail(claim)
            else:
                engine.succeed([claim], 1)
    retry(tenant, run)
    assert states(run) == "ready blocked"
