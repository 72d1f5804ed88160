"""Undoing runs that have ended, and what of a run would be undone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from orchestrator.store.connect import Connection

UNDOABLE = """
SELECT c.ordinal
  FROM run r
  JOIN version_call c ON c.version_id = r.version_id AND c.batch = -2
  JOIN step_run s ON s.tenant_id = r.tenant_id AND s.run_id = r.id AND s.ordinal = c.ordinal AND s.batch = 0
 WHERE r.tenant_id = %s::int AND r.id = %s::uuid
   AND engine_undoable(s.state, s.handled OR coalesce(s.reason, '') = 'cached', s.started_at IS NOT NULL, s.suspect, s.error)
 UNION
SELECT x.ordinal FROM run r CROSS JOIN LATERAL engine_undoable_children(r.tenant_id, r.id, r.version_id) x
 WHERE r.tenant_id = %s::int AND r.id = %s::uuid
 ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class Undo:
    """What came of the request; see `engine_undo` for the words."""

    verdict: Literal["begun", "open", "again", "nothing", "gone"]
    wake: list[str]


def undo_run(connection: Connection, *, tenant_id: int, run_id: UUID, actor: str | None) -> Undo:
    """Begin to undo a run that has ended."""
    row = connection.execute(
        "SELECT verdict, wake FROM engine_undo(%s::int, %s::uuid, %s::text)",
        (tenant_id, run_id, actor),
    ).fetchone()
    assert row is not None
    return Undo(row[0], list(row[1]))


def undoable(connection: Connection, *, tenant_id: int, run_id: UUID) -> list[int]:
    """The steps of a run that undoing it would undo, as they are now."""
    rows = connection.execute(UNDOABLE, (tenant_id, run_id) * 2)
    return [int(ordinal) for (ordinal,) in rows]
