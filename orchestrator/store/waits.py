"""What deciding a step that calls no handler needs to know besides what was claimed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.store.connect import Connection

if TYPE_CHECKING:
    from orchestrator.store.work import Claimed

FACTS = """
SELECT s.attempts, s.repeats, s.args, s.output, s.error, r.depth
  FROM run r
  JOIN step_run s ON s.tenant_id = r.tenant_id AND s.run_id = r.id AND s.ordinal = %s::int AND s.batch = %s::int
 WHERE r.tenant_id = %s::int AND r.id = %s::uuid
"""
CHILD = """
SELECT w.archived_at IS NOT NULL, v.id
  FROM workflow w JOIN workflow_version v ON v.workflow_id = w.id AND v.version = w.newest
 WHERE w.tenant_id = %s::int AND w.name = %s::text
"""


@dataclass(frozen=True, slots=True)
class Facts:
    """A step that calls no handler, as its row is.  `args`, `output` and `error` are JSON texts: kept
    arguments, and what its wait has brought."""

    attempts: int
    repeats: int
    args: str | None
    output: str | None
    error: str | None
    depth: int
    """How many runs are above its run."""


def facts(connection: Connection, claimed: Claimed) -> Facts | None:
    """The facts of the step that this control work is about; None: it is gone."""
    row = connection.execute(
        FACTS, (claimed.ordinal, claimed.batch, claimed.tenant_id, claimed.run_id)
    ).fetchone()
    return None if row is None else Facts(*row)


def child_version(connection: Connection, *, tenant_id: int, name: str) -> tuple[bool, int] | None:
    """Whether the tenant's workflow is archived, and its newest version; None: there is none."""
    return connection.execute(CHILD, (tenant_id, name)).fetchone()
