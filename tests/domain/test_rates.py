"""Rates: what their text means, and that no window holds more than the count."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.rates import Rate, parse_rate


@pytest.mark.parametrize(
    ("text", "count", "seconds"),
    [("100/1m", 100, 60), ("1/1s", 1, 1), ("5/250ms", 5, 0.25), ("1000000/1d", 1_000_000, 86_400)],
)
def test_what_is_read(text: str, count: int, seconds: float) -> None:
    assert parse_rate(text) == Rate(count, timedelta(seconds=seconds))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "100",
        "100/",
        "/1m",
        "0/1m",
        "-1/1m",
        "1.5/1m",
        "1/0s",
        "1/m",
        "1/60",
        "1 / 1m",
        "1000001/1m",
        "1/400d",
    ],
)
def test_what_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"rate|duration"):
        parse_rate(text)


@given(
    count=st.integers(1, 200),
    period_ms=st.integers(1, 100_000),
    asked=st.lists(st.integers(0, 50_000_000), min_size=1, max_size=400),
)
def test_no_window_of_the_period_holds_more_than_the_count(
    count: int, period_ms: int, asked: list[int]
) -> None:
    rate = Rate(count, timedelta(milliseconds=period_ms))
    now = next_at = timedelta(0)
    starts = []
    for gap in asked:  # as the engine does: ask at any moments, start where it is allowed
        now += timedelta(microseconds=gap)
        if next_at - rate.slack <= now:
            starts.append(now)
            next_at = max(next_at, now) + rate.step
    for first, after in zip(starts, starts[count:], strict=False):
        assert after - first >= rate.period


@given(count=st.integers(1, 1_000_000), period_ms=st.integers(1, 10_000_000))
def test_the_even_pace_is_nearly_the_rate(count: int, period_ms: int) -> None:
    rate = Rate(count, timedelta(milliseconds=period_ms))
    assert rate.slack <= rate.period / 20
    whole = rate.step * count
    assert rate.period <= whole <= rate.period * 1.051 + timedelta(microseconds=count)
