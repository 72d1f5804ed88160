"""When a run that goes on is expected to end: the longest path through what is left of its graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

NOTHING: tuple[float, int | None] = (0.0, None)


@dataclass(frozen=True, slots=True)
class Ahead:
    """A step of a run: its children's places, whether it has ended, how long it is at it (None: it
    has not begun), how long it usually takes (None: not known)."""

    children: tuple[int, ...]
    ended: bool
    elapsed_s: float | None
    usual_s: float | None


@dataclass(frozen=True, slots=True)
class Forecast:
    """`remaining_s` from now, along `path` (steps by their place, the next first); `known` is the
    share of the steps that are left of which it is known how long they take."""

    remaining_s: float
    path: tuple[int, ...]
    known: float


def forecast(steps: Sequence[Ahead], order: Sequence[int]) -> Forecast:
    """The longest path through the steps that have not ended; `order`: parents before children.

    A step that goes on for longer than usual is expected to end now; one that nobody knows takes no
    time.  The critical path method: Kelley and Walker, 1959."""
    after: dict[int, tuple[float, int | None]] = {}
    nexts: list[tuple[float, int | None]]
    left = [place for place in order if not steps[place].ended]
    for place in reversed(left):
        step = steps[place]
        own = max((step.usual_s or 0.0) - (step.elapsed_s or 0.0), 0.0)
        nexts = [(after[child][0], child) for child in step.children if child in after]
        longest, child = max(nexts, key=lambda one: one[0], default=NOTHING)
        after[place] = (own + longest, child)
    if not after:
        return Forecast(0.0, (), 1.0)
    first = max(after, key=lambda one: after[one][0])
    path: list[int] = []
    following: int | None = first
    while following is not None:
        path.append(following)
        following = after[following][1]
    known = sum(steps[one].usual_s is not None for one in left) / len(left)
    return Forecast(after[first][0], tuple(path), known)
