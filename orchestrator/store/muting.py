"""What keeps people from being told of an alert, and the mark that it leaves there."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from orchestrator.store.connect import Connection

# Index: alert_alarmed.
_ALARMED = """
SELECT id, coalesce(tenant_id, 0), rule, name, severity, labels, muted_by FROM alert
 WHERE state IN ('acknowledged', 'firing') AND (%(after)s::uuid IS NULL OR id > %(after)s::uuid)
 ORDER BY id LIMIT %(limit)s::int
"""
_SOURCES = """
SELECT DISTINCT rule FROM alert
 WHERE tenant_id IS NULL AND state IN ('acknowledged', 'firing') AND severity = 'critical'
"""
# Index: silence_end.
_SILENCES = """
SELECT coalesce(tenant_id, 0), 'silence:' || id, matchers, reason, author FROM silence
 WHERE ends_at > clock_timestamp() AND starts_at <= clock_timestamp()
   AND coalesce(tenant_id, 0) = ANY (%s::int[])
 ORDER BY ends_at DESC
"""
_WINDOWS = """
SELECT coalesce(tenant_id, 0), 'window:' || name, matchers, reason, cron, zone, duration, starts_at, ends_at
  FROM maintenance_window
 WHERE enabled AND (cron IS NOT NULL OR (starts_at <= clock_timestamp() AND ends_at > clock_timestamp()))
   AND coalesce(tenant_id, 0) = ANY (%s::int[])
 ORDER BY name
"""
# Index: silence_end; of windows a tenant has few.
_FORGET = (
    """
DELETE FROM silence WHERE id = ANY (ARRAY(
    SELECT id FROM silence WHERE ends_at < now() - make_interval(days => %s::int) LIMIT %s::int))
""",
    """
DELETE FROM maintenance_window WHERE id = ANY (ARRAY(
    SELECT id FROM maintenance_window
     WHERE cron IS NULL AND ends_at < now() - make_interval(days => %s::int) LIMIT %s::int))
""",
)
# Rows in the order of their ids, as every writer of several alerts takes them.
_MARK = """
WITH d AS (
    SELECT * FROM unnest(%s::uuid[], %s::text[]) AS d (id, muted_by)
), held AS (
    SELECT a.id FROM alert a JOIN d ON d.id = a.id ORDER BY a.id FOR NO KEY UPDATE OF a
)
UPDATE alert a SET muted_by = d.muted_by FROM d, held
 WHERE held.id = a.id AND d.id = a.id AND a.muted_by IS DISTINCT FROM d.muted_by
   AND a.state IN ('acknowledged', 'firing')
RETURNING a.id
"""


class Alarmed(NamedTuple):
    """An alert of which people are told."""

    id: UUID
    tenant_id: int
    rule: str
    name: str
    severity: str
    labels: str
    muted_by: str | None


class ActiveSilence(NamedTuple):
    """A silence that holds now."""

    tenant_id: int
    mark: str
    matchers: str
    reason: str
    author: str


class EnabledWindow(NamedTuple):
    """A maintenance window that is on, open or not."""

    tenant_id: int
    mark: str
    matchers: str
    reason: str
    cron: str | None
    zone: str
    duration: timedelta | None
    starts_at: datetime | None
    ends_at: datetime | None


def alarmed(connection: Connection, *, after: UUID | None, limit: int) -> list[Alarmed]:
    """A page of the alerts that fire or are acknowledged, by their ids."""
    params = {"after": after, "limit": limit}
    return [Alarmed(*row) for row in connection.execute(_ALARMED, params).fetchall()]


def sources(connection: Connection) -> list[str]:
    """The server's rules with a critical alert that fires."""
    return [row[0] for row in connection.execute(_SOURCES).fetchall()]


def silences(connection: Connection, tenants: Collection[int]) -> list[ActiveSilence]:
    """The silences of these tenants (0: the server) that hold now."""
    rows = connection.execute(_SILENCES, (list(tenants),))
    return [ActiveSilence(*row) for row in rows.fetchall()]


def windows(connection: Connection, tenants: Collection[int]) -> list[EnabledWindow]:
    """The maintenance windows of these tenants (0: the server) that may be open now."""
    rows = connection.execute(_WINDOWS, (list(tenants),))
    return [EnabledWindow(*row) for row in rows.fetchall()]


def mark(connection: Connection, marks: Sequence[tuple[UUID, str | None]]) -> set[UUID]:
    """Set or take away marks; answers of which alerts they changed."""
    params = ([one for one, _ in marks], [by for _, by in marks])
    return {row[0] for row in connection.execute(_MARK, params).fetchall()}


def forget(connection: Connection, *, days: int, limit: int) -> int:
    """Delete silences, and windows that came once, that were over so many days ago, at most so many of
    each; answers how many."""
    return sum(connection.execute(one, (days, limit)).rowcount for one in _FORGET)
