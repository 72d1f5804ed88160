"""A part's state, what is said about it to whom, and how a canary's results are judged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise


class State(StrEnum):
    """How a part is."""

    OK = "ok"
    DEGRADED = "degraded"
    DOWN = "down"


UNKNOWN = "unknown"
"""In a history: nobody looked."""


@dataclass(frozen=True, slots=True)
class Check:
    """A part of the server.  `since`: when it became what it is, as far as is known; `mend` says what
    to do, and is empty where nothing is to be done."""

    name: str
    state: State
    detail: str
    mend: str = ""
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class About:
    """What a part is called, and what its state means for who only uses the server.

    `for_s`: how long it is ill before that is an alarm; `clear_for_s`: how long it is well before the
    alarm is over.  `alarms_from`: the state from which it is one; None: it never is."""

    title: str
    ok: str
    ill: str
    for_s: float = 30.0
    clear_for_s: float = 30.0
    alarms_from: State | None = State.DEGRADED

    def words(self, state: str) -> str:
        """What a state means."""
        if state == UNKNOWN:
            return "Nobody has looked."
        return self.ok if state == State.OK else self.ill


CHECKS: Mapping[str, About] = {
    "database": About(
        "Database",
        "Everything is read and written as it should.",
        "Reading and writing is slow, or fails. What was accepted is safe.",
        for_s=20.0,
    ),
    "broker": About(
        "Broker",
        "Steps start at once.",
        "Steps start up to a second later.",
        for_s=60.0,
    ),
    "channel_layer": About(
        "Channel layer",
        "Pages show changes at once.",
        "Pages show changes a few seconds later.",
        for_s=60.0,
        alarms_from=State.DOWN,  # without one by choice pages poll: that is no alarm
    ),
    "clock": About(
        "Clock",
        "Timers, retries and schedules are on time.",
        "Timers, retries or schedules are late.",
        for_s=20.0,
    ),
    "workers": About("Workers", "Steps are carried out.", "No step is carried out.", for_s=20.0),
    "handlers": About(
        "Handlers",
        "Every ready step has a worker that can run it.",
        "Some steps wait for a worker that can run them.",
        for_s=300.0,
    ),
    "backlog": About(
        "Backlog",
        "What can start is started at once.",
        "What can start waits although there is room.",
        for_s=30.0,
    ),
    "events": About(
        "Events",
        "Charts and statistics are up to date, notifications go out.",
        "Charts and statistics are behind, or notifications are late.",
        for_s=120.0,
    ),
    "canary": About(
        "Canary",
        "A run of every minute goes through as it should.",
        "The run of every minute is late or fails.",
        for_s=0.0,
        clear_for_s=0.0,  # misses are counted already
    ),
    "breakers": About(
        "Hosts", "Hosts that fail are held off, tenant by tenant.", "", alarms_from=None
    ),
    "disk": About("Disk", "There is room.", "Room runs short.", for_s=300.0, clear_for_s=300.0),
}
"""The parts that are looked at again and again, in this order."""

DEEP: Mapping[str, About] = {
    "migrations": About("Migrations", "All are applied.", "Some are missing."),
    "locks": About("Locks", "Nobody waits for a lock.", "Somebody waits for a lock.", for_s=60.0),
    "snapshots": About(
        "Old snapshots",
        "Old rows can be removed.",
        "Old rows cannot be removed.",
        for_s=300.0,
    ),
    "vacuum": About("Vacuum", "Old rows are removed.", "Old rows pile up.", for_s=900.0),
    "bloat": About("Bloat", "Tables are compact.", "Tables hold much air.", for_s=3600.0),
    "size": About("Size", "The database has room to grow.", "It will not for long.", for_s=3600.0),
    "partitions": About("Partitions", "Events have their places.", "Some are missing."),
    "slots": About(
        "Connections counted", "All counts are right.", "A count is wrong.", for_s=120.0
    ),
    "roles": About("Tenants' roles", "Each is as it should be.", "Some are missing.", for_s=300.0),
    "settings": About("Database's settings", "They are safe.", "Some are not.", for_s=0.0),
    "quotas": About("Quotas", "None is nearly used up.", "", alarms_from=None),
    "keys": About("Keys", "All that is sealed can be opened.", "Something cannot be.", for_s=0.0),
}
"""The parts that are looked at once a minute, and by `manage.py doctor`."""

_RANK = {State.OK: 0, State.DEGRADED: 1, State.DOWN: 2}


def overall(parts: Iterable[Check]) -> State:
    """The worst of them."""
    return max((part.state for part in parts), key=_RANK.__getitem__, default=State.OK)


def is_alarm(name: str, state: State) -> bool:
    """Whether this state of this part is one to be told of."""
    least = (CHECKS.get(name) or DEEP[name]).alarms_from
    return least is not None and _RANK[state] >= _RANK[least]


# -- the canary -----------------------------------------------------------------------------------

DEGRADED_AFTER = 1
DOWN_AFTER = 3
"""Misses in a row."""


@dataclass(frozen=True, slots=True)
class Canaries:
    """What is known of canary runs.  `misses`: how many in a row did not go well; `detail`: what was
    said of the last one; `done`, `good` and `p95_s` are of the last 24 hours; `silent_s`: since one
    was sent."""

    misses: int = 0
    seconds: float | None = None
    detail: str = ""
    ended_at: datetime | None = None
    silent_s: float | None = None
    done: int = 0
    good: int = 0
    p95_s: float | None = None


_CANARY_MEND = (
    "Look at what else is ill here first; else at the workers' and the clock's logs: what a canary"
    " meets, every run meets."
)


def judge_canary(seen: Canaries, *, every_s: float) -> Check:
    """The check of the canary; `every_s` 0: none is sent."""
    if not every_s:
        return Check("canary", State.OK, "Turned off (ORCHESTRATOR_CANARY_EVERY_S is 0).")
    if seen.silent_s is None:
        return Check("canary", State.OK, "None was sent yet.")
    if seen.silent_s > 3 * every_s + 30:
        mend = "The clock sends it: see that one runs, and what its log says of the duty canary."
        return Check("canary", State.DEGRADED, f"None was sent for {seen.silent_s:.0f} s.", mend)
    if seen.misses:
        state = State.DOWN if seen.misses >= DOWN_AFTER else State.DEGRADED
        what = "The last one" if seen.misses == 1 else f"The last {seen.misses} in a row"
        return Check("canary", state, f"{what} did not go well: {seen.detail}", _CANARY_MEND)
    if seen.seconds is None:
        return Check("canary", State.OK, "The first one is on its way.")
    detail = f"The last one took {seen.seconds * 1000:.0f} ms; {seen.good} of {seen.done} in 24 h"
    p95 = "" if seen.p95_s is None else f", 95 % within {seen.p95_s * 1000:.0f} ms"
    return Check("canary", State.OK, f"{detail}{p95}.")


# -- history --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a history: its state, when it began, and when it ended."""

    state: str
    since: datetime
    until: datetime


def spans(
    changes: Sequence[tuple[datetime, str]], *, since: datetime, until: datetime
) -> list[Span]:
    """A history from `since` to `until`, without holes, of changes (moment, new state) by time; of
    what was before the first one nothing is known.  Neighbours with the same state are one."""
    found: list[Span] = []
    marks = [(since, UNKNOWN), *changes, (until, UNKNOWN)]
    for (at, state), (end, _) in pairwise(marks):
        begin, finish = max(at, since), min(end, until)
        if begin >= finish:
            continue
        if found and found[-1].state == state:
            found[-1] = Span(state, found[-1].since, finish)
        else:
            found.append(Span(state, begin, finish))
    return found


def share_ok(history: Iterable[Span]) -> float | None:
    """Of the time that is known, what was ok; None where nothing is known."""
    length = {state: timedelta() for state in (State.OK, "all")}
    for span in history:
        if span.state != UNKNOWN:
            length["all"] += span.until - span.since
            if span.state == State.OK:
                length[State.OK] += span.until - span.since
    return length[State.OK] / length["all"] if length["all"] else None
