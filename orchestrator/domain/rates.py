"""Rates: so many starts in any window of a length, spread evenly."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta

from orchestrator.domain.durations import parse_duration

SLACK = timedelta(milliseconds=50)
MOST = 1_000_000
_FORM = re.compile(r"([1-9]\d{0,6})/(\S+)")
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` starts in any window of `period`, whenever it begins.

    A token bucket kept as one moment, GCRA: a start is allowed from `slack` before the moment
    `next_at`, which it moves to max(next_at, now) + step.  Starts i and i + n are then at least
    n·step − slack apart; with step = (period + slack) / count, count + 1 of them fill a period, so
    no window holds more, and none has the double burst of counting by the clock's minutes.  The
    slack (at most 50 ms and a twentieth of the period) lets a start that was noticed late catch up.
    Source of the algorithm: ITU-T I.371, the generic cell rate algorithm."""

    count: int
    period: timedelta

    @property
    def slack(self) -> timedelta:
        """How much before its even place a start may be."""
        return min(SLACK, self.period / 20)

    @property
    def step(self) -> timedelta:
        """The even distance of two starts, in whole microseconds, rounded up."""
        whole = (self.period + self.slack) // _MICROSECOND
        return -(-whole // self.count) * _MICROSECOND


def parse_rate(text: str) -> Rate:
    """`"100/1m"`: a number of starts, and the window's length.  Raises ValueError."""
    found = _FORM.fullmatch(text)
    if found is None or int(found[1]) > MOST:
        raise ValueError(f'a rate is a number from 1 to {MOST:,} and a duration, such as "100/1m"')
    return Rate(int(found[1]), parse_duration(found[2]))
