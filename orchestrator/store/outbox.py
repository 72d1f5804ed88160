"""The outbox of alerts: channels that take them, messages that collect, go out, and end."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from orchestrator.domain.channels import REFUSED
from orchestrator.store.alerts import uuids
from orchestrator.store.connect import Connection

_FOLDER = Path(__file__).parent / "sql"
_ENQUEUE, _CLAIM = ((_FOLDER / f"alert_{name}.sql").read_bytes() for name in ("enqueue", "claim"))
# Index: channel_name (its first column).
_CHANNELS = """
SELECT id, coalesce(tenant_id, 0), severity, matchers, group_by, extract(epoch FROM group_wait)::float8
  FROM channel
 WHERE enabled AND (tenant_id = ANY (%s::int[]) OR (%s::bool AND tenant_id IS NULL))
"""
# Index: alert_delivery's key.  Who is told of the end is marked as told in the same moment: once.  Who
# never got the alarm does not get its end.
_TELL_END = """
UPDATE alert_delivery d SET end_told = true, repeat_at = NULL
  FROM channel c
 WHERE d.alert_id = ANY (%s::uuid[]) AND d.told_at IS NOT NULL AND NOT d.end_told
   AND c.id = d.channel_id AND c.tell_resolved
RETURNING d.alert_id, c.id, coalesce(c.tenant_id, 0), c.group_by
"""
_MEMBERS = """
SELECT a.id, a.rule, a.name, a.labels, a.severity, a.state, a.value, a.threshold, a.unit, a.summary, a.run_ids,
       a.muted_by, a.started_at, a.fired_at, a.acknowledged_by, a.resolved_at, a.resolved_by
  FROM alert a WHERE a.id = ANY (%s::uuid[])
"""
# Index: notification_due.
_IS_DUE = """
SELECT EXISTS (SELECT 1 FROM notification
                WHERE state IN ('collecting', 'sending') AND next_at <= clock_timestamp()
                  AND (claimed_until IS NULL OR claimed_until <= clock_timestamp()) AND id <> ALL (%s::uuid[]))
"""
_KEEP = """
UPDATE notification SET alert_ids = %s::uuid[], next_at = clock_timestamp() + make_interval(secs => %s::float8)
 WHERE id = %s::uuid AND state = 'collecting'
"""
# Index: notification_due; few collect at any time.  In the order in which others lock them.
_HURRY = """
UPDATE notification SET next_at = clock_timestamp() WHERE id IN (
    SELECT id FROM notification
     WHERE state = 'collecting' AND notice IN ('firing', 'repeat') AND next_at > clock_timestamp()
       AND alert_ids && %s::uuid[]
     ORDER BY channel_id, notice, group_key FOR UPDATE)
"""
_DROP = """
UPDATE notification SET state = 'dropped', next_at = NULL, claimed_until = NULL, ended_at = clock_timestamp(),
       answer = %s::text
 WHERE id = %s::uuid AND state IN ('collecting', 'sending')
"""
_BEGIN = """
UPDATE notification SET state = 'sending', attempt_count = attempt_count + 1, alert_ids = %s::uuid[],
       claimed_until = clock_timestamp() + make_interval(secs => %s::float8)
 WHERE id = %s::uuid
"""
_SENT = """
UPDATE notification SET state = 'sent', next_at = NULL, claimed_until = NULL, ended_at = clock_timestamp(),
       answer = %s::text
 WHERE id = %s::uuid AND state = 'sending' RETURNING ended_at
"""
_AGAIN = """
UPDATE notification SET next_at = clock_timestamp() + make_interval(secs => %s::float8), claimed_until = NULL,
       answer = %s::text
 WHERE id = %s::uuid AND state = 'sending'
"""
_FAILED = """
UPDATE notification SET state = 'failed', next_at = NULL, claimed_until = NULL, ended_at = clock_timestamp(),
       answer = %s::text
 WHERE id = %s::uuid AND state = 'sending' RETURNING ended_at
"""
_TOLD = """
INSERT INTO alert_delivery AS d (alert_id, channel_id, tenant_id, told_at, repeat_at)
SELECT unnest(%s::uuid[]), c.id, c.tenant_id, %s::timestamptz, %s::timestamptz + c.repeat_every
  FROM channel c WHERE c.id = %s::bigint
    ON CONFLICT (alert_id, channel_id) DO UPDATE SET told_at = excluded.told_at,
       repeat_at = CASE WHEN d.end_told THEN NULL ELSE excluded.repeat_at END
"""
_OWED = """
INSERT INTO alert_delivery AS d (alert_id, channel_id, tenant_id, repeat_at)
SELECT unnest(%s::uuid[]), c.id, c.tenant_id, clock_timestamp() + least(c.repeat_every, make_interval(secs => %s::float8))
  FROM channel c WHERE c.id = %s::bigint
    ON CONFLICT (alert_id, channel_id) DO UPDATE SET repeat_at = excluded.repeat_at WHERE NOT d.end_told
"""
# Index: alert_delivery_repeat.  What still fires is put off while its channel is off.
_REPEATS = """
UPDATE alert_delivery d
   SET repeat_at = CASE WHEN a.state = 'firing' AND NOT c.enabled
                        THEN clock_timestamp() + make_interval(secs => %s::float8) END
  FROM alert a, channel c
 WHERE (d.alert_id, d.channel_id) IN (
        SELECT alert_id, channel_id FROM alert_delivery
         WHERE repeat_at <= clock_timestamp() ORDER BY repeat_at LIMIT %s::int FOR UPDATE SKIP LOCKED)
   AND a.id = d.alert_id AND c.id = d.channel_id
RETURNING a.id, c.id, coalesce(c.tenant_id, 0), c.group_by, c.severity, c.matchers, a.rule, a.name, a.labels,
          a.severity, c.enabled AND a.state = 'firing'
"""
_ENDED = "SELECT id FROM alert WHERE id = ANY (%s::uuid[]) AND state = 'resolved'"
_COUNT = """
INSERT INTO notification_total AS t (kind, outcome, count) VALUES (%s::text, %s::text, 1)
    ON CONFLICT (kind, outcome) DO UPDATE SET count = t.count + 1
"""
# Index: notification_age.
_OUTCOMES = """
SELECT count(*) FILTER (WHERE n.state = 'sent'),
       count(*) FILTER (WHERE n.state = 'failed' AND (n.tenant_id IS NULL OR n.answer <> %s::text))
  FROM notification n JOIN channel c ON c.id = n.channel_id
 WHERE n.ended_at > clock_timestamp() - make_interval(secs => %s::float8) AND n.notice <> 'test'
   AND (n.tenant_id IS NULL OR c.kind = 'email')
"""
# Index: notification_age.
_FORGET = """
DELETE FROM notification WHERE id = ANY (ARRAY(
    SELECT id FROM notification WHERE ended_at < now() - make_interval(days => %s::int) LIMIT %s::int))
"""


class TakingChannel(NamedTuple):
    """A channel that is on, and what it takes."""

    id: int
    tenant_id: int
    severity: str
    matchers: str
    group_by: list[str]
    group_wait_s: float


@dataclass(frozen=True, slots=True)
class Post:
    """Alerts for one message: of one channel, notice and group."""

    id: UUID
    tenant_id: int
    channel_id: int
    notice: str
    group_key: str
    alert_ids: tuple[UUID, ...]
    wait_s: float


class Told(NamedTuple):
    """A channel that got an alert's alarm."""

    alert_id: UUID
    channel_id: int
    tenant_id: int
    group_by: list[str]


class Repeat(NamedTuple):
    """An alarm whose repeat is due; `goes_on`: it still fires, and its channel is on.  `least` and
    `matchers`: what that takes."""

    alert_id: UUID
    channel_id: int
    tenant_id: int
    group_by: list[str]
    least: str
    matchers: str
    rule: str
    name: str
    labels: str
    severity: str
    goes_on: bool


class Due(NamedTuple):
    """A message that is due, with its channel; `changed`: that was edited since the message began."""

    id: UUID
    tenant_id: int
    tenant: str | None
    notice: str
    group_key: str
    alert_ids: list[UUID]
    attempt_count: int
    channel_id: int
    channel: str
    kind: str
    to: list[str]
    sealed: bytes | None
    enabled: bool
    least: str
    matchers: str
    changed: bool


class Member(NamedTuple):
    """An alert in a message."""

    id: UUID
    rule: str
    name: str
    labels: str
    severity: str
    state: str
    value: float | None
    threshold: float | None
    unit: str
    summary: str
    run_ids: list[UUID]
    muted_by: str | None
    started_at: datetime
    fired_at: datetime | None
    acknowledged_by: str | None
    resolved_at: datetime | None
    resolved_by: str | None


def taking(connection: Connection, tenants: Collection[int]) -> list[TakingChannel]:
    """The channels of these tenants (0: the server's) that are on."""
    rows = connection.execute(_CHANNELS, (sorted(set(tenants) - {0}), 0 in tenants))
    return [TakingChannel(*row) for row in rows.fetchall()]


def enqueue(connection: Connection, posts: Sequence[Post]) -> None:
    """Put alerts into messages: into those that collect already, else into new ones."""
    if not posts:
        return
    params: dict[str, Any] = {
        "ids": [one.id for one in posts],
        "tenants": [one.tenant_id for one in posts],
        "channels": [one.channel_id for one in posts],
        "notices": [one.notice for one in posts],
        "groups": [one.group_key for one in posts],
        "alerts": [uuids(one.alert_ids) for one in posts],
        "waits": [float(one.wait_s) for one in posts],
    }
    connection.execute(_ENQUEUE, params)


def tell_end(connection: Connection, alert_ids: Sequence[UUID]) -> list[Told]:
    """The channels that got these alerts' alarm and are to hear of their end; each is answered once."""
    rows = connection.execute(_TELL_END, (list(alert_ids),))
    return [Told(*row) for row in rows.fetchall()]


def is_due(connection: Connection, *, busy: Collection[UUID]) -> bool:
    """Whether any message is due that this process (`busy`) does not send already."""
    row = connection.execute(_IS_DUE, (list(busy),)).fetchone()
    return bool(row and row[0])


def claim_due(
    connection: Connection,
    *,
    busy: Collection[UUID],
    full: Collection[int],
    crowded: Collection[int],
    each: int,
    limit: int,
) -> list[Due]:
    """Lock messages that are due, at most `each` of a channel; none of `busy`, of `full` tenants, of
    `crowded` channels."""
    params = {
        "busy": list(busy),
        "full": list(full),
        "crowded": list(crowded),
        "each": each,
        "limit": limit,
    }
    return [Due(*row) for row in connection.execute(_CLAIM, params).fetchall()]


def members(connection: Connection, alert_ids: Collection[UUID]) -> dict[UUID, Member]:
    """Alerts by their ids, as they are now."""
    rows = connection.execute(_MEMBERS, (list(alert_ids),))
    return {row[0]: Member(*row) for row in rows.fetchall()}


def keep(connection: Connection, one: UUID, *, alert_ids: Sequence[UUID], wait_s: float) -> None:
    """Let a message collect on, with these alerts, for a while."""
    connection.execute(_KEEP, (list(alert_ids), wait_s, one))


def hurry(connection: Connection, alert_ids: Collection[UUID]) -> None:
    """Let messages be due now that hold back the alarm of these alerts, which are muted no more."""
    connection.execute(_HURRY, (list(alert_ids),))


def drop(connection: Connection, one: UUID, *, why: str) -> None:
    """End a message of which nothing is left to tell."""
    connection.execute(_DROP, (why, one))


def begin(connection: Connection, one: UUID, *, alert_ids: Sequence[UUID], lease_s: float) -> None:
    """Count an attempt at a message and claim it for a while."""
    connection.execute(_BEGIN, (list(alert_ids), lease_s, one))


def sent(connection: Connection, one: UUID, *, answer: str) -> datetime | None:
    """Write down that a message was taken; when that was, None where somebody else did so before."""
    row = connection.execute(_SENT, (answer, one)).fetchone()
    return None if row is None else row[0]


def told(
    connection: Connection, *, channel_id: int, alert_ids: Sequence[UUID], at: datetime
) -> None:
    """Write down that a channel got the alarm of these alerts, and when it is repeated."""
    connection.execute(_TOLD, (list(alert_ids), at, at, channel_id))


def owed(
    connection: Connection, *, channel_id: int, alert_ids: Sequence[UUID], wait_s: float
) -> None:
    """Write down that a channel has not got the alarm of these alerts: it is told again, as repeats
    are, after `wait_s` at the latest."""
    connection.execute(_OWED, (list(alert_ids), wait_s, channel_id))


def again(connection: Connection, one: UUID, *, delay: timedelta, answer: str) -> None:
    """Try a message again after a while."""
    connection.execute(_AGAIN, (delay.total_seconds(), answer, one))


def failed(connection: Connection, one: UUID, *, answer: str) -> datetime | None:
    """Give a message up; when that was, None where it has ended already."""
    row = connection.execute(_FAILED, (answer, one)).fetchone()
    return None if row is None else row[0]


def take_repeats(connection: Connection, *, off_s: float, limit: int) -> list[Repeat]:
    """The alarms whose repeat is due, which are no longer due then; those of channels that are off are
    due again in `off_s`."""
    return [Repeat(*row) for row in connection.execute(_REPEATS, (off_s, limit)).fetchall()]


def ended(connection: Connection, alert_ids: Sequence[UUID]) -> list[UUID]:
    """Those of these alerts that are resolved."""
    return [row[0] for row in connection.execute(_ENDED, (list(alert_ids),)).fetchall()]


def count(connection: Connection, *, kind: str, outcome: str) -> None:
    """Count a message that ended, for good: the outbox itself is pruned."""
    connection.execute(_COUNT, (kind, outcome))


def outcomes(connection: Connection, *, within_s: float) -> tuple[int, int]:
    """How many messages by e-mail, or to the server's channels, were taken of late, and given up; tenants'
    to addresses that there are not are neither."""
    row = connection.execute(_OUTCOMES, (REFUSED, within_s)).fetchone()
    assert row is not None
    return row[0], row[1]


def forget(connection: Connection, *, days: int, limit: int) -> int:
    """Delete at most so many messages that ended over so many days ago; answers how many."""
    return connection.execute(_FORGET, (days, limit)).rowcount
