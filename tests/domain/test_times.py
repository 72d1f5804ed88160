from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from orchestrator.domain.times import format_time, parse_time

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def test_format_has_six_decimals_and_z() -> None:
    assert format_time(NOON) == "2026-01-31T12:00:00.000000Z"
    east = NOON.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert format_time(east + timedelta(microseconds=7)) == "2026-01-31T12:00:00.000007Z"


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-31T12:00:00Z", NOON),
        ("2026-01-31t12:00:00z", NOON),
        ("2026-01-31 14:00:00+02:00", NOON),
        ("2026-01-31T12:00:00.5Z", NOON + timedelta(milliseconds=500)),
        ("2026-01-31T12:00:00.123456789Z", NOON + timedelta(microseconds=123456)),
    ],
)
def test_parse(text: str, moment: datetime) -> None:
    assert parse_time(text) == moment
    assert parse_time(text).tzinfo is UTC


@pytest.mark.parametrize(
    "value",
    [
        None,
        5,
        "",
        "2026-01-31",
        "2026-01-31T12:00:00",
        "2026-02-31T12:00:00Z",
        "2026-01-31T12:00Z",
        "0001-01-01T00:00:00+10:00",
        "yesterday",
    ],
)
def test_parse_refuses(value: object) -> None:
    with pytest.raises(ValueError, match="RFC 3339"):
        parse_time(value)
