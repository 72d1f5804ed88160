"""Repair of runs by hand: what runs again, what is kept, and every count stays right."""

from __future__ import annotations

import pytest

from orchestrator.domain.errors import (
    StateConflict,
)
from orchestrator.models import Control, DeadLetter, Hold, Run, StepRun, WorkflowVersion
from orchestrator.selectors.attempts import attempts_page
from orchestrator.services import pauses, repairs
from orchestrator.services.runs import cancel_run
from orchestrator.store.work import Completion
from tenants.actors import SYSTEM
from tenants.models import AuditEntry, Tenant
from tests.engine import Engine
from tests.store.repairing import fail, retry
from tests.store.test_pauses import engine, in_order, start, states, step, tenant

__all__ = ["engine", "tenant"]


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
    tries = attempts_page(tenant=tenant, run_id=run.pk, name="b").items
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
