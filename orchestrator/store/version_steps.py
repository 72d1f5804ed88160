"""Storing a version's steps: ten thousand of them as quickly as one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from orchestrator.store.connect import Connection

COPY = """
COPY version_step (version_id, ordinal, tenant_id, name, handler_id, queue, rule, parents, children, needs,
                   needs_input, control, max_attempts, fallback, pool, batch_needs, batch_needs_input) FROM STDIN
"""


class StepRow(NamedTuple):
    """A step of a version, as `models.VersionStep` describes it, in the columns' order."""

    version_id: int
    ordinal: int
    tenant_id: int
    name: str
    handler_id: int | None
    queue: str
    rule: str
    parents: list[int]
    children: list[int]
    needs: list[int]
    needs_input: bool
    control: bool
    max_attempts: int
    fallback: str | None
    pool: str
    batch_needs: list[int]
    batch_needs_input: bool


COPY_CALLS = """
COPY version_call (version_id, ordinal, batch, tenant_id, handler_id, queue, needs) FROM STDIN
"""


class CallRow(NamedTuple):
    """A step's compensation or undo, as `models.VersionCall` describes it, in the columns' order."""

    version_id: int
    ordinal: int
    batch: int
    tenant_id: int
    handler_id: int
    queue: str
    needs: list[int]


def insert_calls(connection: Connection, rows: Iterable[CallRow]) -> None:
    """Store what steps call besides their handlers, inside the caller's transaction."""
    with connection.cursor() as cursor, cursor.copy(COPY_CALLS) as copy:
        for row in rows:
            copy.write_row(row)


def insert_steps(connection: Connection, rows: Iterable[StepRow]) -> None:
    """Store the steps, inside the caller's transaction."""
    with connection.cursor() as cursor, cursor.copy(COPY) as copy:
        for row in rows:
            copy.write_row(row)
