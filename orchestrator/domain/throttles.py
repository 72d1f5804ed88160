"""How fast a bulk action goes: `"100/1m"` is a hundred a minute, a number is so many a second."""

from __future__ import annotations

from orchestrator.domain.durations import parse_duration

FASTEST_PER_S = 10_000.0
SLOWEST_PER_S = 1 / 86_400
_MESSAGE = 'a rate is text such as "10/1s" or "100/1m", or a number a second'


def per_second(value: object) -> float:
    """How many a second `value` says.

    Raises ValueError, with a message for people, for anything else, and for what is faster than
    10,000 a second or slower than one a day."""
    match value:
        case bool():
            raise ValueError(_MESSAGE)
        case int() | float():
            rate = float(min(value, 2 * FASTEST_PER_S))
        case str():
            count, slash, span = value.partition("/")
            if not slash or not count.isascii() or not count.isdigit() or len(count) > 9:
                raise ValueError(_MESSAGE)
            rate = int(count) / parse_duration(span).total_seconds()
        case _:
            raise ValueError(_MESSAGE)
    if not SLOWEST_PER_S <= rate <= FASTEST_PER_S:
        raise ValueError("a rate is from one a day to 10,000 a second")
    return rate
