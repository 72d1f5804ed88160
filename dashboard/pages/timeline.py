"""A run's steps over time: how long each was ready before it started, and how long it ran."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dashboard import words
from dashboard.charts import Tick, duration_ticks

ROW = 26.0
TOP = 26.0
HALF = 8.0
THIN = 0.2
"""The least width of what ran, per cent."""
MOST = 200


@dataclass(frozen=True, slots=True)
class Bar:
    """A step's line: its bars' places and widths (per cent), and what they say."""

    name: str
    state: str
    y: float
    queue_x: float
    queue_width: float
    x: float
    width: float
    title: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """The lines of the steps that were ready first, the axis, and how many are not drawn."""

    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    height: float
    hidden: int


def timeline(
    begun: Sequence[Mapping[str, Any]], *, since: datetime, until: datetime, total: int
) -> Timeline:
    """Draw the steps that were ready first, of `total`; `until` is now for a run that goes on."""
    marks = duration_ticks(max((until - since).total_seconds(), 0.001), 6)

    def x(at: datetime) -> float:
        return round(max((at - since).total_seconds(), 0.0) / marks[-1] * 100, 3)

    bars = []
    for nr, step in enumerate(begun):
        ended = step["finished_at"] or until
        started = step["started_at"] or ended
        bars.append(
            Bar(
                name=step["name"],
                state=step["state"],
                y=TOP + nr * ROW + ROW / 2 - HALF,
                queue_x=x(step["ready_at"]),
                queue_width=round(max(x(started) - x(step["ready_at"]), 0.0), 3),
                x=x(started),
                width=round(max(x(ended) - x(started), THIN), 3) if step["started_at"] else 0.0,
                title=f"{step['name']}: {step['state']}, queued"
                f" {words.span(step['ready_at'], started)}, ran {words.span(step['started_at'], ended)}",
            )
        )
    ticks = tuple(
        Tick(round(mark / marks[-1] * 100, 3), words.trimmed(words.duration(mark)) if mark else "0")
        for mark in marks
    )
    return Timeline(tuple(bars), ticks, TOP + len(bars) * ROW + 8, total - len(bars))
