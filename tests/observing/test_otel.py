"""What goes to a collector, over real HTTP; and what happens where that cannot be."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.core.exceptions import ImproperlyConfigured
from opentelemetry import context as contexts
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from orchestrator import logs, otel, tracing
from orchestrator.domain import traces
from orchestrator.domain.traces import Arrival, Context, Ended, Fault
from orchestrator.otel import Otel
from tests.observing.receiver import Collector, collector
from tests.observing.test_access import Served, fails, fine

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
RUN = UUID("01a1fd1e-5ad7-7414-ae22-083b57160791")
GIVEN = Context("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", sampled=True)


@pytest.fixture
def spans() -> Iterator[Collector]:
    with collector() as found:
        yield found


@pytest.fixture
def tracer(spans: Collector, monkeypatch: pytest.MonkeyPatch) -> Iterator[Otel]:
    """OpenTelemetry for this test alone: nothing global."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", spans.url)
    monkeypatch.setattr("opentelemetry.trace.set_tracer_provider", lambda provider: None)
    monkeypatch.setattr(otel, "BatchSpanProcessor", SimpleSpanProcessor)
    found = Otel()
    monkeypatch.setattr(tracing, "backend", lambda: found)
    tracing.start()
    tracing.start()
    token = contexts.attach(contexts.Context())
    yield found
    contexts.detach(token)
    found._provider.shutdown()


def test_what_has_ended_arrives_with_its_times_and_its_fault(
    tracer: Otel, spans: Collector
) -> None:
    ended = Ended(
        "attempt charge", GIVEN.trace_id, "a" * 16, GIVEN.span_id, NOW, NOW + timedelta(seconds=1),
        {"millrace.attempt": 2}, Fault("error", "no luck", "ValueError", "Traceback …"),
    )  # fmt: skip
    assert tracer.send([ended]) is Arrival.TAKEN
    (one,) = spans.spans
    assert (one.trace_id, one.span_id, one.parent) == (GIVEN.trace_id, "a" * 16, GIVEN.span_id)
    assert one.begun == 1_767_323_045_678_901_000
    assert one.ended - one.begun == 1_000_000_000
    assert one.attributes == {"millrace.attempt": 2, "error.type": "ValueError"}
    assert (one.status, one.message, one.service) == (2, "no luck", "millrace")
    assert one.events == [
        ("exception", {"exception.type": "ValueError", "exception.message": "no luck",
                       "exception.stacktrace": "Traceback …"})
    ]  # fmt: skip
    tracer.send([Ended("run w", GIVEN.trace_id, "b" * 16, None, NOW, NOW)])
    assert (spans.spans[1].parent, spans.spans[1].status) == ("", 0)


def test_a_collector_that_refuses_has_not_got_it(tracer: Otel, spans: Collector) -> None:
    ended = [Ended("run w", GIVEN.trace_id, "b" * 16, None, NOW, NOW)]
    spans.refuses = 400
    assert tracer.send(ended) is Arrival.REFUSED
    spans.status = 400
    assert tracer.send(ended) is Arrival.AWAY


async def test_a_request_is_a_span_below_its_clients(tracer: Otel, spans: Collector) -> None:
    seen: list[Any] = []

    async def notes(scope: Any, receive: Any, send: Any) -> None:
        about = logs.request.get()
        assert about is not None
        about.route = "/api/v1/runs/<run_id>"
        seen.append(tracing.for_runs([RUN]))
        await fine(scope, receive, send)

    await Served().ask(notes, headers=[(b"traceparent", str(GIVEN).encode())])
    (one,) = spans.spans
    assert (one.name, one.kind) == ("GET /api/v1/runs/<run_id>", 2)
    assert (one.trace_id, one.parent) == (GIVEN.trace_id, GIVEN.span_id)
    assert one.attributes["http.response.status_code"] == 204
    assert one.attributes["url.path"] == "/api/v1/runs"
    assert seen == [[f"00-{GIVEN.trace_id}-{one.span_id}-01"]]


async def test_a_request_that_fails_says_so(tracer: Otel, spans: Collector) -> None:
    with pytest.raises(ValueError, match="no"):
        await Served().ask(fails)
    await Served().ask(fine, "/health/live", headers=[(b"traceparent", b"nonsense")])
    (one,) = spans.spans
    assert (one.name, one.parent, one.status) == ("GET", "", 2)
    assert one.attributes["error.type"] == "500"


def test_a_run_that_nobody_asked_for_begins_a_trace(
    tracer: Otel, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs.request.set(None)
    assert tracing.for_runs([RUN]) == [str(traces.root(RUN, sampled=True))]
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    sampling = Otel()
    monkeypatch.setattr(tracing, "backend", lambda: sampling)
    assert tracing.for_runs([RUN]) == [str(traces.root(RUN, sampled=False))]


def test_a_handler_works_at_its_attempts_place(tracer: Otel, spans: Collector) -> None:
    at = tracing.for_attempt(str(GIVEN), RUN, 1, 0, 3)
    assert at == f"00-{GIVEN.trace_id}-{traces.attempt_span(RUN, 1, 0, 3)}-01"
    token = tracing.enter(at)
    assert str(tracer.current()) == at
    tracing.leave(token)
    assert tracer.current() is None
    assert tracing.enter("nonsense") is None


def test_off_costs_no_import_and_on_without_its_packages_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tracing.check({})
    tracing.check({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"})
    monkeypatch.setattr(tracing, "NEEDED", ("opentelemetry.nothing", "nothing.at.all"))
    tracing.check({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_SDK_DISABLED": "true"})
    with pytest.raises(ImproperlyConfigured, match="requirements/install otel"):
        tracing.check({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c"})
    code = (
        "import django, sys; django.setup(); import orchestrator.clock, orchestrator.executor.child;"
        "from orchestrator import tracing; tracing.start();"
        "ours = ('orchestrator.otel', 'opentelemetry.sdk.trace', 'opentelemetry.exporter');"
        "sys.exit(any(name.startswith(ours) for name in sys.modules))"  # redis looks at metrics itself
    )
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "orchestrator.settings"}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)
