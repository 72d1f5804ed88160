"""Durations as the contract writes them: `"250ms"`, `"1.5h"`, or a number of seconds."""

import math
import re
from datetime import timedelta
from fractions import Fraction

LONGEST = timedelta(days=366)

_TEXT = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_MICROSECONDS = {"ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000}
_MICROSECONDS["d"] = 24 * _MICROSECONDS["h"]
_LONGEST_TEXT = 40


def parse_duration(value: object, *, zero: bool = False) -> timedelta:
    """The duration that `value` says: text with a unit, seconds as a number, or a timedelta.

    Resolution is a microsecond, rounded half to even; a positive value that rounds to nothing is
    refused as too short.  Raises ValueError, with a message for people, for anything else, for
    values that are not positive (negative, when `zero`), and for more than 366 days.
    """
    exact = _microseconds(value)
    if exact < 0 or (exact == 0 and not zero):
        raise ValueError("a duration may not be negative" if zero else "a duration is more than 0")
    if exact > LONGEST // timedelta(microseconds=1):
        raise ValueError("a duration is at most 366 days")
    whole = round(exact)
    if whole == 0 and exact > 0:
        raise ValueError("a duration is at least a microsecond")
    return timedelta(microseconds=whole)


def _microseconds(value: object) -> Fraction:
    match value:
        case timedelta():
            return Fraction(value // timedelta(microseconds=1))
        case bool():
            pass
        case int():
            return Fraction(value) * 1_000_000
        case float() if math.isfinite(value):
            return Fraction(value) * 1_000_000
        case str():
            found = _TEXT.fullmatch(value) if len(value) <= _LONGEST_TEXT else None
            if found is not None:
                return Fraction(found[1]) * _MICROSECONDS[found[2]]
    raise ValueError('a duration is text such as "250ms", "30s", "5m", "1h", "2d", or seconds')


def format_duration(duration: timedelta) -> str:
    """The shortest text that `parse_duration` reads as `duration`: the largest unit that is whole.

    Fractions of a millisecond are written as a decimal fraction of `ms`.
    """
    total = duration // timedelta(microseconds=1)
    if total == 0:
        return "0s"
    for unit in ("d", "h", "m", "s", "ms"):
        if total % _MICROSECONDS[unit] == 0:
            return f"{total // _MICROSECONDS[unit]}{unit}"
    whole, rest = divmod(total, _MICROSECONDS["ms"])
    return f"{whole}.{f'{rest:03d}'.rstrip('0')}ms"
