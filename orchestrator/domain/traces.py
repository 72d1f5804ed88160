"""Traces by W3C's Trace Context: which spans runs, steps and attempts are.

Spans' ids are made from what they are about, so that every process knows them without asking: the
engine's SQL makes the same ones (40_claim.sql, 54_children.sql)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import NamedTuple
from uuid import UUID

HEADER = "traceparent"
_TRACEPARENT = re.compile(
    r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII
)
_SAMPLED = 1


class Context(NamedTuple):
    """A place in a trace; ids are hexadecimal."""

    trace_id: str
    span_id: str
    sampled: bool

    def __str__(self) -> str:
        """As a `traceparent`."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


def parse(text: str | None) -> Context | None:
    """The place that a `traceparent` names; None where it is none, as the standard asks."""
    if text is None or len(text) > 200 or (found := _TRACEPARENT.fullmatch(text.strip())) is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if (
        version == "ff"
        or (version == "00" and more)
        or not int(trace_id, 16)
        or not int(span_id, 16)
    ):
        return None
    return Context(trace_id, span_id, bool(int(flags, 16) & _SAMPLED))


def run_span(run_id: UUID) -> str:
    """The span of a run."""
    return _id(run_id)


def step_span(run_id: UUID, ordinal: int, batch: int) -> str:
    """The span of a step run, from when it was ready first until its end."""
    return _id(run_id, ordinal, batch)


def attempt_span(run_id: UUID, ordinal: int, batch: int, epoch: int) -> str:
    """The span of one claim of a step run: an attempt."""
    return _id(run_id, ordinal, batch, epoch)


def root(run_id: UUID, *, sampled: bool) -> Context:
    """The place of a run whose trace begins with itself: its parent's span is its own."""
    return Context(run_id.hex, run_span(run_id), sampled)


def _id(*parts: object) -> str:
    text = ":".join(map(str, parts))
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()[:16]


class Arrival(Enum):
    """What became of spans that were sent: the collector took them, refuses them, or is away."""

    TAKEN = "taken"
    REFUSED = "refused"
    AWAY = "away"


@dataclass(frozen=True, slots=True)
class Fault:
    """Why something failed, without secrets."""

    code: str
    message: str
    kind: str | None = None
    traceback: str | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """A span as it is sent: a run, a step or an attempt that has ended.  `parent` None: a trace begins."""

    name: str
    trace_id: str
    span_id: str
    parent: str | None
    begun_at: datetime
    ended_at: datetime
    attributes: Mapping[str, str | int | float] = field(default_factory=dict)
    fault: Fault | None = None
