"""When a schedule is due: the nominal times of a cron expression in a zone, or of an interval, and
what is to be done when some of them have gone by.  Time is passed in; nothing here asks a clock.

**Summer time.**  A cron expression whose minute and hour are both named (`30 2 * * *`) means a time of
the day: one that the clocks leap over fires at the first moment after the gap, one that they show
twice fires the first time alone.  One whose minute or hour begins with a star (`*/15 * * * *`) means
time that goes by: what is leapt over is not there, what is shown twice fires twice.  These are the
rules of Debian's cron; `cronsim` carries them out.  An interval knows no zone."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from itertools import islice
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from orchestrator.domain.durations import format_duration

LONGEST_EXPRESSION = 200
SHORTEST_INTERVAL = timedelta(seconds=1)
ON_TIME = timedelta(seconds=5)
"""A time that is noticed later than this has been missed: the clock was away."""
MOST_COUNTED = 1000
"""How far missed times are counted, and the most that are made up for at once."""
TICK = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIELDS = 5
_MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_CRON = re.compile(r"[0-9A-Za-z*/,#@ \t-]+")


class BadCalendar(ValueError):
    """No cron expression, or no zone; the text says why."""


class Missed(StrEnum):
    """What becomes of times that went by while nobody looked."""

    SKIP = "skip"
    ONE = "one"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression of five fields (or `@daily` and its like) in a zone of the IANA's names."""

    expression: str
    zone: str = "UTC"


@dataclass(frozen=True, slots=True)
class Every:
    """A time every `interval`, counted from `anchor`, which is the first."""

    interval: timedelta
    anchor: datetime


Timing = Cron | Every


@dataclass(frozen=True, slots=True)
class Due:
    """What a look at a schedule finds.

    `fire`: the times to be fired, oldest first; `late`: whether they are made up for; `missed`: times
    that are given up, oldest first (counted to 1,000); `next_at`: the next nominal time, None when
    there is none; `look_at`: when it is to be fired, which jitter puts later."""

    fire: tuple[datetime, ...]
    late: bool
    missed: tuple[datetime, ...]
    next_at: datetime | None
    look_at: datetime | None


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    odd = {"localtime", "Factory", "posixrules"}
    return frozenset(available_timezones() - odd)


def check_zone(name: str) -> str:
    """`name`.  Raises BadCalendar unless it is a zone such as `Europe/Berlin`."""
    if name not in _zones():
        raise BadCalendar('is no zone of the IANA\'s list, such as "Europe/Berlin" or "UTC"')
    return name


@lru_cache(maxsize=64)
def _zone(name: str) -> tzinfo:
    return UTC if name == "UTC" else ZoneInfo(name)


def check_cron(expression: str) -> str:
    """The expression of five fields that `expression` is.  Raises BadCalendar."""
    text = _MACROS.get(expression.strip().lower(), expression)
    if len(text) > LONGEST_EXPRESSION or not _CRON.fullmatch(text):
        raise BadCalendar("is no cron expression")
    fields = text.split()
    if len(fields) != _FIELDS:
        raise BadCalendar(
            f"has {len(fields)} fields, not five: minute, hour, day of the month, month, day of the week"
        )
    text = " ".join(fields)
    try:
        found = next(times(Cron(text), datetime(2024, 1, 1, tzinfo=UTC)), None)
    except CronSimError as error:
        raise BadCalendar(
            f"is no cron expression: {str(error)[:1].lower()}{str(error)[1:]}"
        ) from None
    if found is None:
        raise BadCalendar("never comes")
    return text


def describe(timing: Timing) -> str:
    """When it is due, in words: `At 02:30 every day, Europe/Berlin`; `Every 15m`."""
    if isinstance(timing, Every):
        return f"Every {format_duration(timing.interval)}"
    return f"{CronSim(timing.expression, _EPOCH).explain()}, {timing.zone}"


def times(timing: Timing, after: datetime) -> Iterator[datetime]:
    """The nominal times after a moment, in UTC, rising; a cron expression's end where the next is
    fifty years away."""
    if isinstance(timing, Cron):
        yield from _cron_times(timing, after)
        return
    passed = (after - timing.anchor) // timing.interval
    at = timing.anchor + max(passed + 1, 0) * timing.interval
    while True:
        yield at
        at += timing.interval


def _cron_times(cron: Cron, after: datetime) -> Iterator[datetime]:
    zone = _zone(cron.zone)
    simulated = CronSim(cron.expression, after.astimezone(zone))
    last = after
    while True:
        try:
            found = next(simulated)
        except (StopIteration, OverflowError):
            return  # none within fifty years, or none in any year
        at = found.astimezone(UTC)
        # from within the hour that comes twice, its first half is found once more
        if at > last and (simulated.fixup_tz is not None or _exists(simulated, found, at, zone)):
            last = at
            yield at


def _exists(simulated: CronSim, found: datetime, at: datetime, zone: tzinfo) -> bool:
    """Whether a time that follows the time going by is on the clocks: where midnight itself is leapt
    over, a new day is begun in the gap."""
    shown = at.astimezone(zone)
    if shown.replace(tzinfo=None) == found.replace(tzinfo=None):
        return True
    return (
        shown.minute in simulated.minutes
        and shown.hour in simulated.hours
        and simulated.match_day(shown.date())
    )


def upcoming(timing: Timing, after: datetime, count: int) -> list[datetime]:
    """The next `count` nominal times after a moment."""
    return list(islice(times(timing, after), count))


def first(timing: Timing, *, now: datetime, start_at: datetime | None) -> datetime | None:
    """The first nominal time after `now`, and not before `start_at`."""
    after = now if start_at is None else max(now, start_at - TICK)
    return next(times(timing, after), None)


def newest(timing: Timing, *, since: datetime, until: datetime, most: int) -> list[datetime]:
    """The newest `most` nominal times from `since` to `until`, both included, oldest first.

    However long the stretch is, few more than `most` are gone through."""
    if isinstance(timing, Every):
        late = max(since - TICK, until - (most + 1) * timing.interval)
        return [at for at in upcoming(timing, late, most + 2) if at <= until][-most:]
    stretch = timedelta(hours=1)
    while True:
        begin = max(since - TICK, until - stretch)
        found: deque[datetime] = deque(maxlen=most)
        for at in times(timing, begin):
            if at > until:
                break
            found.append(at)
        if len(found) == most or begin < since:
            return list(found)
        stretch *= 4


def fire_at(timing: Timing, nominal: datetime, *, jitter: timedelta, seed: str) -> datetime:
    """When a nominal time is fired: up to `jitter` later, by chance, but before the next one.

    The chance is a hash of `seed` and the time, so that every clock says the same."""
    if not jitter:
        return nominal
    share = int.from_bytes(sha256(f"{seed} {nominal.isoformat()}".encode()).digest()[:6]) / 2**48
    later = next(times(timing, nominal), None)
    room = jitter if later is None else min(jitter, later - nominal)
    return nominal + room * share


def look(
    timing: Timing,
    *,
    next_at: datetime,
    now: datetime,
    missed: Missed,
    limit: int = MOST_COUNTED,
    jitter: timedelta = timedelta(0),
    seed: str = "",
) -> Due:
    """What is due of a schedule whose next nominal time is `next_at`.

    Times that are noticed later than ON_TIME were missed: under `skip` they are given up; under
    `one` the newest of all that is due is fired, under `all` the newest `limit`."""
    due = newest(timing, since=next_at, until=now, most=MOST_COUNTED)
    later: datetime | None
    if due and fire_at(timing, due[-1], jitter=jitter, seed=seed) > now:
        later = due.pop()
    else:
        later = next(times(timing, due[-1] if due else next_at - TICK), None)
    late = [at for at in due if now - fire_at(timing, at, jitter=jitter, seed=seed) > ON_TIME]
    if not late:
        fire, given_up = due, []
    elif missed is Missed.SKIP:
        fire, given_up = due[len(late) :], late
    else:
        kept = 1 if missed is Missed.ONE else limit
        fire, given_up = due[-kept:], due[:-kept]
    look_at = None if later is None else fire_at(timing, later, jitter=jitter, seed=seed)
    return Due(
        tuple(fire), bool(late) and missed is not Missed.SKIP, tuple(given_up), later, look_at
    )
