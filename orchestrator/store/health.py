"""How the server was: states written down with since when, canary runs, sizes; read and forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg

from orchestrator.domain.health import Canaries, Check
from orchestrator.store.connect import Connection

_RECORD = """
WITH given AS (
    SELECT * FROM unnest(%(names)s::text[], %(states)s::text[], %(details)s::text[], %(mends)s::text[],
                         %(since)s::timestamptz[]) AS g (name, state, detail, mend, since)
), before AS (
    SELECT name, state FROM health_state
), told AS (
    INSERT INTO health_change (name, state, detail, at)
    SELECT g.name, g.state, g.detail, coalesce(g.since, now())
      FROM given g LEFT JOIN before b USING (name) WHERE b.state IS DISTINCT FROM g.state
    RETURNING name
), kept AS (
    INSERT INTO health_state AS s (name, deep, state, since, seen_at, detail, mend)
    SELECT g.name, %(deep)s::bool, g.state, coalesce(g.since, now()), now(), g.detail, g.mend FROM given g
        ON CONFLICT (name) DO UPDATE SET deep = excluded.deep, state = excluded.state,
           since = CASE WHEN s.state = excluded.state THEN s.since ELSE excluded.since END,
           seen_at = excluded.seen_at, detail = excluded.detail, mend = excluded.mend
)
SELECT name FROM told
"""
# What was not looked at for so long is unknown; that no clock ran is known.
_GAP = """
WITH old AS (
    SELECT name, seen_at, CASE WHEN name = 'clock' THEN 'down' ELSE 'unknown' END AS state
      FROM health_state
     WHERE deep = %(deep)s::bool AND seen_at < now() - make_interval(secs => %(gap)s::float8)
       AND state <> CASE WHEN name = 'clock' THEN 'down' ELSE 'unknown' END
), told AS (
    INSERT INTO health_change (name, state, detail, at)
    SELECT name, state, 'Nobody looked: no clock ran.', seen_at FROM old
)
UPDATE health_state s SET state = o.state, since = o.seen_at
  FROM old o WHERE s.name = o.name
"""
_STATES = """
SELECT name, deep, state, since, seen_at, detail, mend,
       extract(epoch FROM clock_timestamp() - seen_at)::float8
  FROM health_state
"""
# Index: health_change_name.
_FORGET = """
DELETE FROM health_change WHERE id IN (
    SELECT id FROM (SELECT id, at, row_number() OVER (PARTITION BY name ORDER BY at DESC) AS nr
                      FROM health_change) c
     WHERE c.at < now() - make_interval(days => %s::int) OR c.nr > %s::int LIMIT 10000)
"""
_FORGET_CANARIES = """
DELETE FROM canary_run WHERE outcome IS NOT NULL AND sent_at < now() - make_interval(days => %s::int)
"""
_FORGET_SIZES = "DELETE FROM database_size WHERE at < now() - make_interval(days => %s::int)"
_MEASURE = """
INSERT INTO database_size (at, bytes)
SELECT date_trunc('hour', now()), pg_database_size(current_database())
 WHERE NOT EXISTS (SELECT 1 FROM database_size WHERE at = date_trunc('hour', now()))
    ON CONFLICT DO NOTHING
"""

# Index: canary_run_sent; a day has 1,440 of them.
_CANARIES = """
WITH last AS (
    SELECT * FROM canary_run WHERE sent_at > now() - interval '24 hours'
), ended AS (
    SELECT * FROM last WHERE outcome IS NOT NULL ORDER BY sent_at DESC
), newest AS (
    SELECT * FROM ended LIMIT 1
)
SELECT (SELECT count(*) FROM ended e WHERE e.outcome <> 'ok'
           AND e.sent_at > coalesce((SELECT max(sent_at) FROM ended WHERE outcome = 'ok'), '-infinity')),
       (SELECT seconds FROM newest), coalesce((SELECT detail FROM newest), ''),
       (SELECT ended_at FROM newest),
       (SELECT extract(epoch FROM clock_timestamp() - max(sent_at))::float8 FROM canary_run),
       (SELECT count(*) FROM ended), (SELECT count(*) FROM ended WHERE outcome = 'ok'),
       (SELECT percentile_cont(0.95) WITHIN GROUP (ORDER BY seconds) FROM ended WHERE outcome = 'ok')
"""
_AWAITED = """
SELECT id, run_id, extract(epoch FROM clock_timestamp() - sent_at)::float8 FROM canary_run WHERE outcome IS NULL
"""
_CANARY_AGE = "SELECT extract(epoch FROM clock_timestamp() - max(sent_at))::float8 FROM canary_run"
_SEND = "INSERT INTO canary_run (run_id) VALUES (%s::uuid)"
_END = """
UPDATE canary_run SET outcome = %s, ended_at = clock_timestamp(), seconds = %s::float8, detail = %s
 WHERE id = %s AND outcome IS NULL
"""
_RUN = """
SELECT state, output, error, extract(epoch FROM finished_at - created_at)::float8,
       started_at IS NOT NULL
  FROM run WHERE tenant_id = %s::int AND id = %s::uuid
"""
_WHY = """
SELECT (SELECT count(*) FROM worker w JOIN handler h ON h.name = %(handler)s AND h.id = ANY (w.handler_ids)
         WHERE w.state = 'active' AND 'io' = ANY (w.queues)
           AND w.seen_at > clock_timestamp() - make_interval(secs => %(lease)s::float8)),
       (SELECT sum(CASE WHEN slot = -1 THEN amount ELSE -amount END) FROM server_load),
       (SELECT max_connections FROM server_load WHERE slot = -1)
"""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A part as the clock saw it last; `age_s`: how long ago that is."""

    name: str
    deep: bool
    state: str
    since: datetime
    seen_at: datetime
    detail: str
    mend: str
    age_s: float


@dataclass(frozen=True, slots=True)
class Awaited:
    """A canary run that was sent and has not been judged."""

    id: int
    run_id: UUID
    age_s: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a canary's run is: `output` and `error` are JSON texts; `seconds` once it has ended."""

    state: str
    output: str | None
    error: str | None
    seconds: float | None
    started: bool


def record(connection: Connection, checks: Sequence[Check], *, deep: bool) -> list[str]:
    """Write down how parts are; answers the names of those whose state is another than before."""
    rows = _cursor(connection).execute(
        _RECORD,
        {
            "deep": deep,
            "names": [check.name for check in checks],
            "states": [str(check.state) for check in checks],
            "details": [check.detail for check in checks],
            "mends": [check.mend for check in checks],
            "since": [check.since for check in checks],
        },
    )
    return [str(row[0]) for row in rows.fetchall()]


def note_gap(connection: Connection, *, deep: bool, gap_s: float) -> int:
    """Write down that nobody looked for over `gap_s`, where that is so; answers at how many parts."""
    return _cursor(connection).execute(_GAP, {"deep": deep, "gap": gap_s}).rowcount


def states(connection: Connection) -> list[Recorded]:
    """Every part as it was seen last."""
    return [Recorded(*row) for row in _cursor(connection).execute(_STATES).fetchall()]


def forget(connection: Connection, *, days: int, most: int) -> int:
    """Forget changes, canary runs and sizes that are older, and more than `most` changes of a part;
    answers how many."""
    cursor = _cursor(connection)
    gone = cursor.execute(_FORGET, (days, most)).rowcount
    gone += cursor.execute(_FORGET_CANARIES, (days,)).rowcount
    return gone + cursor.execute(_FORGET_SIZES, (days,)).rowcount


def measure(connection: Connection) -> int:
    """Write down this hour's size of the database, once."""
    return _cursor(connection).execute(_MEASURE).rowcount


def canaries(connection: Connection) -> Canaries:
    """What is known of canary runs."""
    row = _cursor(connection).execute(_CANARIES).fetchone()
    assert row is not None
    return Canaries(*row)


def awaited(connection: Connection) -> Awaited | None:
    """The canary run that has not been judged."""
    row = _cursor(connection).execute(_AWAITED).fetchone()
    return None if row is None else Awaited(*row)


def canary_age(connection: Connection) -> float | None:
    """Seconds since the last one was sent; None: never."""
    row = _cursor(connection).execute(_CANARY_AGE).fetchone()
    return None if row is None else row[0]


def send(connection: Connection, run_id: UUID) -> None:
    """Write down that a canary run was sent."""
    _cursor(connection).execute(_SEND, (run_id,))


def end(
    connection: Connection, canary_id: int, *, outcome: str, seconds: float | None, detail: str
) -> None:
    """Write down what became of it."""
    _cursor(connection).execute(_END, (outcome, seconds, detail[:500], canary_id))


def outcome(connection: Connection, *, tenant_id: int, run_id: UUID) -> Outcome | None:
    """How the run is; None: it is not there any more."""
    row = _cursor(connection).execute(_RUN, (tenant_id, run_id)).fetchone()
    return None if row is None else Outcome(*row)


def servers(connection: Connection, *, handler: str, lease_s: float) -> tuple[int, int, int]:
    """Live workers that could run it; connections of the server in use, and their limit."""
    row = _cursor(connection).execute(_WHY, {"handler": handler, "lease": lease_s}).fetchone()
    assert row is not None
    return int(row[0]), int(row[1]), int(row[2])


def _cursor(connection: Connection) -> psycopg.Cursor[tuple[Any, ...]]:
    """A cursor that binds on the server (Django's connections bind on the client)."""
    return psycopg.Cursor(connection)
