"""A run that runs again takes a place under its concurrency again, or waits for one."""

from __future__ import annotations

import pytest

from orchestrator.domain.errors import ConcurrencyConflict
from orchestrator.models import Event, Run
from orchestrator.selectors.runs import describe_run, view
from orchestrator.selectors.steps import steps_view
from orchestrator.services import pauses, repairs
from orchestrator.services.runs import cancel_run
from tenants.actors import SYSTEM
from tenants.models import Tenant
from tests.store import test_holding
from tests.store.test_holding import held, keyed
from tests.store.waiting import Waiting

tenant, engine = test_holding.tenant, test_holding.engine

PAIR = ({"name": "a", "handler": "core.echo"}, {"name": "b", "handler": "core.echo", "depends_on": ["a"]})  # fmt: skip


def failed_at_b(engine: Waiting, name: str = "w") -> Run:
    """A run whose first step succeeded, and whose second one failed."""
    run = engine.submit(name, {"k": 1})
    engine.succeed(engine.turn(), 1)
    engine.fail(engine.turn()[0])
    assert held(run) == ["failed"]
    return run


def test_a_retried_run_waits_for_a_place(engine: Waiting, tenant: Tenant) -> None:
    engine.publish("w", *PAIR, **keyed(), timeout="1h")
    run = failed_at_b(engine)
    other = engine.submit("w", {"k": 1})
    claims = engine.turn()
    repairs.retry_run(tenant=tenant, run_id=run.pk, body={}, actor=SYSTEM)
    assert held(run, other) == ["concurrency", None]
    assert (run.state, run.started_at, run.expires_at) == ("queued", None, None)
    assert engine.turn() == []
    shown = view(describe_run(tenant=tenant, run_id=run.pk))["waiting"]
    assert isinstance(shown, dict)
    assert (shown["reason"], shown["since"]) == ("concurrency", run.start_at)
    rows = {str(row["name"]): row for row in steps_view(tenant=tenant, run_id=run.pk)}
    assert (rows["a"]["state"], rows["b"]["state"]) == ("succeeded", "blocked")
    assert isinstance(rows["b"]["waiting"], dict)
    assert rows["b"]["waiting"]["reason"] == "concurrency"
    third = engine.submit("w", {"k": 1})
    assert held(third) == ["concurrency"]
    engine.succeed(claims)
    engine.succeed(engine.turn())
    assert held(run, other, third) == [None, "succeeded", "concurrency"], "the oldest goes first"
    (claimed,) = engine.turn()
    assert (claimed.run_id, claimed.ordinal, claimed.outputs) == (run.pk, 1, None)
    run.refresh_from_db()
    assert run.state == "running"
    assert run.expires_at is not None
    engine.succeed([claimed])
    engine.run_all()
    assert held(run, third) == ["succeeded", "succeeded"]
    types = Event.objects.filter(run_id=run.pk, ordinal=None).order_by("seq")
    told = ["queued", "running", "failed", "queued", "running", "succeeded"]
    assert [one.removeprefix("run.") for one in types.values_list("type", flat=True)] == told
    assert engine.counts_agree()


def test_a_retried_run_takes_a_place_that_is_free(engine: Waiting, tenant: Tenant) -> None:
    engine.publish("w", *PAIR, **keyed())
    run = failed_at_b(engine)
    repairs.retry_run(tenant=tenant, run_id=run.pk, body={}, actor=SYSTEM)
    assert held(run) == [None]
    other = engine.submit("w", {"k": 1})
    assert held(other) == ["concurrency"], "its place counts"
    engine.run_all()
    assert held(run, other) == ["succeeded", "succeeded"]


def test_a_retried_run_cancels_the_oldest_or_is_refused(engine: Waiting, tenant: Tenant) -> None:
    engine.publish("oldest", *PAIR, **keyed("cancel_oldest"))
    run = failed_at_b(engine, "oldest")
    other = engine.submit("oldest", {"k": 1})
    (claimed,) = engine.turn()
    repairs.retry_run(tenant=tenant, run_id=run.pk, body={"from_step": "a"}, actor=SYSTEM)
    other.refresh_from_db()
    assert (held(run), other.closing) == (["concurrency"], "cancel")
    engine.succeed([claimed])
    assert held(run, other) == [None, "cancelled"]
    engine.run_all()
    assert held(run) == ["succeeded"]
    # one that has not begun makes room at once
    pauses.pause_workflow(tenant=tenant, name="oldest", actor=SYSTEM)
    waiting = engine.submit("oldest", {"k": 1})
    repairs.retry_run(tenant=tenant, run_id=run.pk, body={"from_step": "b"}, actor=SYSTEM)
    assert held(run, waiting) == [None, "cancelled"]
    pauses.resume_workflow(tenant=tenant, name="oldest", actor=SYSTEM)
    engine.run_all()
    assert held(run) == ["succeeded"]

    engine.publish("reject", *PAIR, **keyed("reject"))
    run = failed_at_b(engine, "reject")
    other = engine.submit("reject", {"k": 1})
    for repair in (repairs.retry_step, repairs.skip_step):
        with pytest.raises(ConcurrencyConflict, match=r"as the workflow takes \(1\)"):
            repair(tenant=tenant, run_id=run.pk, name="b", actor=SYSTEM)
    assert held(run) == ["failed"]
    assert engine.step(run, "b").state == "failed"
    cancel_run(tenant=tenant, run_id=other.pk, actor=SYSTEM)
    repairs.skip_step(tenant=tenant, run_id=run.pk, name="b", actor=SYSTEM)
    assert held(run) == ["succeeded"]
    assert engine.counts_agree()


def test_a_step_completed_by_hand_lets_its_run_wait_for_a_place(
    engine: Waiting, tenant: Tenant
) -> None:
    after = {"name": "c", "handler": "core.echo", "depends_on": ["b"]}
    last = {"name": "d", "handler": "core.echo", "depends_on": ["c"], "trigger_rule": "all_done"}
    engine.publish("w", *PAIR, after, last, **keyed())
    run = engine.submit("w", {"k": 1})
    engine.succeed(engine.turn(), 1)
    engine.fail(engine.turn()[0])
    engine.run_all()
    assert held(run) == ["failed"]
    other = engine.submit("w", {"k": 1})
    claims = engine.turn()
    repairs.complete_step(tenant=tenant, run_id=run.pk, name="b", body={"output": 7}, actor=SYSTEM)
    assert held(run) == ["concurrency"]
    assert engine.turn() == []
    pauses.pause_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    pauses.resume_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    assert (held(run), run.state) == (["concurrency"], "queued")
    cancel_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    assert held(run) == ["cancelled"]
    repairs.retry_run(tenant=tenant, run_id=run.pk, body={}, actor=SYSTEM)
    assert held(run) == ["concurrency"]
    engine.succeed(claims)
    engine.run_all()
    assert held(run, other) == ["succeeded", "succeeded"]
    assert [engine.step(run, name).state for name in "abcd"] == ["succeeded"] * 4
    assert engine.counts_agree()


@pytest.mark.parametrize("repair", ["retry", "complete", "skip"])
def test_a_failure_repaired_while_its_run_waits_for_a_place_does_not_begin_it(
    engine: Waiting, tenant: Tenant, repair: str
) -> None:
    other = {"name": "c", "handler": "core.echo"}
    last = {"name": "d", "handler": "core.echo", "depends_on": ["c"], "trigger_rule": "none_failed"}
    engine.publish("w", *PAIR, other, last, **keyed())
    run = engine.submit("w", {"k": 1})
    for claim in engine.turn():
        engine.fail(claim)
    engine.run_all()
    assert held(run) == ["failed"]
    first = engine.submit("w", {"k": 1})
    claims = engine.turn()
    repairs.retry_run(tenant=tenant, run_id=run.pk, body={"from_step": "a"}, actor=SYSTEM)
    assert held(run) == ["concurrency"]
    match repair:
        case "retry":
            repairs.retry_step(tenant=tenant, run_id=run.pk, name="c", actor=SYSTEM)
        case "complete":
            body = {"output": 1}
            repairs.complete_step(tenant=tenant, run_id=run.pk, name="c", body=body, actor=SYSTEM)
        case _:
            repairs.skip_step(tenant=tenant, run_id=run.pk, name="c", actor=SYSTEM)
    assert held(run) == ["concurrency"]
    assert engine.turn() == []
    assert engine.counts_agree()
    engine.succeed(claims)
    engine.run_all()
    assert held(first, run) == ["succeeded", "succeeded"]
    assert engine.counts_agree()
