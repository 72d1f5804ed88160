"""Spans made from events: parents, times, faults, what is sent again and what is passed over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

import pytest

from orchestrator import logs, store, tracing
from orchestrator.domain import traces
from orchestrator.domain.traces import Arrival, Ended
from orchestrator.models import Event, Run, StepRun, TraceCursor
from orchestrator.services.runs import submit_run
from orchestrator.services.spans import Spans
from orchestrator.services.workflows import publish_workflow
from tenants.actors import SYSTEM
from tenants.models import Tenant
from tenants.services import create_tenant
from tests.engine import Engine

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GIVEN = f"00-{TRACE}-{SPAN}-01"
STEPS: list[dict[str, Any]] = [
    {"name": "one", "handler": "core.echo", "retry": {"max_attempts": 3}},
    {"name": "two", "handler": "core.echo", "depends_on": ["one"]},
]


class Sent:
    """What has been sent; `arrives` false: nothing does.  `refused`: a span that is never taken."""

    def __init__(self) -> None:
        self.spans: list[Ended] = []
        self.arrives = True
        self.refused = ""

    def __call__(self, spans: Sequence[Ended]) -> Arrival:
        if not self.arrives:
            return Arrival.AWAY
        if any(one.name == self.refused for one in spans):
            return Arrival.REFUSED
        self.spans += spans
        return Arrival.TAKEN

    def named(self, name: str) -> list[Ended]:
        return [one for one in self.spans if one.name == name]


@pytest.fixture(autouse=True)
def asked() -> Iterator[logs.Request]:
    """A request that has sent its place in a trace."""
    about = logs.Request("r", traceparent=GIVEN)
    token = logs.request.set(about)
    yield about
    logs.request.reset(token)


@pytest.fixture
def tenant(db: None) -> Tenant:
    return create_tenant(slug="t", actor=SYSTEM)


def submit(tenant: Tenant, steps: list[dict[str, Any]] = STEPS, name: str = "w") -> UUID:
    publish_workflow(tenant=tenant, name=name, document={"steps": steps}, actor=SYSTEM)
    return submit_run(tenant=tenant, workflow=name, body={}, actor=SYSTEM).run_id


def look(spans: Spans) -> int:
    return spans(store.connection())


def test_a_runs_spans_are_its_events(tenant: Tenant) -> None:
    sent, engine = Sent(), Engine()
    spans = Spans(sent)
    look(spans)
    run_id = submit(tenant)
    worker = engine.join()
    (claim,) = engine.claim()
    assert claim.trace == GIVEN
    engine.fail(claim, retry_in_s=0, message="no luck")
    look(spans)
    StepRun.objects.filter(run_id=run_id, ordinal=0).update(due_at="2020-01-01T00:00:00Z")
    engine_due()
    engine.succeed(engine.claim())
    engine.succeed(engine.claim())
    engine.decide()
    assert look(spans) > 0
    (run,) = sent.named("run w")
    assert (run.trace_id, run.parent, run.fault) == (TRACE, SPAN, None)
    row = Run.objects.get(pk=run_id)
    assert (run.begun_at, run.ended_at) == (row.created_at, row.finished_at)
    assert run.attributes["millrace.run.id"] == str(run_id)
    assert (run.attributes["millrace.tenant"], run.attributes["millrace.version"]) == ("t", 1)
    (one,) = sent.named("step one")
    assert (one.parent, one.span_id) == (run.span_id, traces.step_span(run_id, 0, 0))
    assert one.begun_at == row.created_at
    failed, well = sent.named("attempt one")
    assert failed.parent == well.parent == one.span_id
    assert failed.fault is not None
    assert (failed.fault.code, failed.fault.message, failed.fault.kind) == (
        "error",
        "no luck",
        "ValueError",
    )
    assert (failed.attributes["millrace.attempt"], well.attributes["millrace.attempt"]) == (1, 2)
    assert failed.span_id == traces.attempt_span(run_id, 0, 0, 1)
    assert well.span_id == traces.attempt_span(run_id, 0, 0, 2)
    assert well.attributes["millrace.worker"] == worker.name
    starts = Event.objects.filter(run_id=run_id, ordinal=0, type="step.running").order_by("seq")
    assert [failed.begun_at, well.begun_at] == [event.at for event in starts]
    assert look(spans) == 0
    assert len(sent.spans) == 6


def engine_due() -> None:
    from orchestrator.store import clock

    clock.due(store.connection())


def test_what_is_not_traced_leaves_no_span(tenant: Tenant, asked: logs.Request) -> None:
    sent = Sent()
    spans = Spans(sent)
    look(spans)
    asked.traceparent = None
    submit(tenant)
    engine = Engine()
    engine.run_all()
    asked.traceparent = f"00-{TRACE}-{SPAN}-00"
    submit(tenant)
    engine.run_all()
    assert look(spans) == 0
    assert sent.spans == []
    assert Event.objects.filter(type="step.running", data__isnull=False).count() == 2
    assert Run.objects.filter(trace=None).count() == 1


def test_what_does_not_arrive_is_sent_again_by_whoever_looks_next(tenant: Tenant) -> None:
    sent, engine = Sent(), Engine()
    spans = Spans(sent)
    look(spans)
    submit(tenant)
    look(spans)  # its first step is ready
    sent.arrives = False
    claims = engine.claim()
    assert look(spans) == 0
    engine.succeed(claims)
    engine.run_all()
    engine.decide()
    assert look(spans) == 0
    assert look(spans) == 0
    sent.arrives = True
    another = Spans(sent)  # another clock, which has not seen how they began
    assert look(another) == 5
    assert {one.name for one in sent.spans} == {
        "run w",
        "step one",
        "step two",
        "attempt one",
        "attempt two",
    }
    (one,) = sent.named("step one")
    assert one.begun_at == Run.objects.get().created_at


def test_what_is_refused_holds_nothing_up(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("orchestrator.services.spans.store.WINDOW", 2)  # many turns
    sent, engine = Sent(), Engine()
    spans = Spans(sent)
    look(spans)
    sent.refused = "attempt one"
    submit(tenant)
    submit(create_tenant(slug="later", actor=SYSTEM))
    engine.run_all()
    engine.decide()
    assert look(spans) == 10
    names = sorted(one.name for one in sent.spans)
    assert names == sorted(["run w", "step one", "step two", "attempt two"] * 2)
    assert "refuses the span attempt one" in caplog.text
    assert look(spans) == 0


def test_what_happened_before_tracing_was_switched_on_is_passed_over(tenant: Tenant) -> None:
    submit(tenant)
    Engine().run_all()
    sent = Sent()
    spans = Spans(sent)
    assert look(spans) == 0
    assert TraceCursor.objects.get(tenant_id=tenant.pk).seq > 0
    later = create_tenant(slug="later", actor=SYSTEM)
    submit(later)
    engine = Engine()
    engine.run_all()
    engine.decide()
    assert look(spans) == 5
    assert str(TraceCursor.objects.get(tenant_id=later.pk)).startswith(f"{later.pk} at ")


def test_a_child_runs_span_is_below_the_step_that_waits_for_it(tenant: Tenant) -> None:
    sent, engine = Sent(), Engine()
    spans = Spans(sent)
    look(spans)
    publish_workflow(tenant=tenant, name="child", document={"steps": STEPS[:1]}, actor=SYSTEM)
    parent = submit(tenant, [{"name": "calls", "workflow": "child"}], "parent")
    engine.join()
    engine.decide()
    child = Run.objects.get(parent_id=parent)
    assert child.trace == f"00-{TRACE}-{traces.step_span(parent, 0, 0)}-01"
    engine.succeed(engine.claim())
    for _ in range(4):  # the child's output, its parent's step, the parent's output
        engine.decide()
    look(spans)
    assert Run.objects.get(pk=parent).state == "succeeded"
    (run,) = sent.named("run child")
    (step,) = sent.named("step calls")
    assert run.parent == step.span_id
    assert run.trace_id == step.trace_id == TRACE


def test_batches_and_undos_say_what_they_are(tenant: Tenant) -> None:
    sent, engine = Sent(), Engine()
    spans = Spans(sent)
    look(spans)
    of = {"over": "${{ [1, 2] }}", "batch_size": 1}
    run_id = submit(tenant, [{"name": "each", "handler": "core.echo", "map": of}])
    engine.join()
    engine.decide()
    for claim in engine.claim():
        engine.succeed([claim], [1])
    engine.decide()
    look(spans)
    batches = [one for one in sent.named("step each") if "millrace.index" in one.attributes]
    assert [one.attributes["millrace.index"] for one in batches] == [0, 1]
    assert {one.parent for one in batches} == {traces.step_span(run_id, 0, 0)}


def test_forgotten_openings_are_read_again(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.services.spans.MOST_OPEN", 0)
    monkeypatch.setattr("orchestrator.services.spans.MOST_NAMES", -1)
    sent, engine = Sent(), Engine()
    spans = Spans(sent)
    look(spans)
    submit(tenant)
    engine.run_all()
    engine.decide()
    look(spans)
    assert len(sent.named("attempt one")) == len(sent.named("step one")) == 1


def test_without_a_place_given_a_handler_sees_none(asked: logs.Request) -> None:
    run_id = UUID(int=7)
    assert tracing.for_runs([run_id]) == [GIVEN]
    assert tracing.for_attempt(GIVEN, run_id, 0, 0, 1) == GIVEN
    assert tracing.enter(GIVEN) is None
    tracing.leave(None)
    tracing.start()
    asked.traceparent = None
    assert tracing.for_runs([run_id]) is None
