"""What rules saw, made into alerts: the state machine over the database, and who is to be told.

Rules (SLAs, health, the canary) call `observe` and `settle`; people's verbs are in `services.alerts`.
A move, its line in the timeline, its event and its messages in the outbox are one transaction."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from uuid_utils.compat import uuid7

from orchestrator.domain import routing
from orchestrator.domain.alerts import (
    ALARMED,
    AlertState,
    Standing,
    canonical,
    closed,
    fingerprint,
    look,
)
from orchestrator.domain.channels import Notice
from orchestrator.domain.observations import Observation, Sight
from orchestrator.store import Connection, alerts, outbox
from orchestrator.store.alerts import SERVER, AlertEvent, AlertRow, Change
from orchestrator.store.outbox import Post

Key = tuple[int, str, str]
"""Of an alert: its tenant (0: the server), its rule, and its labels' fingerprint."""

AT_ONCE = 500
"""Alerts that one transaction writes: the tenants' mutexes are held for no longer."""
LONGEST_NAME = 200
LONGEST_SUMMARY = 1000
MOST_RUNS = 10
ESCALATED = "escalated"
"""In timelines and events: no state, but that it matters more than when it began to fire."""
ESCALATED_AGAIN = timedelta(hours=1)
"""After which it is told anew that an alert matters more again: what goes to and fro tells it once."""
RESOLVED_WAIT_S = 1.0
"""How long ends are collected: what goes good at once is told at once."""


@dataclass(frozen=True, slots=True)
class Look:
    """An observation that was looked at: where its alert stood and stands."""

    seen: Observation
    key: Key
    before: AlertRow | None
    after: AlertRow | None
    moves: tuple[AlertState, ...]


def observe(
    observations: Sequence[Observation], *, connection: Connection, now: datetime | None = None
) -> int:
    """One tick of the state machine for each rule and labels; answers how many alerts moved
    or escalated.

    Of several observations of one rule and labels the last counts.  `now` is for tests: it is the
    database's time.  Any number of processes may call it at once: within a tenant one after the other.
    Not in a transaction of the caller's, save in tests: each part commits by itself."""
    seen = {key_of(one): one for one in observations}
    keys = list(seen)
    moved = 0
    for begin in range(0, len(keys), AT_ONCE):
        part = {key: seen[key] for key in keys[begin : begin + AT_ONCE]}
        moved += _observe(connection, part, now)
    return moved


def settle(rule: str, *, tenant_id: int | None, connection: Connection, reason: str) -> int:
    """End what is open of a rule that is gone or off; `reason` stands in the timeline.  How many."""
    owner = SERVER if tenant_id is None else tenant_id
    count = 0
    while True:
        keys = alerts.open_of_rule(connection, tenant_id=owner, rule=rule, limit=AT_ONCE)
        if not keys:
            return count
        count += _end(connection, keys, reason)


def settle_others(
    family: str, kept: Collection[Key], *, connection: Connection, reason: str
) -> int:
    """End what is open of rules whose names begin with `family`, and that nobody looks at any more:
    of all rules and labels but `kept`.  How many."""
    found = alerts.open_of_family(connection, family)
    gone = [key for key in found if key not in kept]
    return sum(
        _end(connection, gone[begin : begin + AT_ONCE], reason)
        for begin in range(0, len(gone), AT_ONCE)
    )


def _end(connection: Connection, keys: Sequence[Key], reason: str) -> int:
    """Close those of these alerts that are open still."""
    with connection.transaction():
        alerts.lock(connection, {key[0] for key in keys})
        now = alerts.now(connection)
        before = alerts.open_alerts(connection, keys)
        after = [
            replace(row, state=closed(AlertState(row.state)), good_since=now)
            for row in before.values()
        ]
        alerts.hold(connection, [row.id for row in after])
        alerts.write(connection, after, now=now)
        note(connection, [(row, AlertState(row.state), reason) for row in after], now)
        tell(connection, [(row, AlertState(row.state)) for row in after])
    return len(after)


def key_of(seen: Observation) -> Key:
    """Which alert it is that an observation is about."""
    owner = SERVER if seen.tenant_id is None else seen.tenant_id
    return (owner, seen.rule, fingerprint(seen.labels))


def _observe(connection: Connection, part: Mapping[Key, Observation], now: datetime | None) -> int:
    """Look without locks first: nearly always nothing is bad, or nothing changes."""
    first = now or alerts.now(connection)
    looks = _looks(part, alerts.open_alerts(connection, part), first)
    changed = {one.key: one.seen for one in looks if one.after != one.before}
    if not changed:
        return 0
    with connection.transaction():
        alerts.lock(connection, {key[0] for key in changed})
        at = now or alerts.now(connection)
        looks = _looks(changed, alerts.open_alerts(connection, changed), at)
        after = [one.after for one in looks if one.after is not None and one.after != one.before]
        alerts.hold(connection, [row.id for row in after])
        alerts.write(connection, after, now=at)
        moves = [
            (one.after, move, one.seen.summary)
            for one in looks
            for move in one.moves
            if one.after is not None
        ]
        note(connection, moves, at)
        worse = _escalated(
            connection, [one.after for one in looks if one.after is not None and _is_worse(one)], at
        )
        _note(connection, [(row, ESCALATED, row.summary) for row in worse], at)
        alarms = [(row, AlertState.FIRING) for row in worse]
        tell(connection, [*((row, move) for row, move, _ in moves), *alarms])
    return len({row.id for row, _, _ in moves} | {row.id for row in worse})


def _escalated(connection: Connection, worse: Sequence[AlertRow], at: datetime) -> list[AlertRow]:
    """Those of which it is to be told that they matter more: nobody was of late."""
    if not worse:
        return []
    lately = alerts.changed_since(
        connection, [row.id for row in worse], kind=ESCALATED, since=at - ESCALATED_AGAIN
    )
    return [row for row in worse if row.id not in lately]


def _is_worse(one: Look) -> bool:
    """Whether an alert that people are told of matters more now: who takes critical ones alone has not
    heard of it, and who acknowledged a warning has not seen this."""
    return (
        one.before is not None
        and one.after is not None
        and one.before.state in ALARMED
        and one.after.state in ALARMED
        and routing.RANK[one.after.severity] > routing.RANK[one.before.severity]
    )


def _looks(
    part: Mapping[Key, Observation], standing: Mapping[Key, AlertRow], now: datetime
) -> list[Look]:
    return [_look(key, seen, standing.get(key), now) for key, seen in part.items()]


def _look(key: Key, seen: Observation, before: AlertRow | None, now: datetime) -> Look:
    was = None
    if before is not None:
        was = Standing(AlertState(before.state), before.started_at, before.good_since)
    stands, moves = look(
        was,
        seen.sight,
        now=now,
        for_=timedelta(seconds=seen.for_s),
        clear_for=timedelta(seconds=seen.clear_for_s),
    )
    if stands is None or (stands == was and seen.sight is not Sight.BAD):
        return Look(seen, key, before, before, ())
    if seen.sight is Sight.GOOD:
        assert before is not None  # what is good and has no alert gets none
        after = replace(before, state=stands.state, good_since=stands.good_since)
    else:
        after = _bad(key, seen, stands, uuid7() if before is None else before.id)
        if after != before:
            fired = AlertState.FIRING in moves
            after = replace(after, workflow=seen.labels.get("workflow"), fired=fired)
    return Look(seen, key, before, after, moves)


def _bad(key: Key, seen: Observation, stands: Standing, alert_id: UUID) -> AlertRow:
    """The alert of a rule that is bad, with what was seen last."""
    return AlertRow(
        tenant_id=key[0],
        rule=seen.rule,
        fingerprint=key[2],
        id=alert_id,
        state=stands.state,
        started_at=stands.bad_since,
        good_since=stands.good_since,
        name=_text(seen.name)[:LONGEST_NAME],
        labels=canonical(seen.labels),
        severity=seen.severity,
        value=_number(seen.value),
        threshold=_number(seen.threshold),
        unit=seen.unit,
        summary=_text(seen.summary)[:LONGEST_SUMMARY],
        run_ids=tuple(seen.run_ids[:MOST_RUNS]),
    )


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _text(text: str) -> str:
    return text.replace("\0", "\ufffd")


def note(
    connection: Connection,
    moves: Iterable[tuple[AlertRow, AlertState, str]],
    at: datetime,
    by: str = "",
) -> None:
    """Write moves, and who made them, into timelines, and of tenants' alerts as events.  The mutexes
    are held."""
    _note(connection, moves, at, by)


def _note(
    connection: Connection, lines: Iterable[tuple[AlertRow, str, str]], at: datetime, by: str = ""
) -> None:
    lines = list(lines)
    alerts.add_changes(
        connection,
        [
            Change(row.tenant_id, row.id, at, kind, by, _text(detail)[:LONGEST_SUMMARY])
            for row, kind, detail in lines
        ],
    )
    alerts.add_events(
        connection,
        [
            AlertEvent(row.tenant_id, f"alert.{kind}", _data(row, detail), by or None)
            for row, kind, detail in lines
        ],
    )


def _data(row: AlertRow, detail: str) -> str:
    said = {
        "alert": str(row.id),
        "rule": row.rule,
        "name": row.name,
        "severity": row.severity,
        "labels": json.loads(row.labels),
        "summary": _text(detail)[:LONGEST_SUMMARY],
        "value": row.value,
        "threshold": row.threshold,
        "unit": row.unit,
    }
    return json.dumps(said, ensure_ascii=False, separators=(",", ":"))


def tell(connection: Connection, moves: Sequence[tuple[AlertRow, AlertState]]) -> None:
    """Put what moved into the outbox: alarms for the channels that take them, ends for those that
    got the alarm.  The mutexes are held, and the alerts are locked."""
    fired = [row for row, move in moves if move is AlertState.FIRING]
    ended = {row.id: facts(row) for row, move in moves if move is AlertState.RESOLVED}
    posts = _alarms(connection, fired)
    if ended:
        posts += ends(connection, ended)
    outbox.enqueue(connection, posts)


def _alarms(connection: Connection, fired: Sequence[AlertRow]) -> list[Post]:
    if not fired:
        return []
    groups: defaultdict[tuple[int, int, str, float], list[UUID]] = defaultdict(list)
    channels = outbox.taking(connection, {row.tenant_id for row in fired})
    read = [(one, json.loads(one.matchers)) for one in channels]
    for row in fired:
        seen = facts(row)
        for channel, matchers in read:
            if channel.tenant_id == row.tenant_id and routing.wanted(
                channel.severity, matchers, seen
            ):
                group = routing.group_key(channel.group_by, seen)
                place = (row.tenant_id, channel.id, group, channel.group_wait_s)
                groups[place].append(row.id)
    return [
        Post(uuid7(), owner, channel_id, Notice.FIRING, group, tuple(ids), wait_s)
        for (owner, channel_id, group, wait_s), ids in groups.items()
    ]


def ends(connection: Connection, ended: Mapping[UUID, Mapping[str, str]]) -> list[Post]:
    """Messages of the ends of alerts (id to what matchers see of it), for the channels that got the
    alarm.  The alerts are locked."""
    groups: defaultdict[tuple[int, int, str], list[UUID]] = defaultdict(list)
    for one in outbox.tell_end(connection, list(ended)):
        group = routing.group_key(one.group_by, ended[one.alert_id])
        groups[one.tenant_id, one.channel_id, group].append(one.alert_id)
    return [
        Post(uuid7(), owner, channel_id, Notice.RESOLVED, group, tuple(ids), RESOLVED_WAIT_S)
        for (owner, channel_id, group), ids in groups.items()
    ]


def facts(row: AlertRow) -> dict[str, str]:
    """What matchers and groups see of an alert."""
    return routing.facts(
        rule=row.rule, name=row.name, severity=row.severity, labels=json.loads(row.labels)
    )
