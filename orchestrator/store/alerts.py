"""Alerts: read and written under the tenants' mutexes, with their timelines and events."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from orchestrator.store.connect import Connection

SERVER = 0
"""In arrays, the tenant of what belongs to the server."""
_FOLDER = Path(__file__).parent / "sql"
_OPEN, _WRITE, _EVENTS = (
    (_FOLDER / f"alert_{name}.sql").read_bytes() for name in ("open", "write", "events")
)
_LOAD = (
    "INSERT INTO tenant_load (tenant_id) SELECT unnest(%s::int[]) ORDER BY 1 ON CONFLICT DO NOTHING"
)
_OPEN_OF_RULE = """
SELECT a.rule, a.fingerprint FROM alert a
 WHERE coalesce(a.tenant_id, 0) = %s::int AND a.rule = %s::text
   AND a.state IN ('acknowledged', 'firing', 'pending')
 LIMIT %s::int
"""
# Index: alert_open, all of it: few are open at any time.
_OPEN_OF_FAMILY = """
SELECT coalesce(a.tenant_id, 0), a.rule, a.fingerprint FROM alert a
 WHERE starts_with(a.rule, %s::text) AND a.state IN ('acknowledged', 'firing', 'pending')
"""
_CHANGES = """
INSERT INTO alert_change (tenant_id, alert_id, at, kind, actor, detail)
SELECT nullif(d.tenant_id, 0), d.alert_id, d.at, d.kind, d.actor, d.detail
  FROM unnest(%s::int[], %s::uuid[], %s::timestamptz[], %s::text[], %s::text[], %s::text[]) WITH ORDINALITY
       AS d (tenant_id, alert_id, at, kind, actor, detail, place)
 ORDER BY d.place
"""
# Index: alert_change_order (its first column).
_TURNED = """
SELECT DISTINCT alert_id FROM alert_change
 WHERE alert_id = ANY (%s::uuid[]) AND kind = %s::text AND at > %s::timestamptz
"""
# In the order of their ids, as every writer of several alerts takes them.
_HOLD = "SELECT 1 FROM alert WHERE id = ANY (%s::uuid[]) ORDER BY id FOR NO KEY UPDATE"
# Compare-and-set: a state that has moved on meanwhile is not touched.
_ACKNOWLEDGE = """
UPDATE alert SET state = 'acknowledged', acknowledged_at = clock_timestamp(), acknowledged_by = %s::text
 WHERE id = %s::uuid AND state = 'firing' RETURNING acknowledged_at
"""
_RESOLVE = """
UPDATE alert SET state = 'resolved', resolved_at = clock_timestamp(), resolved_by = %s::text
 WHERE id = %s::uuid AND state IN ('firing', 'acknowledged') RETURNING resolved_at
"""
# Index: alert_age.
_FORGET = """
DELETE FROM alert WHERE id = ANY (ARRAY(
    SELECT id FROM alert WHERE state IN ('ok', 'resolved')
       AND resolved_at < now() - make_interval(days => %s::int) LIMIT %s::int))
RETURNING id
"""
_FORGET_SERVERS = (
    "DELETE FROM alert_change WHERE tenant_id IS NULL AND alert_id = ANY (%s::uuid[])",
    "DELETE FROM alert_delivery WHERE tenant_id IS NULL AND alert_id = ANY (%s::uuid[])",
)


@dataclass(frozen=True, slots=True)
class AlertRow:
    """An alert as it stands, or is to stand.  `tenant_id` is 0 for the server's.  `fired`: it begins to
    fire with this writing."""

    tenant_id: int
    rule: str
    fingerprint: str
    id: UUID
    state: str
    started_at: datetime
    good_since: datetime | None
    name: str
    labels: str
    severity: str
    value: float | None
    threshold: float | None
    unit: str
    summary: str
    run_ids: tuple[UUID, ...]
    workflow: str | None = None
    fired: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """A line of a timeline."""

    tenant_id: int
    alert_id: UUID
    at: datetime
    kind: str
    actor: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class AlertEvent:
    """An event of a tenant's alert; `data` is JSON text."""

    tenant_id: int
    type: str
    data: str
    actor: str | None = None


def lock(connection: Connection, tenants: Collection[int]) -> None:
    """Take the mutexes of these tenants (0: of the server's alerts) until the transaction ends."""
    ids = sorted(set(tenants) - {SERVER})
    if ids:
        connection.execute(_LOAD, (ids,))
        connection.execute("SELECT engine_lock(%s::int[])", (ids,))
    if SERVER in tenants:
        connection.execute("SELECT pg_advisory_xact_lock(hashtext('millrace alerts'))")


def hold(connection: Connection, alert_ids: Collection[UUID]) -> None:
    """Lock alerts until the transaction ends, before anything is written about several of them."""
    connection.execute(_HOLD, (list(alert_ids),))


def open_alerts(
    connection: Connection, keys: Collection[tuple[int, str, str]]
) -> dict[tuple[int, str, str], AlertRow]:
    """The open alerts among these (tenant or 0, rule, fingerprint)."""
    tenants, rules, prints = ([key[place] for key in keys] for place in range(3))
    rows = connection.execute(_OPEN, {"tenants": tenants, "rules": rules, "prints": prints})
    found = [replace(AlertRow(*row), run_ids=tuple(row[-1])) for row in rows.fetchall()]
    return {(row.tenant_id, row.rule, row.fingerprint): row for row in found}


def open_of_rule(
    connection: Connection, *, tenant_id: int, rule: str, limit: int
) -> list[tuple[int, str, str]]:
    """The keys of a rule's open alerts, at most so many."""
    rows = connection.execute(_OPEN_OF_RULE, (tenant_id, rule, limit))
    return [(tenant_id, *row) for row in rows.fetchall()]


def open_of_family(connection: Connection, family: str) -> list[tuple[int, str, str]]:
    """The keys of the open alerts of rules whose names begin so."""
    return connection.execute(_OPEN_OF_FAMILY, (family,)).fetchall()


def write(connection: Connection, rows: Sequence[AlertRow], *, now: datetime) -> None:
    """Write alerts as they stand; those whose id is new are made."""
    params: dict[str, Any] = {
        "now": now,
        "ids": [row.id for row in rows],
        "tenants": [row.tenant_id for row in rows],
        "rules": [row.rule for row in rows],
        "labels": [row.labels for row in rows],
        "prints": [row.fingerprint for row in rows],
        "workflows": [row.workflow for row in rows],
        "names": [row.name for row in rows],
        "severities": [row.severity for row in rows],
        "states": [row.state for row in rows],
        "values": [row.value for row in rows],
        "thresholds": [row.threshold for row in rows],
        "units": [row.unit for row in rows],
        "summaries": [row.summary for row in rows],
        "runs": [uuids(row.run_ids) for row in rows],
        "started": [row.started_at for row in rows],
        "good": [row.good_since for row in rows],
        "fired": [row.fired for row in rows],
    }
    connection.execute(_WRITE, params)


def add_changes(connection: Connection, changes: Sequence[Change]) -> None:
    """Add lines to timelines, in their order."""
    if not changes:
        return
    parts = [
        [getattr(one, name) for one in changes]
        for name in ("tenant_id", "alert_id", "at", "kind", "actor", "detail")
    ]
    connection.execute(_CHANGES, parts)


def changed_since(
    connection: Connection, alert_ids: Collection[UUID], *, kind: str, since: datetime
) -> set[UUID]:
    """Those of these alerts whose timelines have such a line of after `since`."""
    rows = connection.execute(_TURNED, (list(alert_ids), kind, since))
    return {row[0] for row in rows.fetchall()}


def add_events(connection: Connection, events: Sequence[AlertEvent]) -> None:
    """Write events of tenants' alerts (the server's have none), in their order."""
    events = [one for one in events if one.tenant_id != SERVER]
    if not events:
        return
    params = {
        "tenants": [one.tenant_id for one in events],
        "types": [one.type for one in events],
        "actors": [one.actor for one in events],
        "data": [one.data for one in events],
    }
    connection.execute(_EVENTS, params)


def acknowledge(connection: Connection, *, alert_id: UUID, by: str) -> datetime | None:
    """Mark a firing alert as seen to; when that was, None where it is not firing."""
    row = connection.execute(_ACKNOWLEDGE, (by, alert_id)).fetchone()
    return None if row is None else row[0]


def resolve(connection: Connection, *, alert_id: UUID, by: str) -> datetime | None:
    """End an alert that fired; when that was, None where it is not open."""
    row = connection.execute(_RESOLVE, (by, alert_id)).fetchone()
    return None if row is None else row[0]


def forget(connection: Connection, *, days: int, limit: int) -> int:
    """Delete at most so many alerts that ended over so many days ago; answers how many."""
    with connection.transaction():
        gone = [row[0] for row in connection.execute(_FORGET, (days, limit)).fetchall()]
        for statement in _FORGET_SERVERS:  # tenants' go with their alerts, by keys
            connection.execute(statement, (gone,))
    return len(gone)


def uuids(ids: Sequence[UUID]) -> str:
    """Ids as the text of an array (an array of arrays would need them of one length)."""
    return "{" + ",".join(map(str, ids)) + "}"


def now(connection: Connection) -> datetime:
    """The database's time."""
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    return row[0]  # type: ignore[no-any-return]
