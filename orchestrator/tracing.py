"""Whether this process traces, and the place in a trace at which it works.

Off unless OTEL_EXPORTER_OTLP_ENDPOINT says where spans go; then nothing of it is imported here.
A `traceparent` that a client sends is kept and passed on all the same."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from typing import Protocol
from uuid import UUID

from django.core.exceptions import ImproperlyConfigured

from orchestrator import logs
from orchestrator.domain import traces
from orchestrator.domain.traces import Arrival, Context, Ended

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
NEEDED = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")


class RequestSpan(Protocol):
    """The span of a request that is being answered."""

    def end(self, *, status: int, route: str | None) -> None:
        """It was answered."""


class Backend(Protocol):
    """What `orchestrator.otel` does where tracing is on."""

    def start(self) -> None:
        """Let spans that handlers and libraries make be sent too."""

    def begin_request(self, method: str, path: str, parent: Context | None) -> RequestSpan:
        """A request begins; what this task does next belongs to it."""

    def current(self) -> Context | None:
        """The span that is open here."""

    def samples(self, trace_id: str) -> bool:
        """Whether a trace that begins here is kept."""

    def send(self, spans: Sequence[Ended]) -> Arrival:
        """Send what has ended; what became of it."""

    def enter(self, place: Context) -> object:
        """Work at this place from here on; `leave` takes what this answers."""

    def leave(self, token: object) -> None:
        """Work no longer there."""


def is_on(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether spans are sent."""
    disabled = environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    return not disabled and any(environ.get(name) for name in ENDPOINTS)


def check(environ: Mapping[str, str] = os.environ) -> None:
    """Raises ImproperlyConfigured where spans are to be sent and cannot be."""
    if is_on(environ) and not all(map(_is_there, NEEDED)):
        raise ImproperlyConfigured(
            "OTEL_EXPORTER_OTLP_ENDPOINT asks for traces: run `requirements/install otel` to install"
            " what that needs, or unset it."
        )


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


@cache
def backend() -> Backend | None:
    """What traces; None where nothing does."""
    if not is_on():
        return None
    found: Backend = importlib.import_module("orchestrator.otel").Otel()
    return found


def start() -> None:
    """This process serves requests, or runs handlers."""
    if (otel := backend()) is not None:
        otel.start()


def for_runs(run_ids: Sequence[UUID]) -> list[str] | None:
    """By which `traceparent` each of these new runs is traced; None: none is."""
    asked = logs.request.get()
    otel = backend()
    if otel is None:
        given = asked.traceparent if asked is not None else None
        return None if given is None else [given] * len(run_ids)
    place = otel.current()
    if place is not None:
        return [str(place)] * len(run_ids)
    return [str(traces.root(one, sampled=otel.samples(one.hex))) for one in run_ids]


def for_attempt(
    trace: str | None, run_id: UUID, ordinal: int, batch: int, epoch: int
) -> str | None:
    """The `traceparent` that an attempt's handler sees: the attempt's span, or, where no spans are
    sent, whatever the run was given."""
    place = traces.parse(trace)
    if place is None or backend() is None:
        return trace
    return str(place._replace(span_id=traces.attempt_span(run_id, ordinal, batch, epoch)))


def enter(traceparent: str | None) -> object:
    """Work at this place from here on; `leave` takes what this answers."""
    if traceparent is None or (otel := backend()) is None:
        return None
    place = traces.parse(traceparent)
    return None if place is None else otel.enter(place)


def leave(token: object) -> None:
    """Work no longer at the place that `enter` answered for."""
    if token is not None and (otel := backend()) is not None:
        otel.leave(token)
