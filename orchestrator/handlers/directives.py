"""What a handler may answer besides a value."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from orchestrator.domain.durations import parse_duration
from orchestrator.domain.steplog import as_text


class Directive(Exception):
    """What a handler may raise or return to say what becomes of its attempt."""


class Abort(Directive):
    """Fail now, without retry."""


class Retry(Directive):
    """Try again, after so long (default: the policy's backoff); uses an attempt."""

    def __init__(self, message: str = "", *, after: str | float | timedelta | None = None) -> None:
        super().__init__(message or "the handler asked for a retry")
        self.after = None if after is None else parse_duration(after, zero=True)


class Snooze(Directive):
    """Wait so long and run again; uses no attempt."""

    def __init__(self, for_: str | float | timedelta) -> None:
        super().__init__(f"snoozed for {for_}")
        self.for_ = parse_duration(for_, zero=True)


class Skip(Directive):
    """End the step as skipped, with the reason kept."""

    def __init__(self, reason: str = "skipped by its handler") -> None:
        super().__init__(reason)
        self.reason = as_text(reason)


class Continue(Directive):
    """Go on with this value instead of the failure (from `compensate`); elsewhere: the step's output."""

    def __init__(self, value: object = None) -> None:
        super().__init__("go on with a value")
        self.value = value


@dataclass(frozen=True, slots=True)
class Item:
    """What a streamed map's source yields when it takes `after`: an item, and where to go on.

    `cursor` is any JSON value; the source gets the last one that was kept as `after`."""

    value: object
    cursor: object = None
