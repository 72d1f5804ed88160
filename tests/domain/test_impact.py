"""What another quota would have done."""

from __future__ import annotations

import pytest

from orchestrator.domain.impact import Stretch, over_active, over_rate, while_above


def five(*submitted: int, ended: int = 0) -> list[Stretch]:
    """Stretches of five minutes."""
    return [Stretch(300, submitted=count, ended=ended) for count in submitted]


@pytest.mark.parametrize(
    ("submitted", "per_minute", "refused"),
    [
        ([], 10, 0),
        ([50, 50], 10, 0),
        ([60], 10, 0),  # a minute's worth may come at once
        ([61], 10, 1),
        ([0, 0, 100], 10, 40),
        ([60, 60], 10, 10),
        ([1000], 1, 994),
    ],
)
def test_rate(submitted: list[int], per_minute: int, refused: int) -> None:
    assert over_rate(five(*submitted), per_minute) == refused


@pytest.mark.parametrize(
    ("stretches", "limit", "active", "refused"),
    [
        (five(5, 5), 10, 0, 0),
        (five(5, 5, 5), 10, 0, 5),
        (five(5), 10, 8, 3),
        (five(5), 0, 20, 5),
        (five(10, ended=10), 5, 0, 0),
        (five(20, ended=20), 5, 0, 5),
        (five(10, 0, ended=0) + five(0, ended=10) + five(10), 10, 0, 0),
    ],
)
def test_active(stretches: list[Stretch], limit: int, active: int, refused: int) -> None:
    assert over_active(stretches, limit, active) == refused


def test_while_above() -> None:
    stretches = [Stretch(300, submitted=3, peak_connections=peak) for peak in (4, 5, 6)]
    assert while_above(stretches, "peak_connections", 5, at=False) == 3
    assert while_above(stretches, "peak_connections", 5, at=True) == 6
