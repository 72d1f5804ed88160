"""Steps that wait without holding anything: sleeps, signals, repetitions, in the database."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.domain.errors import OverQuota, StateConflict
from orchestrator.models import Event, Run, Signal
from orchestrator.services.runs import cancel_run
from orchestrator.store import signals
from tenants.actors import SYSTEM
from tenants.models import Tenant
from tenants.services import create_tenant
from tests.store.waiting import Waiting

SLEEP = {"name": "nap", "sleep": "1h"}
ASK: dict[str, Any] = {"name": "ask", "signal": "go"}


@pytest.fixture
def tenant(db: None) -> Tenant:
    return create_tenant(slug="t", actor=SYSTEM)


@pytest.fixture
def engine(tenant: Tenant) -> Waiting:
    return Waiting(tenant)


def after(name: str) -> dict[str, Any]:
    """A step that shows what the one before it gave."""
    return {
        "name": "after",
        "handler": "core.echo",
        "args": {"value": f"${{{{ steps.{name}.output }}}}"},
    }


def types(run: Run) -> list[str]:
    """The run's events."""
    return list(Event.objects.filter(run_id=run.pk).order_by("seq").values_list("type", flat=True))


def test_a_sleep_waits_and_its_output_is_null(engine: Waiting) -> None:
    engine.publish(
        "w", SLEEP, {"name": "b", "handler": "core.echo", "args": {}, "depends_on": ["nap"]}
    )
    run = engine.submit("w")
    assert engine.turn() == []
    step = engine.step(run, "nap")
    assert (step.state, step.wait_reason, step.ready_at) == ("waiting", "sleep", run.created_at)
    assert step.due_at is not None
    assert step.ready_at is not None
    assert (step.due_at - step.ready_at).total_seconds() == 3600
    run.refresh_from_db()
    assert run.state == "running"
    assert engine.counts_agree()
    engine.pass_time()
    step = engine.step(run, "nap")
    assert (step.state, step.output, step.attempts) == ("succeeded", "null", 1)
    engine.run_all(1)
    run.refresh_from_db()
    assert run.state == "succeeded"
    assert types(run) == [
        "run.queued", "step.ready", "run.running", "step.waiting", "step.succeeded", "step.ready",
        "step.running", "step.succeeded", "run.succeeded",
    ]  # fmt: skip
    assert engine.counts_agree()


def test_cancel_ends_a_wait_at_once(engine: Waiting, tenant: Tenant) -> None:
    engine.publish("w", SLEEP, {**ASK, "timeout": "1h"})
    run = engine.submit("w")
    engine.turn()
    cancel_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    run.refresh_from_db()
    assert run.state == "cancelled"
    assert {engine.step(run, name).state for name in ("nap", "ask")} == {"cancelled"}
    engine.pass_time()
    assert engine.turn() == []
    assert engine.counts_agree()


def test_a_signal_ends_its_wait_and_is_the_output(engine: Waiting) -> None:
    engine.publish("w", ASK, after("ask"))
    run = engine.submit("w")
    engine.turn()
    step = engine.step(run, "ask")
    assert (step.state, step.wait_reason, step.wait_key, step.due_at) == (
        "waiting",
        "signal",
        "go",
        None,
    )
    engine.signal(run, "go", {"by": "me"})
    (claimed,) = engine.turn()
    assert claimed.outputs == ['{"by":"me"}']
    assert Signal.objects.count() == 0
    assert "signal.received" in types(run)
    assert engine.counts_agree()


def test_signals_that_come_early_are_taken_in_order_each_once(engine: Waiting) -> None:
    steps = [{"name": f"ask{n}", "signal": "go"} for n in range(3)]
    engine.publish("w", SLEEP, *({**step, "depends_on": ["nap"]} for step in steps))
    run = engine.submit("w")
    engine.turn()
    for number in range(2):
        engine.signal(run, "go", number)
    assert Signal.objects.filter(taken_at=None).count() == 2
    engine.pass_time()
    engine.turn()
    assert [engine.step(run, f"ask{n}").output for n in range(3)] == ["0", "1", None]
    assert engine.step(run, "ask2").state == "waiting"
    assert Signal.objects.count() == 0
    engine.signal(run, "go", 2)
    engine.turn()
    run.refresh_from_db()
    assert run.state == "succeeded"


def test_a_dedup_key_is_known_again_even_when_the_run_has_ended(engine: Waiting) -> None:
    engine.publish("w", ASK)
    run = engine.submit("w")
    engine.turn()
    engine.signal(run, "go", 1, key="a")
    engine.signal(run, "go", 2, key="a")
    engine.turn()
    run.refresh_from_db()
    assert (run.state, run.output) == ("succeeded", "1")
    engine.signal(run, "go", 3, key="a")
    with pytest.raises(StateConflict):
        engine.signal(run, "go", 3, key="b")
    assert types(run).count("signal.received") == 1
    (kept,) = Signal.objects.all()
    assert kept.payload is None


def test_a_signal_with_a_key_that_is_kept_is_taken_once(engine: Waiting) -> None:
    engine.publish("w", SLEEP, {**ASK, "depends_on": ["nap"]})
    run = engine.submit("w")
    engine.turn()
    for _ in range(2):
        engine.signal(run, "go", 1, key="a")
    assert types(run).count("signal.received") == 1
    engine.pass_time()
    engine.turn()
    run.refresh_from_db()
    assert run.state == "succeeded"
    (known,) = Signal.objects.all()
    assert (known.payload, known.taken_at is not None) == (None, True)


def test_a_signal_that_does_not_come_in_time_fails_its_step(engine: Waiting) -> None:
    engine.publish("w", {**ASK, "timeout": "5m"})
    run = engine.submit("w")
    engine.turn()
    engine.pass_time()
    engine.signal(run, "go")  # too late for it: kept, for nobody
    engine.turn()
    run.refresh_from_db()
    step = engine.step(run, "ask")
    assert (run.state, step.state, step.attempts) == ("failed", "failed", 1)
    assert '"code":"timeout"' in (step.error or "").replace(" ", "")


def test_a_late_signal_may_be_handled_or_waited_for_again(engine: Waiting) -> None:
    engine.publish(
        "w",
        {**ASK, "timeout": "5m", "retry": {"max_attempts": 2, "jitter": 0}},
        {"name": "other", "signal": "never", "timeout": "5m", "on_error": {"value": 7}},
    )
    run = engine.submit("w")
    engine.turn()
    engine.pass_time()
    engine.turn()
    step = engine.step(run, "ask")
    assert (step.state, step.wait_reason, step.attempts) == ("waiting", "retry", 1)
    other = engine.step(run, "other")
    assert (other.state, other.output, other.handled) == ("succeeded", "7", True)
    engine.pass_time()
    engine.turn()
    assert engine.step(run, "ask").wait_reason == "signal"
    assert engine.counts_agree()
    engine.signal(run, "go", True)
    engine.turn()
    step = engine.step(run, "ask")
    assert (step.state, step.output, step.error, step.attempts) == ("succeeded", "true", None, 2)
    assert "step.retrying" in types(run)


def test_kept_signals_are_bounded(engine: Waiting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "MOST_KEPT", 2)
    engine.publish("w", SLEEP, {**ASK, "depends_on": ["nap"]})
    run = engine.submit("w")
    engine.turn()
    engine.signal(run, "go")
    engine.signal(run, "go")
    with pytest.raises(OverQuota) as refused:
        engine.signal(run, "go")
    assert refused.value.facts["quota"] == "kept_signals"
    assert Signal.objects.count() == 2


def test_a_signal_step_repeats_until_it_has_what_it_waits_for(engine: Waiting) -> None:
    engine.publish("w", {**ASK, "repeat": {"until": "${{ output == input.word }}", "max": 3}})
    run = engine.submit("w", {"word": "yes"})
    engine.turn()
    engine.signal(run, "go", "no")
    engine.turn()
    step = engine.step(run, "ask")
    assert (step.wait_reason, step.repeats) == ("repeat", 1)
    engine.pass_time()
    engine.turn()
    engine.signal(run, "go", "yes")
    engine.turn()
    run.refresh_from_db()
    assert (run.state, run.output) == ("succeeded", '"yes"')
    run = engine.submit("w", {"word": "yes"})
    for _ in range(3):
        engine.turn()
        engine.signal(run, "go", "no")
        engine.turn()
        engine.pass_time()
    run.refresh_from_db()
    assert run.state == "failed"
    assert "3 times" in (run.error or "")


def test_a_condition_is_asked_before_the_wait(engine: Waiting) -> None:
    engine.publish("w", {**SLEEP, "if": "${{ input.nap }}"}, {**ASK, "if": "${{ input.none }}"})
    run = engine.submit("w", {"nap": False})
    engine.turn()
    assert engine.step(run, "nap").reason == "condition"
    assert "expression" in (engine.step(run, "ask").error or "")


def test_a_run_that_is_gone_is_decided_without_effect(engine: Waiting) -> None:
    engine.publish("w", ASK, {"name": "sub", "workflow": "w"})
    run = engine.submit("w")
    claims = engine.claim()
    gone = [c._replace(run_id=Run(pk="00000000-0000-7000-8000-000000000000").pk) for c in claims]
    engine.settle([c._replace(kind="ended") for c in gone])
    engine.settle(gone)
    assert engine.step(run, "ask").state == "ready"
    assert engine.counts_agree()
