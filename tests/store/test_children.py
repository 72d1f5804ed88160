"""Child runs: made with what their step says, and their ends come back."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator import store
from orchestrator.executor.payloads import put_away
from orchestrator.models import DeadLetter, Event, Run, TenantLoad
from orchestrator.services import repairs
from orchestrator.services.actions import act, retry_dead_letters
from orchestrator.services.runs import cancel_run
from orchestrator.services.workflows import archive_workflow
from orchestrator.store import clock
from orchestrator.store.payloads import MARK, resolve
from orchestrator.store.work import Completion
from tenants.actors import SYSTEM
from tenants.models import Tenant
from tenants.services import create_tenant
from tests.store.waiting import Waiting

ECHO = {"name": "say", "handler": "core.echo", "args": {"value": "${{ input.n }}"}}
NUMBER = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}


def call(name: str = "sub", workflow: str = "child", **more: Any) -> dict[str, Any]:
    """A step that calls a workflow."""
    return {"name": name, "workflow": workflow, "args": {"n": "${{ input.n }}"}, **more}


@pytest.fixture
def tenant(db: None) -> Tenant:
    return create_tenant(slug="t", actor=SYSTEM)


@pytest.fixture
def engine(tenant: Tenant) -> Waiting:
    waiting = Waiting(tenant)
    waiting.publish("child", ECHO, input_schema=NUMBER)
    return waiting


def child_of(run: Run) -> Run:
    """The newest child."""
    return Run.objects.filter(parent_id=run.pk).order_by("created_at", "id").last() or Run()


def test_output_comes_back_and_the_parent_holds_nothing(engine: Waiting) -> None:
    engine.publish("parent", call())
    run = engine.submit("parent", {"n": 5}, priority=8, labels={"a": "b"})
    (claimed,) = engine.turn()
    child = child_of(run)
    assert (child.parent_id, child.parent_ordinal, child.depth) == (run.pk, 0, 1)
    assert (child.priority, child.labels, child.input) == (8, {"a": "b"}, '{"n":5}')
    assert claimed.run_id == child.pk
    step = engine.step(run, "sub")
    assert (step.state, step.wait_reason, step.wait_key) == ("waiting", "child", str(child.pk))
    assert TenantLoad.objects.get().in_use == 1
    engine.succeed([claimed], 25)
    engine.turn()
    run.refresh_from_db()
    assert (run.state, run.output) == ("succeeded", "25")
    assert engine.step(run, "sub").attempts == 1
    assert engine.counts_agree()


def test_failure_comes_back_with_its_cause_and_a_retry_makes_a_new_child(engine: Waiting) -> None:
    engine.publish("parent", call(retry={"max_attempts": 2, "delay": 0}))
    run = engine.submit("parent", {"n": 5})
    first = engine.turn()
    engine.fail(first[0])
    engine.turn()
    step = engine.step(run, "sub")
    assert (step.state, step.wait_reason, step.attempts) == ("waiting", "retry", 1)
    engine.pass_time()
    second = engine.turn()
    assert Run.objects.filter(parent_id=run.pk).count() == 2
    assert child_of(run).input == '{"n":5}'
    engine.fail(second[0])
    engine.turn()
    run.refresh_from_db()
    error = engine.step(run, "sub").error or ""
    assert run.state == "failed"
    assert '"upstream"' in error
    assert '"step_failed"' in error
    assert str(child_of(run).pk) in error
    assert '"upstream"' in (run.error or "")
    assert engine.counts_agree()


@pytest.mark.parametrize(
    ("step", "value", "code", "words"),
    [
        (call(), {"n": "x"}, "invalid_arguments", "/n"),
        (call(), {}, "expression", "input.n"),
        (call(args={"n": 1, "more": "${{ 'x' * 2000000 }}"}), {}, "invalid_arguments", "kept"),
        (call(on_error={"value": 1}), {"n": "x"}, "invalid_arguments", "/n"),
    ],
)
def test_an_input_that_is_not_valid_fails_the_step(
    engine: Waiting, step: dict[str, Any], value: object, code: str, words: str
) -> None:
    engine.publish("parent", step)
    run = engine.submit("parent", value)
    engine.turn()
    found = engine.step(run, "sub")
    assert found.state == ("succeeded" if "on_error" in step else "failed")
    assert f'"{code}"' in (found.error or "")
    assert words in (found.error or "")
    assert not Run.objects.filter(parent_id=run.pk).exists()


def test_the_newest_version_when_it_starts_and_none_that_is_archived(
    engine: Waiting, tenant: Tenant
) -> None:
    engine.publish("parent", {"name": "nap", "sleep": "1h"}, call(depends_on=["nap"]))
    run, other = engine.submit("parent", {"n": 5}), engine.submit("parent", {"n": 5})
    engine.turn()
    engine.publish("child", {**ECHO, "name": "newer"})
    clock_of = TenantLoad.objects.get()
    assert clock_of.in_use == 0
    engine.pass_time()
    engine.turn()
    assert child_of(run).version.version == 2
    archive_workflow(tenant=tenant, name="child", actor=SYSTEM)
    late = engine.submit("parent", {"n": 5})
    engine.turn()
    engine.pass_time()
    engine.turn()
    assert "archived" in (engine.step(late, "sub").error or "")
    assert child_of(other).version.version == 2


def test_a_workflow_that_calls_itself_ends_at_depth_20(engine: Waiting) -> None:
    engine.publish("again", call(workflow="again"))
    run = engine.submit("again", {"n": 5})
    assert engine.turn() == []
    run.refresh_from_db()
    assert run.state == "failed"
    assert Run.objects.count() == 21
    assert "20 deep" in (Run.objects.get(depth=20).error or "")
    assert engine.counts_agree()


def test_cancel_closes_children_first_and_the_parent_ends_with_them(
    engine: Waiting, tenant: Tenant
) -> None:
    engine.publish("parent", call(), {"name": "b", "sleep": "1h"})
    engine.publish("grand", call(workflow="parent"))
    run = engine.submit("grand", {"n": 5})
    (claimed,) = engine.turn()
    cancel_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    middle = child_of(run)
    child = child_of(middle)
    for one in (run, middle, child):
        one.refresh_from_db()
        assert one.finished_at is None
    assert (middle.closing, child.closing) == ("upstream", "upstream")
    engine.succeed([claimed], 1)
    engine.turn()
    for one in (run, middle, child):
        one.refresh_from_db()
        assert one.state == "cancelled"
    assert '"upstream"' in (child.error or "")
    assert '"cancelled"' in (run.error or "")
    assert engine.step(run, "sub").state == "cancelled"
    assert engine.counts_agree()


def test_a_child_that_takes_too_long_is_ended_and_then_its_step_fails(engine: Waiting) -> None:
    engine.publish("parent", call(timeout="5m", retry={"max_attempts": 2, "delay": 0}))
    run = engine.submit("parent", {"n": 5})
    (claimed,) = engine.turn()
    engine.pass_time()
    step = engine.step(run, "sub")
    assert (step.state, step.wait_reason, step.reason) == ("waiting", "child", "timeout")
    assert child_of(run).closing == "upstream"
    engine.succeed([claimed], 1)
    engine.turn()
    step = engine.step(run, "sub")
    assert (step.wait_reason, step.attempts) == ("retry", 1)
    assert '"timeout"' in (step.error or "")
    engine.pass_time()
    engine.run_all(3)
    run.refresh_from_db()
    assert (run.state, run.output) == ("succeeded", "3")


def test_fail_fast_closes_children(engine: Waiting) -> None:
    bad = {"name": "bad", "handler": "core.fail", "args": {}}
    engine.publish("parent", call(), bad, fail_fast=True)
    run = engine.submit("parent", {"n": 5})
    claims = engine.turn()
    (failing,) = [claim for claim in claims if claim.run_id == run.pk]
    (other,) = [claim for claim in claims if claim.run_id != run.pk]
    engine.fail(failing)
    assert child_of(run).closing == "upstream"
    engine.fail(other)
    engine.turn()
    run.refresh_from_db()
    assert run.state == "failed"
    assert engine.step(run, "sub").state == "cancelled"


def test_a_child_of_an_always_step_is_left_alone_for_five_minutes(
    engine: Waiting, tenant: Tenant
) -> None:
    engine.publish("parent", call(trigger_rule="always"))
    run = engine.submit("parent", {"n": 5})
    engine.turn()
    cancel_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    child = child_of(run)
    assert child.closing is None
    Run.objects.filter(pk=run.pk).update(closing_at="2020-01-01T00:00:00Z")
    clock.expire(store.connection())
    child.refresh_from_db()
    assert child.closing == "upstream"


def test_the_graph_of_a_cancelled_wait_between_two_children(
    engine: Waiting, tenant: Tenant
) -> None:
    engine.publish("parent", call(retry={"max_attempts": 2}))
    run = engine.submit("parent", {"n": 5})
    engine.fail(engine.turn()[0])
    engine.turn()
    assert engine.step(run, "sub").wait_reason == "retry"
    cancel_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    run.refresh_from_db()
    assert run.state == "cancelled"
    kinds = Event.objects.filter(run_id=run.pk).values_list("type", flat=True)
    assert "step.cancelled" in kinds


def test_a_child_repeats(engine: Waiting) -> None:
    engine.publish("parent", call(repeat={"until": "${{ output > 1 }}", "max": 3}))
    run = engine.submit("parent", {"n": 5})
    engine.run_all(1)
    engine.pass_time()
    engine.run_all(2)
    run.refresh_from_db()
    assert (run.state, run.output) == ("succeeded", "2")
    assert Run.objects.filter(parent_id=run.pk).count() == 2


def test_a_child_that_nobody_waits_for_any_more_is_closed(engine: Waiting, tenant: Tenant) -> None:
    engine.publish("parent", call())
    run = engine.submit("parent", {"n": 5})
    (claimed,) = engine.turn()
    repairs.skip_step(tenant=tenant, run_id=run.pk, name="sub", actor=SYSTEM)
    run.refresh_from_db()
    assert run.state == "succeeded"
    child = child_of(run)
    assert child.closing == "upstream"
    engine.succeed([claimed], 1)
    child.refresh_from_db()
    assert child.state == "cancelled"
    assert engine.counts_agree()


def test_a_retried_run_has_a_new_child(engine: Waiting, tenant: Tenant) -> None:
    engine.publish("parent", call())
    run = engine.submit("parent", {"n": 5})
    engine.fail(engine.turn()[0])
    engine.turn()
    run.refresh_from_db()
    assert run.state == "failed"
    first = child_of(run)
    repairs.retry_run(tenant=tenant, run_id=run.pk, body={}, actor=SYSTEM)
    engine.run_all(7)
    run.refresh_from_db()
    assert (run.state, run.output) == ("succeeded", "7")
    assert child_of(run).pk != first.pk
    assert engine.counts_agree()


def test_a_large_output_of_a_child_is_the_parents_own(engine: Waiting) -> None:
    engine.publish(
        "parent",
        call(),
        {"name": "size", "handler": "core.echo", "args": {"n": "${{ len(steps.sub.output) }}"}},
    )
    run = engine.submit("parent", {"n": 5})
    claimed = engine.turn()[0]
    text = '"' + "x" * 20_000 + '"'
    done = Completion(claimed, "succeeded", 0.1, output=text)
    put_away(store.connection(), engine.plans, [done])
    engine.complete(done)
    engine.turn()
    kept = engine.step(run, "sub").output or ""
    assert kept.startswith(MARK)
    assert kept != child_of(run).output
    assert resolve(store.connection(), [kept]) == [text]


def test_an_input_too_large_for_the_pipeline_reaches_the_child(engine: Waiting) -> None:
    engine.publish("any", {"name": "say", "handler": "core.echo", "args": {}})
    engine.publish("parent", call(workflow="any", args={"text": "${{ 'x' * 20000 }}"}))
    run = engine.submit("parent")
    (claimed,) = engine.turn()
    assert claimed.run_id == child_of(run).pk
    given = child_of(run).input
    assert resolve(store.connection(), [given]) == ['{"text":"' + "x" * 20_000 + '"}']
    engine.run_all()


def test_of_a_child_that_failed_its_parent_s_step_is_the_dead_letter(
    engine: Waiting, tenant: Tenant
) -> None:
    engine.publish("middle", call("m"))
    engine.publish("parent", call(workflow="middle", retry={"max_attempts": 2, "delay": 0}))
    run = engine.submit("parent", {"n": 5})
    for _ in range(2):
        (claim,) = engine.turn()
        engine.fail(claim)
        engine.turn()
        engine.pass_time()
    run.refresh_from_db()
    assert run.state == "failed"
    assert list(DeadLetter.objects.values_list("run_id", "code")) == [(run.pk, "upstream")]
    retry_dead_letters(tenant=tenant, body={"all": True}, actor=SYSTEM)
    assert act(store.connection()) == 1
    (claim,) = engine.turn()
    engine.succeed([claim], 25)
    assert engine.turn() == []
    run.refresh_from_db()
    assert (run.state, run.output) == ("succeeded", "25")
    assert not DeadLetter.objects.exists()
    assert engine.counts_agree()


def test_a_child_that_was_taken_up_by_hand_is_a_dead_letter_of_its_own(
    engine: Waiting, tenant: Tenant
) -> None:
    engine.publish("parent", call(on_error={"value": 0}))
    run = engine.submit("parent", {"n": 5})
    engine.fail(engine.turn()[0])
    assert engine.turn() == []
    run.refresh_from_db()
    assert (run.state, DeadLetter.objects.count()) == ("succeeded", 0), "it was handled"
    child = child_of(run)
    repairs.retry_run(tenant=tenant, run_id=child.pk, body={}, actor=SYSTEM)
    engine.fail(engine.turn()[0])
    assert DeadLetter.objects.get().run_id == child.pk
