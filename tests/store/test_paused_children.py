"""Pauses reach child runs: of a run, and of the workflow of a run above."""

from __future__ import annotations

from orchestrator.models import Run
from orchestrator.selectors.steps import steps_view
from orchestrator.services import pauses
from tenants.actors import SYSTEM
from tenants.models import Tenant
from tests.store import test_children
from tests.store.test_children import ECHO, call, child_of
from tests.store.waiting import Waiting

tenant, engine = test_children.tenant, test_children.engine


def test_pause_and_resume_reach_children(engine: Waiting, tenant: Tenant) -> None:
    engine.publish("parent", call())
    engine.publish("grand", call(workflow="parent"))
    run = engine.submit("grand", {"n": 5})
    (claimed,) = engine.turn()
    middle = child_of(run)
    family = (run, middle, child_of(middle))
    pauses.pause_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    for one in family:
        one.refresh_from_db()
        assert one.state == "paused"
    engine.succeed([claimed], 1)
    assert engine.turn() == []
    assert engine.counts_agree()
    pauses.resume_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    engine.run_all()
    for one in family:
        one.refresh_from_db()
        assert (one.state, one.output) == ("succeeded", "1")
    assert engine.counts_agree()


def test_pausing_a_workflow_reaches_the_runs_under_its_runs(
    engine: Waiting, tenant: Tenant
) -> None:
    engine.publish("parent", call(), timeout="1h")
    engine.publish("grand", call(workflow="parent"))
    engine.publish("other", call())
    run = engine.submit("grand", {"n": 5})
    (first,) = engine.turn()
    beside = engine.submit("other", {"n": 6})
    middle = child_of(run)
    last = child_of(middle)
    assert middle.expires_at is not None
    pauses.pause_workflow(tenant=tenant, name="grand", actor=SYSTEM)
    late = engine.submit("grand", {"n": 7})
    pauses.pause_workflow(tenant=tenant, name="parent", actor=SYSTEM)
    # what runs, ends; what its end asks of Python, and new children, wait
    engine.succeed([first], 1)
    (other,) = engine.turn()
    assert other.run_id == child_of(beside).pk
    last.refresh_from_db()
    middle = Run.objects.get(pk=middle.pk)
    assert (last.state, middle.state) == ("succeeded", "running")
    assert middle.expires_at is None
    assert child_of(late).pk is None
    pauses.resume_workflow(tenant=tenant, name="parent", actor=SYSTEM)
    middle = Run.objects.get(pk=middle.pk)
    assert middle.expires_at is None, "the workflow above is paused still"
    assert engine.turn() == []
    assert engine.counts_agree()
    pauses.resume_workflow(tenant=tenant, name="grand", actor=SYSTEM)
    middle = Run.objects.get(pk=middle.pk)
    assert (middle.expires_at is not None, middle.resume_ms) == (True, None)
    engine.succeed([other], 2)
    engine.run_all(2)
    for one in (run, middle, late, beside):
        one.refresh_from_db()
        assert one.state == "succeeded"
    assert engine.counts_agree()


def test_a_step_under_a_paused_workflow_says_whose_pause_it_is(
    engine: Waiting, tenant: Tenant
) -> None:
    engine.publish("child", ECHO, {**ECHO, "name": "more", "depends_on": ["say"]})
    engine.publish("parent", call())
    engine.publish("grand", call(workflow="parent"))
    run = engine.submit("grand", {"n": 5})
    (claimed,) = engine.turn()
    pauses.pause_workflow(tenant=tenant, name="grand", actor=SYSTEM)
    engine.succeed([claimed])
    assert engine.turn() == []
    waiting = steps_view(tenant=tenant, run_id=claimed.run_id)[1]["waiting"]
    assert isinstance(waiting, dict)
    assert waiting["reason"] == "paused"
    assert 'The workflow "grand" of a run above is paused' in str(waiting["detail"])
    assert waiting["since"] is not None
    # a child's own pause outlasts that of the workflow above, and its timeout stands still for both
    pauses.pause_run(tenant=tenant, run_id=claimed.run_id, actor=SYSTEM)
    pauses.resume_run(tenant=tenant, run_id=claimed.run_id, actor=SYSTEM)
    child = Run.objects.get(pk=claimed.run_id)
    assert (child.state, child.expires_at, child.resume_ms is not None) == ("running", None, True)
    assert engine.turn() == []
    pauses.resume_workflow(tenant=tenant, name="grand", actor=SYSTEM)
    engine.run_all()
    run.refresh_from_db()
    assert run.state == "succeeded"
    assert engine.counts_agree()


def test_a_child_that_begins_while_its_parent_is_paused_is_paused_too(
    engine: Waiting, tenant: Tenant
) -> None:
    engine.publish("parent", call())
    run = engine.submit("parent", {"n": 5})
    asked = engine.claim()
    pauses.pause_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    engine.settle(asked)
    assert child_of(run).state == "paused"
    assert engine.turn() == []
    assert engine.counts_agree()
    pauses.resume_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    engine.run_all()
    run.refresh_from_db()
    assert run.state == "succeeded"
