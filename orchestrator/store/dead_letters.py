"""Reading dead letters: pages of them, and of their groups."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from orchestrator.store.actions import Letters, narrowed
from orchestrator.store.connect import Connection

# Indexes: dead_letter_newest, dead_letter_group; version_step's and workflow's keys.
ROWS = """
SELECT t.id, t.run_id, w.name, v.version, s.name, t.code, t.type, t.message, t.fingerprint, t.attempts, t.losses,
       t.failed_at, (extract(epoch FROM t.failed_at) * 1000000)::bigint
  FROM dead_letter t
  JOIN workflow w ON w.id = t.workflow_id
  JOIN workflow_version v ON v.id = t.version_id
  JOIN version_step s ON s.version_id = t.version_id AND s.ordinal = t.ordinal
 WHERE t.tenant_id = %(tenant_id)s{narrowed}{after}
 ORDER BY t.failed_at DESC, t.id DESC LIMIT %(limit)s
"""
AFTER = """
   AND (t.failed_at, t.id) < (timestamptz 'epoch' + %(after_micros)s * interval '1 microsecond', %(after_id)s::bigint)
"""
# Counts the tenant's open dead letters, which people keep few; the names are read for the page alone.
GROUPS = """
WITH found AS (
    SELECT t.fingerprint, count(*) AS count, count(DISTINCT t.run_id) AS runs, max(t.id) AS newest_id,
           min(t.failed_at) AS first_at, max(t.failed_at) AS last_at
      FROM dead_letter t
     WHERE t.tenant_id = %(tenant_id)s{narrowed}
     GROUP BY t.fingerprint
    HAVING %(after)s::bigint IS NULL OR max(t.id) < %(after)s::bigint
     ORDER BY max(t.id) DESC LIMIT %(limit)s
)
SELECT f.fingerprint, n.code, n.type, n.message, f.count, f.runs, f.newest_id, n.run_id, f.first_at, f.last_at,
       ARRAY(SELECT w.name FROM workflow w WHERE w.id IN (
                 SELECT t.workflow_id FROM dead_letter t
                  WHERE t.tenant_id = %(tenant_id)s AND t.fingerprint = f.fingerprint{narrowed})
              ORDER BY w.name LIMIT 10),
       ARRAY(SELECT DISTINCT s.name FROM (
                 SELECT DISTINCT t.version_id, t.ordinal FROM dead_letter t
                  WHERE t.tenant_id = %(tenant_id)s AND t.fingerprint = f.fingerprint{narrowed}) d
               JOIN version_step s ON s.version_id = d.version_id AND s.ordinal = d.ordinal
              ORDER BY s.name LIMIT 10)
  FROM found f
  JOIN dead_letter n ON n.id = f.newest_id
 ORDER BY f.newest_id DESC
"""


@dataclass(frozen=True, slots=True)
class LetterRow:
    """A dead letter.  `micros`: its `failed_at` in microseconds since 1970."""

    id: int
    run_id: UUID
    workflow: str
    version: int
    step: str
    code: str
    type: str | None
    message: str
    fingerprint: str
    attempts: int
    losses: int
    failed_at: datetime
    micros: int


@dataclass(frozen=True, slots=True)
class GroupRow:
    """Dead letters of one fingerprint; the error and the run are the newest one's."""

    fingerprint: str
    code: str
    type: str | None
    message: str
    count: int
    runs: int
    newest_id: int
    run_id: UUID
    first_at: datetime
    last_at: datetime
    workflows: list[str]
    steps: list[str]


def rows(
    connection: Connection,
    *,
    tenant_id: int,
    letters: Letters,
    limit: int,
    after: tuple[int, int] | None,
) -> list[LetterRow]:
    """At most `limit` dead letters, newest first; `after`: (micros, id) of the page before's last."""
    condition, values = narrowed(letters)
    values |= {"tenant_id": tenant_id, "limit": limit}
    if after is not None:
        values["after_micros"], values["after_id"] = after
    text = ROWS.replace("{narrowed}", condition).replace("{after}", AFTER if after else "")
    return [LetterRow(*row) for row in connection.execute(text, values).fetchall()]


def groups(
    connection: Connection, *, tenant_id: int, letters: Letters, limit: int, after: int | None
) -> list[GroupRow]:
    """At most `limit` groups, the newest dead letter's first; `after`: the last page's `newest_id`."""
    condition, values = narrowed(letters)
    values |= {"tenant_id": tenant_id, "limit": limit, "after": after}
    text = GROUPS.replace("{narrowed}", condition)
    return [GroupRow(*row) for row in connection.execute(text, values).fetchall()]
