"""When a limit will be reached."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.domain.forecast import exhausted_at

NOW = datetime(2026, 1, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)


def hours(*values: float) -> list[tuple[datetime, float]]:
    """A value an hour, the last one now."""
    return [(NOW - HOUR * (len(values) - 1 - nr), value) for nr, value in enumerate(values)]


@pytest.mark.parametrize(
    ("values", "limit", "after"),
    [
        ([10, 20, 30], 60, 3 * HOUR),
        ([10, 20, 30], 30, timedelta(0)),
        ([30, 10, 40], 20, timedelta(0)),
        ([10, 20], 60, None),
        ([], 60, None),
        ([30, 30, 30], 60, None),
        ([30, 20, 10], 60, None),
        ([0, 0.001, 0.002], 1000, None),
    ],
)
def test_a_line_through_what_was_seen(
    values: list[float], limit: float, after: timedelta | None
) -> None:
    found = exhausted_at(hours(*values), limit=limit, now=NOW)
    assert found == (None if after is None else NOW + after)


def test_points_of_one_moment_say_nothing() -> None:
    assert exhausted_at([(NOW, 1), (NOW, 2), (NOW, 3)], limit=9, now=NOW) is None


def test_what_should_have_come_already_comes_now() -> None:
    late = NOW + timedelta(days=1)
    assert exhausted_at(hours(10, 20, 30), limit=40, now=late) == late
