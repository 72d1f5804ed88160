"""Moments as the contract writes them: RFC 3339, UTC, exactly six decimals and `Z`."""

import re
from datetime import UTC, datetime

_TEXT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?"
    r"(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_FRACTION = re.compile(r"\.([0-9]+)")


def format_time(moment: datetime) -> str:
    """`moment` (with a zone) as `2026-01-31T12:00:00.000000Z`."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def parse_time(value: object) -> datetime:
    """The moment, in UTC, that RFC 3339 text names; digits beyond microseconds are cut off.

    Raises ValueError, with a message for people, for anything else."""
    if isinstance(value, str) and _TEXT.fullmatch(value):
        text = _FRACTION.sub(lambda found: f".{found[1][:6]:0<6}", value.upper())
        try:
            return datetime.fromisoformat(text).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise ValueError('a time is RFC 3339 text with a zone, such as "2026-01-31T12:00:00Z"')
