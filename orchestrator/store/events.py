"""Reading the event table by position, which is the order of each tenant's commits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from orchestrator.domain.maps import SOURCE
from orchestrator.store.connect import Connection

_AFTER = (Path(__file__).parent / "sql" / "events_after.sql").read_text()
_TYPED = _AFTER.replace("{at}", "e.at").replace("{run_id}", "e.run_id")
_TEXTS = _AFTER.replace(
    "{at}", "to_char(e.at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
).replace("{run_id}", "e.run_id::text")
_CONDITIONS = {
    "run_id": " AND v.run_id = %(run_id)s",
    "types": " AND (v.type = ANY (%(types)s::text[]) OR split_part(v.type, '.', 1) = ANY (%(families)s::text[]))",
    "workflow": " AND EXISTS (SELECT 1 FROM run x JOIN workflow y ON y.id = x.workflow_id"
    " WHERE x.tenant_id = %(tenant_id)s AND x.id = v.run_id AND y.name = %(workflow)s)",
    "window": " AND v.seq <= %(after)s::bigint + %(window)s",
    "since": " AND v.at >= %(since)s",
}
_OLDEST = "SELECT seq, at FROM event WHERE tenant_id = %s ORDER BY seq LIMIT 1"
_AT = "SELECT at FROM event WHERE tenant_id = %s AND seq = %s"
_POSITION = "SELECT seq FROM tenant_load WHERE tenant_id = %s"
_POSITIONS = "SELECT tenant_id, seq FROM tenant_load WHERE tenant_id = ANY (%s::int[])"
_REST = "SELECT finished_at IS NOT NULL, undo_state IS NOT DISTINCT FROM 'running' FROM run WHERE tenant_id = %s AND id = %s"

WINDOW = 5_000
"""Positions that one reading looks at where it is not about one run."""


class EventRow(NamedTuple):
    """An event with what names its step and its workflow (None: the run is gone, or there is none).

    `at` and `run_id` are as users see them where `texts` were asked for: that is ten times cheaper than
    to make objects of them, and texts of those."""

    seq: int
    at: datetime | str
    type: str
    run_id: UUID | str | None
    ordinal: int | None
    batch: int | None
    attempt: int | None
    actor: str | None
    data: str | None
    version_id: int | None
    workflow: str | None


@dataclass(frozen=True, slots=True)
class EventQuery:
    """What narrows events; everything that is set must hold.

    `types` may hold families (`step.*`)."""

    run_id: UUID | None = None
    types: Sequence[str] = ()
    workflow: str | None = None


@dataclass(frozen=True, slots=True)
class Stretch:
    """Events of a stretch of positions, which ends at `upto`; `last` is the tenant's last position."""

    rows: list[EventRow]
    upto: int
    last: int


def after(
    connection: Connection,
    *,
    tenant_id: int,
    position: int,
    query: EventQuery,
    limit: int,
    since: datetime | None = None,
    texts: bool = False,
) -> Stretch:
    """The next events behind a position, at most `limit`.

    `since`: all of them are known to be at least so young, which spares looking at older partitions."""
    families = [one[:-2] for one in query.types if one.endswith(".*")]
    windowed = query.run_id is None
    values: dict[str, Any] = {
        "tenant_id": tenant_id,
        "after": position,
        "source": SOURCE,
        "limit": limit,
        "window": WINDOW,
        "run_id": query.run_id,
        "types": [one for one in query.types if not one.endswith(".*")],
        "families": families,
        "workflow": query.workflow,
        "since": since,
    }
    wanted = {
        "run_id": query.run_id is not None,
        "types": bool(query.types),
        "workflow": query.workflow is not None,
        "window": windowed,
        "since": since is not None,
    }
    conditions = "".join(text for name, text in _CONDITIONS.items() if wanted[name])
    statement = (_TEXTS if texts else _TYPED).replace("{conditions}", conditions)
    found = connection.execute(statement, values).fetchall()
    last = int(found[0][0])
    rows = [EventRow(*row[1:]) for row in found if row[1] is not None]
    if len(rows) >= limit:
        return Stretch(rows, rows[-1].seq, last)
    return Stretch(rows, max(position, min(last, position + WINDOW) if windowed else last), last)


def oldest(connection: Connection, *, tenant_id: int) -> tuple[int, datetime] | None:
    """The position and moment of the oldest event that is kept."""
    row = connection.execute(_OLDEST, (tenant_id,)).fetchone()
    return None if row is None else (int(row[0]), row[1])


def moment(connection: Connection, *, tenant_id: int, position: int) -> datetime | None:
    """When the event at a position happened; None where there is none."""
    row = connection.execute(_AT, (tenant_id, position)).fetchone()
    return None if row is None else row[0]


def last(connection: Connection, *, tenant_id: int) -> int:
    """The tenant's last position; 0 before its first event."""
    row = connection.execute(_POSITION, (tenant_id,)).fetchone()
    return 0 if row is None else int(row[0])


def lasts(connection: Connection, tenant_ids: Sequence[int]) -> dict[int, int]:
    """The last positions of these tenants."""
    return dict(connection.execute(_POSITIONS, (list(tenant_ids),)).fetchall())


def rest(connection: Connection, *, tenant_id: int, run_id: UUID) -> tuple[bool, bool] | None:
    """Whether a run has ended, and whether it is being undone; None where there is no such run."""
    row = connection.execute(_REST, (tenant_id, run_id)).fetchone()
    return None if row is None else (bool(row[0]), bool(row[1]))
