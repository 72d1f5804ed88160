"""Sending signals: one statement, under the tenant's mutex."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from orchestrator.store.connect import Connection

MOST_KEPT = 1000
"""Signals kept for a run that no step has taken yet."""


class Sent(NamedTuple):
    """`outcome`: taken, kept, known (its dedup key was used before), full, or the state in which the
    run has ended; `wake`: the queues to wake once it is committed."""

    outcome: str
    wake: list[str]


def send(
    connection: Connection,
    *,
    tenant_id: int,
    run_id: UUID,
    name: str,
    ordinals: Sequence[int],
    payload: str,
    dedup_key: str | None,
    actor: str,
) -> Sent:
    """Give the signal to the step that waits for it (of these, the first), or keep it."""
    row = connection.execute(
        "SELECT outcome, wake FROM engine_signal(%s::int, %s::uuid, %s::text, %s::int[], %s::text, %s::text,"
        " %s::int, %s::text)",
        (tenant_id, run_id, name, list(ordinals), payload, dedup_key, MOST_KEPT, actor),
    ).fetchone()
    assert row is not None
    return Sent(row[0], list(row[1] or ()))
