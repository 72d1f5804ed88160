"""What service levels would have counted in the past: where events begin, and which runs were late."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from uuid import UUID

from orchestrator.store.connect import Connection
from orchestrator.store.sla_rules import Counted

_FOLDER = Path(__file__).parent / "sql"
_CROSSINGS, _HANGING, _EXAMPLES, _P95 = (
    (_FOLDER / f"sla_{name}.sql").read_bytes()
    for name in ("crossings", "hanging", "examples", "p95")
)


def bound(connection: Connection, seconds: float) -> None:
    """Let no statement of this transaction take longer."""
    connection.execute(
        "SELECT set_config('statement_timeout', %s, true)", (f"{max(int(seconds * 1000), 1)}ms",)
    )


def unbound(connection: Connection) -> None:
    """Let statements of this transaction take as long as they did before."""
    connection.execute("RESET statement_timeout")


def last_seq(connection: Connection, tenant_id: int) -> int:
    """The position of the tenant's last event."""
    row = connection.execute(
        "SELECT seq FROM tenant_load WHERE tenant_id = %s::int", (tenant_id,)
    ).fetchone()
    return 0 if row is None else int(row[0])


def first_seq(connection: Connection, tenant_id: int, after: int) -> tuple[int, datetime] | None:
    """The first of the tenant's events after `after` that is kept, and when it happened."""
    return connection.execute(
        "SELECT seq, at FROM event WHERE tenant_id = %s::int AND seq > %s::bigint ORDER BY seq LIMIT 1",
        (tenant_id, after),
    ).fetchone()


def crossings(
    connection: Connection, rule: Counted, *, after: int, upto: int, most: int
) -> list[tuple[int, int, int]]:
    """From when to when runs that have ended were late before their end, and how many."""
    params = {**rule.columns(), "after": after, "upto": upto, "most": most}
    return connection.execute(_CROSSINGS, params).fetchall()


def hanging(connection: Connection, rule: Counted, *, most: int) -> list[tuple[int, int]]:
    """Since when runs that go on are late, and how many."""
    params = {**rule.columns(), "most": most}
    return connection.execute(_HANGING, params).fetchall()


def examples(
    connection: Connection, rule: Counted, *, since: datetime, until: datetime, most: int
) -> list[UUID]:
    """Runs accepted within some time that were bad for the rule, newest first."""
    params = {
        **rule.columns(),
        "measure": rule.rule.nature.measure,
        "since": since,
        "until": until,
        "most": most,
    }
    return [row[0] for row in connection.execute(_EXAMPLES, params).fetchall()]


def percentile(
    connection: Connection, rule: Counted, *, share: float, since: datetime
) -> float | None:
    """A percentile of the newest runs' seconds within a window, from the runs themselves."""
    params = {**rule.columns(), "share": share, "since": since}
    row = connection.execute(_P95, params).fetchone()
    assert row is not None
    return None if row[0] is None else float(row[0])
