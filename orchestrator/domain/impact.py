"""What another quota would have done to the runs of the last days: a replay of what was counted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stretch:
    """Some seconds as they were: runs that came and that ended, and the most that was in use."""

    seconds: int
    submitted: int = 0
    ended: int = 0
    peak_connections: int = 0
    peak_waiting_steps: int = 0
    storage_bytes: int = 0


def over_rate(stretches: Iterable[Stretch], per_minute: int) -> int:
    """Runs that so many submissions a minute would have refused, at least: within a stretch they
    count as spread evenly.  A token bucket of a minute's worth, as the quota itself is."""
    tokens, refused = float(per_minute), 0
    for one in stretches:
        room = tokens + per_minute / 60 * one.seconds
        taken = min(one.submitted, int(room))
        refused += one.submitted - taken
        tokens = min(room - taken, float(per_minute))
    return refused


def over_active(stretches: Iterable[Stretch], limit: int, active: int) -> int:
    """Runs that a limit of active runs would have refused; `active`: how many were at the beginning.

    Of what came and ended in one stretch, half is taken to have been there at once."""
    level, refused = float(active), 0.0
    for one in stretches:
        brief = min(one.submitted, one.ended)
        level += one.submitted - brief
        over = max(level + brief / 2 - limit, 0.0)
        lost = min(over, float(one.submitted))
        refused += lost
        level = max(level - lost - (one.ended - brief), 0.0)
    return round(refused)


def while_above(stretches: Iterable[Stretch], measure: str, limit: float, *, at: bool) -> int:
    """Runs that came while `measure` was above the limit (`at`: or had reached it)."""
    return sum(
        one.submitted
        for one in stretches
        if getattr(one, measure) > limit or (at and getattr(one, measure) >= limit)
    )
