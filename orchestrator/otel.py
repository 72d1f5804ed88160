"""OpenTelemetry: the one module that imports it, and only where tracing is on."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
)

from orchestrator.domain.traces import Arrival, Context, Ended, Fault

SERVICE = "millrace"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SCOPE = InstrumentationScope("millrace")


class Otel:
    """What this process does with traces."""

    def __init__(self) -> None:
        resource = Resource.create(
            {} if os.environ.get("OTEL_SERVICE_NAME") else {SERVICE_NAME: SERVICE}
        )
        self._provider = TracerProvider(resource=resource)
        self._tracer = self._provider.get_tracer("millrace")
        self._exporter: OTLPSpanExporter | None = None
        self._started = False

    def start(self) -> None:
        """Send, a few seconds later, what is made here: requests' spans, and those of handlers."""
        if not self._started:
            self._started = True
            self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
            trace.set_tracer_provider(self._provider)

    def begin_request(self, method: str, path: str, parent: Context | None) -> RequestSpan:
        """A request begins; what this task does next belongs to it."""
        above = contexts.Context() if parent is None else trace.set_span_in_context(_remote(parent))
        span = self._tracer.start_span(
            method,
            context=above,
            kind=SpanKind.SERVER,
            attributes={"http.request.method": method, "url.path": path},
        )
        contexts.attach(trace.set_span_in_context(span))
        return RequestSpan(span, method)

    def current(self) -> Context | None:
        """The span that is open here."""
        found = trace.get_current_span().get_span_context()
        if not found.is_valid:
            return None
        return Context(
            f"{found.trace_id:032x}", f"{found.span_id:016x}", bool(found.trace_flags.sampled)
        )

    def samples(self, trace_id: str) -> bool:
        """Whether a trace that begins here is kept (OTEL_TRACES_SAMPLER)."""
        asked = self._provider.sampler.should_sample(None, int(trace_id, 16), "run")
        return asked.decision is Decision.RECORD_AND_SAMPLE

    def enter(self, place: Context) -> object:
        """Work at this place from here on."""
        return contexts.attach(trace.set_span_in_context(_remote(place)))

    def leave(self, token: Any) -> None:
        """Work no longer there."""
        contexts.detach(token)

    def send(self, spans: Sequence[Ended]) -> Arrival:
        """Send what has ended.  The exporter tells a refusal from an outage to nobody: a collector that
        takes a message without spans is there."""
        if self._exporter is None:
            self._exporter = OTLPSpanExporter()
        if self._exports(spans):
            return Arrival.TAKEN
        return Arrival.REFUSED if self._exports(()) else Arrival.AWAY

    def _exports(self, spans: Sequence[Ended]) -> bool:
        assert self._exporter is not None
        done = self._exporter.export([self._readable(one) for one in spans])
        return done is SpanExportResult.SUCCESS

    def _readable(self, one: Ended) -> ReadableSpan:
        found = _span_context(Context(one.trace_id, one.span_id, sampled=True))
        above = None
        if one.parent is not None:
            above = _span_context(Context(one.trace_id, one.parent, sampled=True))
        fault = one.fault
        return ReadableSpan(
            one.name,
            context=found,
            parent=above,
            resource=self._provider.resource,
            attributes={
                **one.attributes,
                **({} if fault is None else {"error.type": fault.kind or fault.code}),
            },
            events=() if fault is None else tuple(_events(fault, one.ended_at)),
            status=Status() if fault is None else Status(StatusCode.ERROR, fault.message),
            start_time=_nanos(one.begun_at),
            end_time=_nanos(one.ended_at),
            instrumentation_scope=_SCOPE,
        )


@dataclass(frozen=True, slots=True)
class RequestSpan:
    """The span of a request that is being answered."""

    span: Span
    method: str

    def end(self, *, status: int, route: str | None) -> None:
        """It was answered."""
        if route is not None:
            self.span.update_name(f"{self.method} {route}")
            self.span.set_attribute("http.route", route)
        self.span.set_attribute("http.response.status_code", status)
        if status >= 500:
            self.span.set_status(Status(StatusCode.ERROR))
            self.span.set_attribute("error.type", str(status))
        self.span.end()


def _events(fault: Fault, at: datetime) -> Iterable[Event]:
    told = {"exception.type": fault.kind or fault.code, "exception.message": fault.message}
    if fault.traceback:
        told["exception.stacktrace"] = fault.traceback
    yield Event("exception", told, _nanos(at))


def _span_context(place: Context) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if place.sampled else TraceFlags.DEFAULT)
    return SpanContext(
        int(place.trace_id, 16), int(place.span_id, 16), is_remote=True, trace_flags=flags
    )


def _remote(place: Context) -> NonRecordingSpan:
    return NonRecordingSpan(_span_context(place))


def _nanos(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1) * 1000
