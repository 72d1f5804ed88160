"""Rates of bulk actions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.throttles import FASTEST_PER_S, SLOWEST_PER_S, per_second


@pytest.mark.parametrize(
    ("value", "rate"),
    [("10/1s", 10.0), ("100/1m", 100 / 60), ("1/1d", 1 / 86_400), (5, 5.0), (0.5, 0.5)],
)
def test_rates(value: object, rate: float) -> None:
    assert per_second(value) == pytest.approx(rate)


@pytest.mark.parametrize(
    "value",
    [None, True, "", "10", "/1s", "x/1s", "10/", "10/x", "1.5/1s", "-1/1s", "0/1s", "1/2d", 0, -1,
     10_001, 10**400, float("nan"), float("inf"), [], "٣/1s", "1234567890/1d"],
)  # fmt: skip
def test_what_is_no_rate(value: object) -> None:
    with pytest.raises(ValueError, match=r"rate|duration"):
        per_second(value)


@given(st.one_of(st.text(), st.integers(), st.floats(), st.none()))
def test_anything_is_a_rate_within_bounds_or_refused(value: object) -> None:
    try:
        rate = per_second(value)
    except ValueError:
        return
    assert SLOWEST_PER_S <= rate <= FASTEST_PER_S
