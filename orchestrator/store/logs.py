"""Lines of handlers: written many at a time, read page by page in the order of a run's commits."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from orchestrator.domain.steplog import Line
from orchestrator.store.connect import Connection
from orchestrator.store.work import Claimed

WRITE = """
SELECT engine_log(%s::int[], %s::uuid[], %s::int[], %s::int[], %s::int[], %s::int[], %s::int[],
                  %s::float8[], %s::smallint[], %s::text[], %s::text[], %s::bool)
"""
SCANNED = 20_000
"""Lines that one page looks through for those that were asked for."""
# What narrows a page stands outside the scan: a page ends after so many lines that do not fit, and
# says where the next one goes on.
READ = """
WITH seen AS MATERIALIZED (
    SELECT l.id, l.at, l.ordinal, l.batch, l.attempt, l.level, l.message, l.fields
      FROM attempt_log l
     WHERE l.tenant_id = %(tenant_id)s::int AND l.run_id = %(run_id)s::uuid {scope}
     ORDER BY l.id {direction} LIMIT %(scanned)s::int
)
SELECT s.*, false FROM (
    SELECT * FROM seen s
     WHERE s.level >= %(level)s::int {narrowing}
     ORDER BY s.id {direction} LIMIT %(limit)s::int) s
UNION ALL
SELECT e.id, e.at, e.ordinal, e.batch, e.attempt, e.level, '', NULL, true
  FROM (SELECT * FROM seen ORDER BY id {last} LIMIT 1) e
 WHERE (SELECT count(*) FROM seen) = %(scanned)s::int
"""
_SCOPES = {
    "ordinal": " AND l.ordinal = %(ordinal)s::int",
    "after": " AND l.id > %(after)s::bigint",
    "before": " AND l.id < %(before)s::bigint",
}
_NARROWINGS = {
    "batch": " AND s.batch = %(batch)s::int",
    "attempt": " AND s.attempt = %(attempt)s::int",
    "text": " AND strpos(lower(s.message), lower(%(text)s::text)) > 0",
}


class Written(NamedTuple):
    """A line of a claimed step."""

    claimed: Claimed
    line: Line


class LogRow(NamedTuple):
    """A line as it is kept; `fields` is JSON text."""

    id: int
    at: datetime
    ordinal: int
    batch: int
    attempt: int
    level: int
    message: str
    fields: str | None


@dataclass(frozen=True, slots=True)
class LogQuery:
    """What narrows a run's lines; every field that is set must hold.  `batch` as step runs count it."""

    ordinal: int | None = None
    batch: int | None = None
    attempt: int | None = None
    level: int = 0
    text: str | None = None
    after: int | None = None
    before: int | None = None


@dataclass(frozen=True, slots=True)
class LogRows:
    """Some lines, and the last id that was looked at where there may be more (None: there are none)."""

    rows: list[LogRow]
    more_from: int | None


def write(connection: Connection, lines: Sequence[Written], *, again: bool = False) -> None:
    """Write lines in one statement; `again`: perhaps they are there already (an answer was lost)."""
    rows = [one.claimed for one in lines]
    now = time.monotonic()
    connection.execute(
        WRITE,
        (
            [row.tenant_id for row in rows],
            [row.run_id for row in rows],
            [row.ordinal for row in rows],
            [row.batch for row in rows],
            [row.epoch for row in rows],
            [row.attempts + 1 for row in rows],
            [one.line.number for one in lines],
            [max(0.0, now - one.line.at) for one in lines],
            [one.line.level for one in lines],
            [one.line.message for one in lines],
            [one.line.fields for one in lines],
            again,
        ),
    )


def read(
    connection: Connection,
    *,
    tenant_id: int,
    run_id: UUID,
    query: LogQuery,
    limit: int,
    newest: bool = False,
    scanned: int = SCANNED,
) -> LogRows:
    """At most `limit` lines of a run, oldest first, or, with `newest`, from the newest on."""
    values = {
        "tenant_id": tenant_id,
        "run_id": run_id,
        "ordinal": query.ordinal,
        "batch": query.batch,
        "attempt": query.attempt,
        "level": query.level,
        "text": query.text,
        "after": query.after,
        "before": query.before,
        "limit": limit + 1,
        "scanned": max(scanned, limit + 2),
    }
    text = READ.format(
        scope="".join(_SCOPES[name] for name in _SCOPES if getattr(query, name) is not None),
        narrowing="".join(
            _NARROWINGS[name] for name in _NARROWINGS if getattr(query, name) is not None
        ),
        direction="DESC" if newest else "ASC",
        last="ASC" if newest else "DESC",
    )
    found = connection.execute(text, values).fetchall()
    rows = [LogRow(*row[:-1]) for row in found if not row[-1]]
    ends = [int(row[0]) for row in found if row[-1]]
    if len(rows) > limit:
        return LogRows(rows[:limit], rows[limit - 1].id)
    return LogRows(rows, ends[0] if ends else None)
