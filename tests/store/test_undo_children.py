"""Undoing reaches into child runs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator import store
from orchestrator.domain.errors import StateConflict
from orchestrator.domain.undo import UNDO
from orchestrator.models import Run, StepRun
from orchestrator.selectors.steps import steps_view
from orchestrator.selectors.undoing import undoable_steps
from orchestrator.services.undoing import undo_run
from orchestrator.store import clock, work
from orchestrator.store.work import Claimed, Completion
from tenants.actors import SYSTEM
from tenants.models import Tenant
from tenants.services import create_tenant
from tests.store.repairing import retry
from tests.store.waiting import Waiting

UNDONE = {"handler": "core.echo", "args": {"was": "${{ output }}"}}
TIMEOUT = '{"code":"timeout","message":"late","type":null}'
CANCELLED = '{"code":"cancelled","message":"cut off","type":null}'
SAY = {"name": "say", "handler": "core.echo", "args": {}, "undo": UNDONE}


def step(name: str, *parents: str, **more: Any) -> dict[str, Any]:
    """A step with an undo."""
    return {
        "name": name,
        "handler": "core.echo",
        "depends_on": list(parents),
        "undo": UNDONE,
    } | more


def plain(name: str, *parents: str) -> dict[str, Any]:
    """A step without one."""
    return {"name": name, "handler": "core.echo", "depends_on": list(parents)}


def sub(name: str, workflow: str, *parents: str, **more: Any) -> dict[str, Any]:
    """A step that runs a workflow."""
    return {"name": name, "workflow": workflow, "depends_on": list(parents), **more}


@pytest.fixture
def engine(db: None) -> Waiting:
    waiting = Waiting(create_tenant(slug="t", actor=SYSTEM))
    waiting.publish("child", SAY)
    return waiting


def calls(engine: Waiting) -> list[Claimed]:
    """What there is to run, all of it undos."""
    claims = engine.turn()
    assert {claim.batch for claim in claims} <= {UNDO}
    return claims


def undo_all(engine: Waiting, tenant: Tenant) -> list[tuple[str, str]]:
    """Run undos until none is left: (workflow, step), in their order."""
    order = []
    while claims := calls(engine):
        for claim in claims:
            run = Run.objects.select_related("workflow").get(pk=claim.run_id)
            names = [one["name"] for one in steps_view(tenant=tenant, run_id=run.pk)]
            order.append((run.workflow.name, str(names[claim.ordinal])))
        engine.succeed(claims)
    return order


def fresh(run: Run) -> Run:
    """The run as it is now."""
    assert clock.reconcile(store.connection()) == 0
    return Run.objects.get(pk=run.pk)


def test_a_run_that_fails_undoes_its_child_in_its_turn(engine: Waiting) -> None:
    engine.publish("parent", step("a"), sub("b", "child", "a"), step("c", "b", undo=UNDONE))
    run = engine.submit("parent")
    for _ in range(2):
        engine.succeed(engine.turn(), 1)  # a, then the child's only step
    (last,) = engine.turn()
    engine.fail(last)
    child = Run.objects.get(parent_id=run.pk)
    assert (fresh(run).state, fresh(run).undo_state) == ("running", "running")
    assert (child.state, child.undo_state) == ("succeeded", "running")
    row = StepRun.objects.get(run_id=run.pk, ordinal=1, batch=UNDO)
    assert (row.state, row.wait_reason) == ("waiting", "child")
    assert undo_all(engine, engine.tenant) == [("child", "say"), ("parent", "a")]
    assert (fresh(run).state, fresh(run).undo_state) == ("failed", "succeeded")
    assert (fresh(child).state, fresh(child).undo_state) == ("succeeded", "succeeded")
    told = {
        str(one["name"]): one["undo"] for one in steps_view(tenant=engine.tenant, run_id=run.pk)
    }
    assert isinstance(told["b"], dict)
    assert told["b"]["state"] == "succeeded"
    assert told["c"] is None


def test_on_request_through_three_levels_each_once(engine: Waiting) -> None:
    engine.publish("middle", sub("m", "child"))
    engine.publish("parent", sub("x", "middle"), sub("y", "middle"), step("z", "x", "y"))
    run = engine.submit("parent")
    engine.run_all(1)
    assert fresh(run).state == "succeeded"
    names = undoable_steps(tenant=engine.tenant, run_id=run.pk, version_id=run.version_id)
    assert names == ["z", "y", "x"]
    undo_run(tenant=engine.tenant, run_id=run.pk, actor=SYSTEM)
    assert undo_all(engine, engine.tenant) == [("parent", "z"), ("child", "say"), ("child", "say")]
    assert set(Run.objects.values_list("state", "undo_state")) == {("succeeded", "succeeded")}
    assert fresh(run).undo_state == "succeeded"
    for other in Run.objects.all():
        with pytest.raises(StateConflict):
            undo_run(tenant=engine.tenant, run_id=other.pk, actor=SYSTEM)


def test_a_child_s_undo_that_fails_is_the_step_s_and_the_others_go_on(engine: Waiting) -> None:
    engine.publish("parent", step("a"), sub("b", "child", "a"))
    run = engine.submit("parent")
    engine.run_all(1)
    undo_run(tenant=engine.tenant, run_id=run.pk, actor=SYSTEM)
    (claim,) = calls(engine)
    engine.fail(claim)
    assert undo_all(engine, engine.tenant) == [("parent", "a")]
    assert (fresh(run).state, fresh(run).undo_state) == ("succeeded", "failed")
    assert json.loads(fresh(run).undo_error or "")["step"] == "b"


def test_a_child_without_anything_to_undo_is_passed_over(engine: Waiting) -> None:
    engine.publish("plain", {"name": "say", "handler": "core.echo", "args": {}})
    engine.publish("parent", sub("b", "plain"))
    run = engine.submit("parent")
    engine.run_all(1)
    with pytest.raises(StateConflict):
        undo_run(tenant=engine.tenant, run_id=run.pk, actor=SYSTEM)
    assert undoable_steps(tenant=engine.tenant, run_id=run.pk, version_id=run.version_id) == []


def test_a_step_s_own_undo_is_called_instead(engine: Waiting) -> None:
    engine.publish("parent", sub("b", "child", undo=UNDONE))
    run = engine.submit("parent")
    engine.run_all(1)
    undo_run(tenant=engine.tenant, run_id=run.pk, actor=SYSTEM)
    assert undo_all(engine, engine.tenant) == [("parent", "b")]
    assert Run.objects.get(parent_id=run.pk).undo_state is None


def test_a_child_that_was_undone_before_is_not_undone_again(engine: Waiting) -> None:
    engine.publish("parent", step("a"), sub("b", "child", "a"))
    run = engine.submit("parent")
    engine.run_all(1)
    child = Run.objects.get(parent_id=run.pk)
    undo_run(tenant=engine.tenant, run_id=child.pk, actor=SYSTEM)
    assert undo_all(engine, engine.tenant) == [("child", "say")]
    undo_run(tenant=engine.tenant, run_id=run.pk, actor=SYSTEM)
    assert undo_all(engine, engine.tenant) == [("parent", "a")]
    assert fresh(run).undo_state == "succeeded"


def test_a_child_that_is_undone_by_hand_while_its_turn_comes_is_awaited(engine: Waiting) -> None:
    engine.publish("parent", sub("b", "child"), step("c", "b"))
    run = engine.submit("parent")
    engine.run_all(1)
    child = Run.objects.get(parent_id=run.pk)
    undo_run(tenant=engine.tenant, run_id=run.pk, actor=SYSTEM)
    (own,) = calls(engine)
    undo_run(tenant=engine.tenant, run_id=child.pk, actor=SYSTEM)
    engine.succeed([own])
    assert fresh(run).undo_state == "running"
    assert undo_all(engine, engine.tenant) == [("child", "say")]
    assert fresh(run).undo_state == "succeeded"


def test_a_step_whose_child_was_undone_runs_again_when_its_run_is_retried(engine: Waiting) -> None:
    engine.publish("parent", sub("a", "child"), plain("b", "a"))
    run = engine.submit("parent")
    engine.succeed(engine.turn(), 1)
    (last,) = engine.turn()
    engine.fail(last)
    assert undo_all(engine, engine.tenant) == [("child", "say")]
    assert fresh(run).state == "failed"
    retry(engine.tenant, run)
    assert engine.step(run, "a").output is None
    engine.run_all(2)
    assert fresh(run).state == "succeeded"
    assert engine.step(run, "a").output == "2"
    made = Run.objects.filter(parent_id=run.pk).order_by("created_at", "id")
    assert list(made.values_list("undo_state", flat=True)) == ["succeeded", None]


def test_a_step_s_own_undo_is_called_too_where_its_child_was_cut_off(engine: Waiting) -> None:
    engine.publish("two", plain("one"), plain("two", "one"))
    pay = sub("pay", "two", undo=UNDONE)
    engine.publish("parent", pay, step("other"), fail_fast=True)
    run = engine.submit("parent")
    claims = {claim.run_id: claim for claim in engine.turn()}
    other = claims.pop(run.pk)
    engine.succeed(list(claims.values()), 1)
    (last,) = engine.turn()
    engine.fail(other)
    engine.complete(Completion(last, "cancelled", 0.1, error=CANCELLED))
    (undo,) = calls(engine)
    row = StepRun.objects.get(run_id=run.pk, ordinal=0, batch=0)
    assert (row.state, json.loads(row.error or "")["code"]) == ("cancelled", "upstream")
    assert undo.states == ["cancelled"], "its handler is told that the end is unknown"
    engine.succeed([undo])
    assert (fresh(run).state, fresh(run).undo_state) == ("failed", "succeeded")


def test_a_run_that_has_nothing_left_to_undo_when_stuck_code_ends_has_ended(
    engine: Waiting,
) -> None:
    engine.publish("parent", sub("a", "child"), plain("b", "a"))
    engine.publish("above", sub("p", "parent"))
    above = engine.submit("above")
    engine.succeed(engine.turn(), 1)
    (stuck,) = engine.turn()
    run = Run.objects.get(parent_id=above.pk)
    engine.complete(Completion(stuck, "failed", 0.1, error=TIMEOUT, held=True))
    assert (fresh(run).state, fresh(run).undo_state) == ("running", "running")
    child = Run.objects.get(parent_id=run.pk)
    undo_run(tenant=engine.tenant, run_id=child.pk, actor=SYSTEM)
    assert undo_all(engine, engine.tenant) == [("child", "say")]
    assert engine.worker is not None
    work.unhold(store.connection(), engine.worker.pk, [stuck])
    assert engine.turn() == []
    assert (fresh(run).state, fresh(run).undo_state) == ("failed", "succeeded")
    assert json.loads(fresh(run).error or "")["step"] == "b"
    assert fresh(above).state == "failed"
    retry(engine.tenant, run)
    assert fresh(run).state == "running"
