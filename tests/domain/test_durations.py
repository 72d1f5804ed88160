"""Durations are read exactly, and nothing else is taken for one."""

from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.durations import LONGEST, format_duration, parse_duration


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("250ms", 0.25),
        ("30s", 30),
        ("5m", 300),
        ("1h", 3600),
        ("2d", 172_800),
        ("1.5s", 1.5),
        ("0.5ms", 0.0005),
        ("0001s", 1),
        ("366d", 366 * 86_400),
        (3, 3),
        (0.25, 0.25),
        (timedelta(minutes=2), 120),
    ],
)
def test_reads(value: str | int | float | timedelta, seconds: float) -> None:
    assert parse_duration(value) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "5",
        "5 s",
        " 5s",
        "5s\n",
        "s",
        "-5s",
        "+5s",
        "5S",
        "5sec",
        "1h30m",
        ".5s",
        "5.s",
        "1e3s",
        "٥s",
        "9" * 100 + "s",
        "367d",
        "366.1d",
        366 * 86_400 + 1,
        10**400,
        -1,
        -0.5,
        float("nan"),
        float("inf"),
        1e308,
        True,
        False,
        None,
        [],
        Decimal(5),
        timedelta(days=367),
        timedelta(seconds=-1),
        "0.0001ms",
        1e-9,
    ],
)
@pytest.mark.parametrize("zero", [True, False])
def test_refuses(value: object, zero: bool) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(value, zero=zero)


@pytest.mark.parametrize("value", ["0s", "0.0d", 0, 0.0, timedelta(0)])
def test_nothing_is_a_duration_only_when_asked_for(value: str | int | float | timedelta) -> None:
    assert parse_duration(value, zero=True) == timedelta(0)
    with pytest.raises(ValueError, match="more than 0"):
        parse_duration(value)


@given(st.timedeltas(min_value=timedelta(0), max_value=LONGEST))
def test_what_is_written_is_read_again(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration), zero=True) == duration


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(0), "0s"),
        (timedelta(days=2), "2d"),
        (timedelta(hours=49), "49h"),
        (timedelta(minutes=90), "90m"),
        (timedelta(seconds=90), "90s"),
        (timedelta(milliseconds=1500), "1500ms"),
        (timedelta(microseconds=1_500), "1.5ms"),
        (timedelta(microseconds=1), "0.001ms"),
    ],
)
def test_writes(duration: timedelta, text: str) -> None:
    assert format_duration(duration) == text
