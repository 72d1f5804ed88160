"""Bulk actions: frozen when they are asked for, worked off by the clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from orchestrator.store.connect import Connection

MAKE = """
INSERT INTO action (id, tenant_id, kind, filter, actor, total, rate_per_s)
VALUES (%(id)s, %(tenant_id)s, 'dead_letters.retry', %(filter)s, %(actor)s, 0, %(rate_per_s)s)
"""
# Index: dead_letter_newest, dead_letter_group, dead_letter's key.  The oldest come first.
FREEZE = """
WITH chosen AS (
    INSERT INTO action_item (action_id, tenant_id, place, letter_id)
    SELECT %(id)s, t.tenant_id, row_number() OVER (ORDER BY t.failed_at, t.id), t.id
      FROM dead_letter t
     WHERE t.tenant_id = %(tenant_id)s{narrowed}
    RETURNING 1
)
UPDATE action a SET
    total = (SELECT count(*) FROM chosen),
    finished_at = CASE WHEN NOT EXISTS (SELECT 1 FROM chosen) THEN clock_timestamp() END
 WHERE a.id = %(id)s
"""
# Index: action_due.  Of two that are due at once the one asked for first (a UUID of version 7 is a time).
DUE = """
SELECT id FROM action WHERE finished_at IS NULL AND due_at <= clock_timestamp() ORDER BY due_at, id LIMIT %s
"""


@dataclass(frozen=True, slots=True)
class Letters:
    """What narrows dead letters; every field that is set must hold."""

    ids: Sequence[int] | None = None
    workflow_id: int | None = None
    step: str | None = None
    """The name of a step, in any version."""
    code: str | None = None
    fingerprint: str | None = None


CONDITIONS = {
    "ids": " AND t.id = ANY (%(ids)s::bigint[])",
    "workflow_id": " AND t.workflow_id = %(workflow_id)s",
    "step": " AND (SELECT v.name FROM version_step v"
    " WHERE v.version_id = t.version_id AND v.ordinal = t.ordinal) = %(step)s",
    "code": " AND t.code = %(code)s",
    "fingerprint": " AND t.fingerprint = %(fingerprint)s",
}


def narrowed(letters: Letters) -> tuple[str, dict[str, object]]:
    """The condition for a row `t`, and its values."""
    values = {name: getattr(letters, name) for name in CONDITIONS}
    given = {name: value for name, value in values.items() if value is not None}
    return "".join(CONDITIONS[name] for name in given), given


def retry_letters(
    connection: Connection,
    *,
    action_id: UUID,
    tenant_id: int,
    letters: Letters,
    asked: str,
    actor: str,
    rate_per_s: float,
) -> None:
    """Make the action that retries these dead letters, inside the caller's transaction.

    `asked`: what it was asked for, as JSON."""
    condition, given = narrowed(letters)
    values = {**given, "id": action_id, "tenant_id": tenant_id}
    made = {**values, "filter": asked, "actor": actor, "rate_per_s": rate_per_s}
    connection.execute(MAKE, made)
    connection.execute(FREEZE.replace("{narrowed}", condition), values)


def act(connection: Connection, *, limit: int, at_once: int = 20) -> tuple[int, list[str]]:
    """Work on the actions that are due, `limit` items of each; how many items, and the queues to wake."""
    looked, wake = 0, set[str]()
    for (action_id,) in connection.execute(DUE, (at_once,)).fetchall():
        row = connection.execute(
            "SELECT looked, wake FROM engine_act(%s::uuid, %s::int)", (action_id, limit)
        ).fetchone()
        assert row is not None
        looked += row[0]
        wake |= set(row[1])
    return looked, sorted(wake)
