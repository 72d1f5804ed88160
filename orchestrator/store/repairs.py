"""Repair by hand: runs and steps retried, steps completed or skipped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from orchestrator.store.connect import Connection


@dataclass(frozen=True, slots=True)
class Repaired:
    """`refused`: None when it was done, else `run <state>`, `step <state>`, `closing`, `dropped`,
    `gone` (it was deleted), `concurrency <limit>` or `busy <ordinal>`.  `wake`: the queues with new work."""

    refused: str | None
    wake: list[str]


def retry_run(
    connection: Connection,
    *,
    tenant_id: int,
    run_id: UUID,
    from_ordinal: int | None,
    actor: str | None,
) -> Repaired:
    """Run again what failed of a run that has ended, or the step and what follows it."""
    return _repaired(
        connection,
        "SELECT refused, wake FROM engine_retry(%s::int, %s::uuid, %s::int, %s::text)",
        (tenant_id, run_id, from_ordinal, actor),
    )


def retry_step(
    connection: Connection, *, tenant_id: int, run_id: UUID, ordinal: int, actor: str | None
) -> Repaired:
    """Run a step again, with what follows it; one that waits for its next attempt, at once."""
    return _repaired(
        connection,
        "SELECT refused, wake FROM engine_retry_step(%s::int, %s::uuid, %s::int, %s::text)",
        (tenant_id, run_id, ordinal, actor),
    )


def settle_step(
    connection: Connection,
    *,
    tenant_id: int,
    run_id: UUID,
    ordinal: int,
    state: Literal["succeeded", "skipped"],
    output: str | None,
    actor: str | None,
) -> Repaired:
    """End a step that does not run; `output` is JSON text."""
    return _repaired(
        connection,
        "SELECT refused, wake FROM engine_settle_step(%s::int, %s::uuid, %s::int, %s::text, %s::text, %s::text)",
        (tenant_id, run_id, ordinal, state, output, actor),
    )


def _repaired(connection: Connection, statement: str, params: tuple[object, ...]) -> Repaired:
    row = connection.execute(statement, params).fetchone()
    assert row is not None
    return Repaired(row[0], list(row[1]))
