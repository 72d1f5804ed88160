"""Sending what the outbox holds.  No lock and no transaction is held while anything is sent.

A message is claimed (and its attempt counted) in one transaction, sent by a thread, and marked in
another one: it is sent at least once, and again, under the same key, where the notifier died between
sending and marking."""

from __future__ import annotations

import json
import logging
import random
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from queue import Empty, SimpleQueue
from uuid import UUID

from uuid_utils.compat import uuid7

from orchestrator.domain import routing
from orchestrator.domain.alerts import ALARMED, AlertState
from orchestrator.domain.channels import RETRIES, Notice, Outcome
from orchestrator.domain.retries import backoff
from orchestrator.services import alerting, muting
from orchestrator.services.channel_secrets import opened
from orchestrator.services.messages import compose
from orchestrator.services.portions import all_of
from orchestrator.services.receivers import Message, NotDelivered, Receiver, deliver
from orchestrator.store import Connection, alerts, outbox
from orchestrator.store import muting as quiet
from orchestrator.store.alerts import SERVER, Change
from orchestrator.store.muting import Alarmed
from orchestrator.store.outbox import Due, Member, Post, Repeat
from tenants.sealing import Unreadable

logger = logging.getLogger(__name__)

AT_ONCE = 128
"""Messages that are being sent at any time, of one tenant, and to one channel: a receiver that hangs
holds up neither other tenants nor the tenant's other channels."""
OF_TENANT = 8
OF_CHANNEL = 2
LOOKED_AT = 50
"""Messages of a channel that are looked at in a tick, so that muted ones hide no other; and of all:"""
LOOKED_AT_ONCE = 500
LEASE_S = 60.0
"""After which a message whose notifier died is sent by another: longer than any sending takes."""
MUTED_WAIT_S = 60.0
"""How soon a message of muted alerts is looked at again, if nobody sees before that they are unmuted."""
REPEATS_AT_ONCE = 1000
OWED_S = 3600.0
"""How soon a channel that did not take an alarm, or was off, is tried anew while the alert fires; sooner
where its repeats are."""
ALARMS = (Notice.FIRING, Notice.REPEAT)
Deliver = Callable[[Receiver, Message], str]


@dataclass(frozen=True, slots=True)
class Sending:
    """A message on its way."""

    due: Due
    alert_ids: tuple[UUID, ...]
    receiver: Receiver | None
    message: Message


@dataclass(frozen=True, slots=True)
class Ended:
    """How a sending ended: what the receiver said, or why it did not take it."""

    sending: Sending
    answer: str
    taken: bool


class _Crowd:
    """Messages on their way, by tenant and channel."""

    def __init__(self) -> None:
        self._tenants: Counter[int] = Counter()
        self._channels: Counter[int] = Counter()

    def add(self, due: Due) -> None:
        self._tenants[due.tenant_id] += 1
        self._channels[due.channel_id] += 1

    def has_room(self, due: Due) -> bool:
        return (
            self._tenants.total() < AT_ONCE
            and self._tenants[due.tenant_id] < OF_TENANT
            and self._channels[due.channel_id] < OF_CHANNEL
        )

    def full_tenants(self) -> list[int]:
        return [one for one, count in self._tenants.items() if count >= OF_TENANT]

    def full_channels(self) -> list[int]:
        return [one for one, count in self._channels.items() if count >= OF_CHANNEL]


@dataclass(frozen=True, slots=True)
class _Looked:
    """The alerts of messages that are due, and which of them are muted just now.

    Their marks may be a moment old, and an alert that began to fire since then has none."""

    members: Mapping[UUID, Member]
    muted: Collection[UUID]

    @classmethod
    def at(cls, connection: Connection, due: Sequence[Due]) -> _Looked:
        members = outbox.members(connection, {one for row in due for one in row.alert_ids})
        alarmed = {
            one: Alarmed(one, row.tenant_id, *_matched(members[one]))
            for row in due
            if row.notice in ALARMS
            for one in row.alert_ids
            if one in members
        }
        if not alarmed:
            return cls(members, ())
        return cls(
            members, muting.muters(connection, alarmed.values(), alerts.now(connection)).keys()
        )


def _matched(member: Member) -> tuple[str, str, str, str, str | None]:
    return (member.rule, member.name, member.severity, member.labels, member.muted_by)


class Notifier:
    """The duty: marks what came back, then starts what is due.  Answers how many messages it touched."""

    def __init__(self, send: Deliver = deliver) -> None:
        self._send = send
        self._on_way: dict[UUID, Sending] = {}
        self._ended: SimpleQueue[Ended] = SimpleQueue()
        self._unmarked: list[Ended] = []

    def __call__(self, connection: Connection) -> int:
        return self.finish(connection) + self.start(connection)

    @property
    def on_way(self) -> int:
        """Messages that are being sent."""
        return len(self._on_way)

    def start(self, connection: Connection) -> int:
        """Claim what is due, and send it; answers how many messages were touched."""
        if len(self._on_way) >= AT_ONCE or not outbox.is_due(connection, busy=self._on_way):
            return 0
        with connection.transaction():
            crowd = self._crowd()
            due = outbox.claim_due(
                connection,
                busy=self._on_way,
                full=crowd.full_tenants(),
                crowded=crowd.full_channels(),
                each=LOOKED_AT,
                limit=LOOKED_AT_ONCE,
            )
            looked = _Looked.at(connection, due)
            claimed: list[Sending] = []
            off: list[Due] = []
            touched = 0
            for row in due:
                if row.notice != Notice.TEST and row.attempt_count == 0 and not row.enabled:
                    outbox.drop(connection, row.id, why="the channel is off")
                    off.append(row)
                elif crowd.has_room(row):
                    ready = _prepare(connection, row, looked)
                    if ready is not None:
                        claimed.append(ready)
                        crowd.add(row)
                else:
                    continue
                touched += 1
        for row in off:  # behind that transaction: who moves alerts locks those before messages
            _owe(connection, row, row.alert_ids)
        for one in claimed:
            self._on_way[one.due.id] = one
            thread = threading.Thread(target=self._carry, args=(one,), daemon=True)
            thread.start()
        return touched

    def _crowd(self) -> _Crowd:
        crowd = _Crowd()
        for sending in self._on_way.values():
            crowd.add(sending.due)
        return crowd

    def _carry(self, sending: Sending) -> None:
        try:
            if sending.receiver is None:
                raise NotDelivered("the server's SECRET_KEY has changed: set its address again")
            ended = Ended(sending, self._send(sending.receiver, sending.message), taken=True)
        except NotDelivered as error:
            ended = Ended(sending, str(error), taken=False)
        except Exception as error:
            logger.exception("a notification could not be sent")
            ended = Ended(sending, f"{type(error).__name__}", taken=False)
        self._ended.put(ended)

    def finish(self, connection: Connection) -> int:
        """Mark what was sent, and what was not; answers how many."""
        while True:
            try:
                self._unmarked.append(self._ended.get_nowait())
            except Empty:
                break
        count = 0
        while self._unmarked:
            one = self._unmarked[0]
            with connection.transaction():
                _taken(connection, one) if one.taken else _not_taken(connection, one)
            self._unmarked.pop(0)
            self._on_way.pop(one.sending.due.id, None)
            count += 1
        return count


def repeat(connection: Connection) -> int:
    """Put alarms into the outbox again that still fire after their channel's time; how many."""
    with connection.transaction():
        found = outbox.take_repeats(connection, off_s=OWED_S, limit=REPEATS_AT_ONCE)
        groups: defaultdict[tuple[int, int, str], list[UUID]] = defaultdict(list)
        for one in found:
            if not one.goes_on:
                continue
            seen = _facts(one)
            if not routing.wanted(one.least, json.loads(one.matchers), seen):
                # its channel was edited, or it matters less: it is asked again, as while that is off
                outbox.owed(
                    connection, channel_id=one.channel_id, alert_ids=[one.alert_id], wait_s=OWED_S
                )
            else:
                group = routing.group_key(one.group_by, seen)
                groups[one.tenant_id, one.channel_id, group].append(one.alert_id)
        outbox.enqueue(
            connection,
            [
                Post(uuid7(), owner, channel, Notice.REPEAT, group, tuple(ids), 0.0)
                for (owner, channel, group), ids in groups.items()
            ],
        )
    return len(found)


def route(connection: Connection) -> int:
    """The duty beside the notifier: marks of what is muted, and repeats."""
    return muting.mark(connection) + repeat(connection)


def prune(connection: Connection, days: int, limit: int = 5_000) -> int:
    """Delete alerts, silences and windows that are over, and messages that were told, for so many days,
    `limit` at a time; how many."""
    return sum(
        all_of(partial(store.forget, connection, days=days, limit=limit))
        for store in (alerts, quiet, outbox)
    )


def _prepare(connection: Connection, row: Due, looked: _Looked) -> Sending | None:
    """Claim a message with what of it is to be told now; None where that is nothing."""
    found = [looked.members[one] for one in row.alert_ids if one in looked.members]
    muted: tuple[UUID, ...] = ()
    if row.notice in ALARMS and row.attempt_count == 0:
        found, muted = _divided(row, found, looked.muted)
    if row.notice != Notice.TEST and not found:
        if muted:
            outbox.keep(connection, row.id, alert_ids=muted, wait_s=MUTED_WAIT_S)
        else:
            outbox.drop(connection, row.id, why="nothing is left to tell")
        return None
    ids = tuple(member.id for member in found)
    outbox.begin(connection, row.id, alert_ids=ids, lease_s=LEASE_S)
    if muted:  # what goes out collects no more: these wait in a message of their own
        place = (row.tenant_id, row.channel_id, row.notice, row.group_key)
        outbox.enqueue(connection, [Post(uuid7(), *place, muted, MUTED_WAIT_S)])
    return Sending(row, ids, _receiver(row), compose(row, found))


def _divided(
    row: Due, found: list[Member], muted: Collection[UUID]
) -> tuple[list[Member], tuple[UUID, ...]]:
    """Of an alarm's alerts those to be told now, and those that are muted; what ended is in neither, nor
    what the channel, edited since, takes no more."""
    states = ALARMED if row.notice == Notice.FIRING else (AlertState.FIRING,)
    matchers = json.loads(row.matchers)
    live = [
        member
        for member in found
        if member.state in states
        and (not row.changed or routing.wanted(row.least, matchers, _facts(member)))
    ]
    told = [member for member in live if member.id not in muted]
    return told, tuple(member.id for member in live if member.id in muted)


def _receiver(row: Due) -> Receiver | None:
    """Where a message goes; None where that cannot be read any more."""
    try:
        secrets = opened(row.sealed)
    except Unreadable:
        return None
    return Receiver(row.kind, tuple(row.to), secrets, trusted=row.tenant_id == SERVER)


def _taken(connection: Connection, one: Ended) -> None:
    due = one.sending.due
    alarm = due.notice in ALARMS
    if alarm:
        # locked before it is said who was told: an alert that ends now is told of by one of us
        alerts.hold(connection, one.sending.alert_ids)
    at = outbox.sent(connection, due.id, answer=one.answer)
    if at is None:
        return
    outbox.count(connection, kind=due.kind, outcome=Outcome.SENT)
    if alarm:
        outbox.told(connection, channel_id=due.channel_id, alert_ids=one.sending.alert_ids, at=at)
        over = outbox.ended(connection, one.sending.alert_ids)
        if over:
            members = outbox.members(connection, over)
            seen = {alert_id: _facts(member) for alert_id, member in members.items()}
            outbox.enqueue(connection, alerting.ends(connection, seen))
    _tell(connection, one, "notified", at)


def _not_taken(connection: Connection, one: Ended) -> None:
    due = one.sending.due
    attempt = due.attempt_count + 1
    most = 1 if due.notice == Notice.TEST else RETRIES.max_attempts
    if attempt < most:
        delay = backoff(RETRIES, attempt, rng=random.Random())  # noqa: S311  (spread, no secret)
        outbox.again(connection, due.id, delay=delay, answer=one.answer)
        return
    if due.notice in ALARMS:
        alerts.hold(connection, one.sending.alert_ids)
    at = outbox.failed(connection, due.id, answer=one.answer)
    if at is not None:
        outbox.count(connection, kind=due.kind, outcome=Outcome.FAILED)
        logger.warning(
            "a notification to the channel %s of %s is given up: %s",
            due.channel, due.tenant or "the server", one.answer,
        )  # fmt: skip
        _tell(connection, one, "not_notified", at)
        _owe(connection, due, one.sending.alert_ids)


def _owe(connection: Connection, due: Due, alert_ids: Sequence[UUID]) -> None:
    """Let an alarm that a channel has not got be told again."""
    if due.notice in ALARMS:
        with connection.transaction():
            alerts.hold(connection, alert_ids)
            outbox.owed(connection, channel_id=due.channel_id, alert_ids=alert_ids, wait_s=OWED_S)


def _tell(connection: Connection, one: Ended, kind: str, at: datetime) -> None:
    due = one.sending.due
    detail = f"{due.channel} ({due.kind}), {due.notice}: {one.answer}"
    alerts.add_changes(connection, _changes(due, one.sending.alert_ids, at, kind, detail))


def _changes(due: Due, ids: Iterable[UUID], at: datetime, kind: str, detail: str) -> list[Change]:
    return [Change(due.tenant_id, alert_id, at, kind, detail=detail) for alert_id in ids]


def _facts(member: Member | Repeat) -> dict[str, str]:
    return routing.facts(
        rule=member.rule,
        name=member.name,
        severity=member.severity,
        labels=json.loads(member.labels),
    )
