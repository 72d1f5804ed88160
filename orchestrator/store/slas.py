"""Service levels: events counted for rules, runs awaited, windows summed; each door one statement,
in `sql/sla_*.sql`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from orchestrator.domain.slo import Slice
from orchestrator.store.connect import Connection
from orchestrator.store.sla_rules import Counted, State

_FOLDER = Path(__file__).parent / "sql"
_TEXT = {path.stem[4:]: path.read_bytes() for path in sorted(_FOLDER.glob("sla_*.sql"))}
_BY_KEY = "SELECT set_config('enable_seqscan', 'off', true)"
"""Without fresh statistics a planner would read whole tables rather than a run for each event."""


class Stretch(NamedTuple):
    """A tenant's events after `after`, up to `upto`."""

    tenant_id: int
    after: int
    upto: int


class Sample(NamedTuple):
    """What was counted for a rule in a minute from `at` (unix seconds) on."""

    sla_id: int
    at: int
    total: int
    good: int
    clear: int


class Window(NamedTuple):
    """A window of a rule, up to now: slices of `width_s` from `since` (unix seconds) on."""

    sla_id: int
    width_s: int
    since: int


class Late(NamedTuple):
    """Runs that are late for a rule, the ids of at most ten of them, and how late the first one is."""

    sla_id: int
    number: int
    run_ids: tuple[UUID, ...]
    oldest_s: float


# -- counting ----------------------------------------------------------------------------------


def make_cursors(connection: Connection, *, limit: int) -> list[int]:
    """Cursors for tenants that have none, and the tenants that have not got their first rules yet."""
    connection.execute(
        "INSERT INTO sla_cursor (tenant_id, seq)"
        " SELECT t.id, coalesce(l.seq, 0) FROM tenant t LEFT JOIN tenant_load l ON l.tenant_id = t.id"
        "  WHERE NOT t.is_system AND NOT EXISTS (SELECT 1 FROM sla_cursor c WHERE c.tenant_id = t.id)"
        "     ON CONFLICT DO NOTHING"
    )
    rows = connection.execute(
        "SELECT tenant_id FROM sla_cursor WHERE defaults_at IS NULL ORDER BY 1 LIMIT %s::int",
        (limit,),
    )
    return [row[0] for row in rows.fetchall()]


def hold_cursor(connection: Connection, tenant_id: int) -> int:
    """Lock the tenant's cursor, made where there was none; answers how far it is.  In a transaction."""
    connection.execute(
        "INSERT INTO sla_cursor (tenant_id, seq)"
        " SELECT %(tenant)s::int, coalesce((SELECT seq FROM tenant_load WHERE tenant_id = %(tenant)s::int), 0)"
        "     ON CONFLICT DO NOTHING",
        {"tenant": tenant_id},
    )
    row = connection.execute(
        "SELECT seq FROM sla_cursor WHERE tenant_id = %s::int FOR NO KEY UPDATE", (tenant_id,)
    ).fetchone()
    assert row is not None
    return int(row[0])


def mark_defaults(connection: Connection, tenant_id: int) -> bool:
    """Note that the tenant gets its first rules now; False where it had them."""
    return bool(
        connection.execute(
            "UPDATE sla_cursor SET defaults_at = clock_timestamp()"
            " WHERE tenant_id = %s::int AND defaults_at IS NULL",
            (tenant_id,),
        ).rowcount
    )


def lock_behind(connection: Connection) -> list[Stretch]:
    """Lock the cursors of tenants with events that are not counted; inside a transaction."""
    return [Stretch(*row) for row in connection.execute(_TEXT["behind"]).fetchall()]


def count(
    connection: Connection, rules: Iterable[Counted], stretches: Sequence[Stretch]
) -> list[Sample]:
    """Count the events of these stretches for these rules; inside a transaction."""
    connection.execute(_BY_KEY)
    params = {"rules": _json(rules), **_stretches(stretches)}
    return [Sample(*row) for row in connection.execute(_TEXT["count"], params).fetchall()]


def add(connection: Connection, samples: Sequence[Sample], *, fine_since: int = 0) -> None:
    """Add samples to those of their minutes (unless older than `fine_since`, unix seconds) and hours."""
    if samples:
        params = {
            "fine_since": fine_since,
            "slas": [one.sla_id for one in samples],
            "ats": [one.at for one in samples],
            "totals": [one.total for one in samples],
            "goods": [one.good for one in samples],
            "clears": [one.clear for one in samples],
        }
        connection.execute(_TEXT["add"], params)


def follow_runs(
    connection: Connection, rules: Sequence[Counted], stretches: Sequence[Stretch]
) -> int:
    """Await no more the runs that ended in these stretches, and await those that began and go on."""
    if not rules:
        return 0
    connection.execute(_BY_KEY)
    where = _stretches(stretches)
    ended = connection.execute(_TEXT["ended"], where).rowcount
    return ended + connection.execute(_TEXT["begun"], {"rules": _json(rules), **where}).rowcount


def await_runs(connection: Connection, rule: Counted) -> int:
    """Await every run that goes on, for one rule; answers how many there are."""
    return connection.execute(_TEXT["await"], {"sla": rule.id, **rule.columns()}).rowcount


def move(connection: Connection, stretches: Sequence[Stretch]) -> None:
    """Move the cursors to the stretches' ends."""
    params = {
        "tenants": [one.tenant_id for one in stretches],
        "seqs": [one.upto for one in stretches],
    }
    connection.execute(_TEXT["move"], params)


def behind_s(connection: Connection) -> float:
    """How old the oldest event is that is not counted; 0 where all are."""
    row = connection.execute(
        "SELECT coalesce(extract(epoch FROM clock_timestamp() - min(e.at)), 0)::float8"
        "  FROM tenant_load l JOIN sla_cursor c ON c.tenant_id = l.tenant_id AND c.seq < l.seq"
        " CROSS JOIN LATERAL (SELECT v.at FROM event v"
        "        WHERE v.tenant_id = c.tenant_id AND v.seq > c.seq ORDER BY v.seq LIMIT 1) e"
    ).fetchone()
    assert row is not None
    return max(float(row[0]), 0.0)


def prune(connection: Connection, *, width_s: int, age_s: float, limit: int) -> int:
    """Drop at most `limit` samples of a width that began over `age_s` ago; answers how many."""
    return connection.execute(
        "DELETE FROM sla_sample WHERE ctid = ANY (ARRAY("
        "    SELECT ctid FROM sla_sample WHERE width_s = %s::int"
        "       AND at < now() - make_interval(secs => %s::float8) LIMIT %s::int))",
        (width_s, age_s, limit),
    ).rowcount


# -- judging -----------------------------------------------------------------------------------


def now(connection: Connection) -> datetime:
    """The database's clock."""
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    return row[0]  # type: ignore[no-any-return]


def windows(connection: Connection, asked: Sequence[Window]) -> list[Slice]:
    """The sums of these windows, in their order."""
    if not asked:
        return []
    params = {
        "slas": [one.sla_id for one in asked],
        "widths": [one.width_s for one in asked],
        "sinces": [one.since for one in asked],
    }
    return [Slice(*row[1:]) for row in connection.execute(_TEXT["windows"], params).fetchall()]


def late(connection: Connection, sla_ids: Sequence[int]) -> dict[int, Late]:
    """Runs that are late, by rule."""
    rows = connection.execute(_TEXT["late"], {"slas": list(sla_ids)}).fetchall()
    return {row[0]: Late(row[0], row[1], tuple(row[2]), row[3]) for row in rows}


def waiting(connection: Connection, rules: Sequence[Counted]) -> dict[int, int]:
    """Steps that have waited too long, by rule of queue latency."""
    if not rules:
        return {}
    return dict(connection.execute(_TEXT["waiting"], {"rules": _json(rules)}).fetchall())


def write_states(connection: Connection, states: Sequence[State], *, now: datetime) -> None:
    """Write down what rules came to."""
    if states:
        facts = f"[{','.join(one.as_json() for one in states)}]"
        connection.execute(_TEXT["states"], {"now": now, "states": facts})


class Standing(NamedTuple):
    """What an enabled rule came to, for the metrics."""

    slug: str
    name: str
    sight: str
    late: int
    budget: float | None


def standings(connection: Connection) -> list[Standing]:
    """What every enabled rule came to."""
    rows = connection.execute(
        "SELECT t.slug, s.name, p.sight, p.late, p.budget"
        "  FROM sla s JOIN sla_state p ON p.sla_id = s.id JOIN tenant t ON t.id = s.tenant_id"
        " WHERE s.enabled ORDER BY s.id"
    )
    return [Standing(*row) for row in rows.fetchall()]


def _json(rules: Iterable[Counted]) -> str:
    return json.dumps([rule.facts() for rule in rules])


def _stretches(stretches: Sequence[Stretch]) -> dict[str, Any]:
    return {
        "tenants": [one.tenant_id for one in stretches],
        "after": [one.after for one in stretches],
        "upto": [one.upto for one in stretches],
    }
