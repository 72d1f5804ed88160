"""Maps that have failed: what runs of them is to end."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from orchestrator.store.connect import Connection

CLOSING = """
SELECT m.run_id, m.ordinal FROM unnest(%s::uuid[], %s::int[]) AS d (run_id, ordinal)
 CROSS JOIN LATERAL (
     SELECT o.run_id, o.ordinal FROM map_state o
      WHERE o.run_id = d.run_id AND o.ordinal = d.ordinal AND o.closing = 'failed' OFFSET 0) m
"""


def closing_maps(connection: Connection, keys: Iterable[tuple[UUID, int]]) -> set[tuple[UUID, int]]:
    """Those of these maps, by (run, ordinal), that have failed: what runs of them is to end."""
    wanted = sorted(set(keys))
    rows = connection.execute(CLOSING, ([run for run, _ in wanted], [at for _, at in wanted]))
    return {(run_id, ordinal) for run_id, ordinal in rows.fetchall()}
