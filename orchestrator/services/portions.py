"""What is old goes portion by portion: each statement is short, and in the end nothing is left."""

from __future__ import annotations

from collections.abc import Callable


def all_of(drop: Callable[[], int]) -> int:
    """Drop portions until there is none: a bound on a whole round would let what is made faster than that
    grow for ever.  Answers how much went."""
    total = 0
    while gone := drop():
        total += gone
    return total
