"""Thresholds that fit what was measured."""

from __future__ import annotations

import math

ROOM = 1.5
"""A proposed threshold leaves half as much again over what was measured."""
_STEPS = (1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0)
_CLOCK = (
    15.0,
    20.0,
    30.0,
    45.0,
    60.0,
    90.0,
    120.0,
    180.0,
    300.0,
    600.0,
    900.0,
    1200.0,
    1800.0,
    2700.0,
)
SHORTEST_S = 0.1


def proposed_threshold(p95_s: float) -> float:
    """The next round number of seconds above `p95_s` and half as much again: as people would set it."""
    wanted = max(p95_s * ROOM, SHORTEST_S)
    if wanted <= 10.0:
        power = 10.0 ** math.floor(math.log10(wanted) + 1e-12)
        return next(round(step * power, 6) for step in _STEPS if step * power >= wanted * 0.999999)
    for step in _CLOCK:
        if step >= wanted:
            return step
    return math.ceil(wanted / 3600.0 - 1e-9) * 3600.0
