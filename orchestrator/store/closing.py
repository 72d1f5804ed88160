"""Closing runs: nothing new may start in them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal
from uuid import UUID

from orchestrator.store.connect import Connection

Kind = Literal["cancel", "fail_fast", "timeout", "deadline"]


def close_runs(
    connection: Connection,
    *,
    tenant_id: int,
    run_ids: Sequence[UUID],
    kind: Kind,
    actor: str | None,
) -> list[UUID]:
    """Close these runs of a tenant; answers those that were closed now (not terminal, not closing)."""
    row = connection.execute(
        "SELECT engine_cancel(%s::int, %s::uuid[], %s::text, %s::text)",
        (tenant_id, list(run_ids), kind, actor),
    ).fetchone()
    return list(row[0]) if row else []


def closing_runs(connection: Connection, run_ids: Sequence[UUID]) -> dict[UUID, bool]:
    """Which of these runs are closing; True: for over five minutes (`always` steps end too)."""
    rows = connection.execute(
        "SELECT id, closing_at < clock_timestamp() - interval '5 minutes' FROM run"
        " WHERE id = ANY (%s::uuid[]) AND closing IS NOT NULL",
        (list(run_ids),),
    )
    return dict(rows.fetchall())


FAILED_MAPS = """
SELECT m.run_id, m.ordinal FROM unnest(%s::uuid[], %s::int[]) AS d (run_id, ordinal)
 CROSS JOIN LATERAL (
     SELECT o.run_id, o.ordinal FROM map_state o
      WHERE o.run_id = d.run_id AND o.ordinal = d.ordinal AND o.closing = 'failed' OFFSET 0) m
"""


def failed_maps(
    connection: Connection, keys: Collection[tuple[UUID, int]]
) -> set[tuple[UUID, int]]:
    """Those of these maps, by (run, ordinal), that have failed: what runs of them is to end."""
    if not keys:
        return set()
    runs, ordinals = [run for run, _ in keys], [ordinal for _, ordinal in keys]
    rows = connection.execute(FAILED_MAPS, (runs, ordinals))
    return {(run_id, ordinal) for run_id, ordinal in rows.fetchall()}
