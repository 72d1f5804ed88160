"""A run's steps by state, as the parts of a bar."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dashboard.words import STEP_STATES

OVER = ("succeeded", "failed", "skipped", "cancelled")


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of the bar, which is 100 units long."""

    state: str
    count: int
    x: float
    width: float


def parts(counts: Mapping[str, int]) -> list[Part]:
    """The parts that are there, in a fixed order; `counts` are a Run's `steps`."""
    total = max(counts["total"], 1)
    found = []
    before = 0
    for state in STEP_STATES:
        count = counts[state]
        if count:
            found.append(
                Part(state, count, round(before * 100 / total, 3), round(count * 100 / total, 3))
            )
        before += count
    return found


def done(counts: Mapping[str, int]) -> int:
    """How many steps are over, however they ended."""
    return sum(counts[state] for state in OVER)
