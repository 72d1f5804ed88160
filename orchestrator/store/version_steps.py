"""Storing a version's steps: ten thousand of them as quickly as one."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

from orchestrator.store.connect import Connection

# Not COPY, which tables with row-level security refuse.
INSERT = """
INSERT INTO version_step (version_id, ordinal, tenant_id, name, handler_id, queue, rule, parents, children, needs,
                          needs_input, control, max_attempts, fallback, batch_needs, batch_needs_input, pool)
SELECT version_id, ordinal, tenant_id, name, handler_id, queue, rule, parents, children, needs,
       needs_input, control, max_attempts, fallback, batch_needs, batch_needs_input, pool
  FROM json_to_recordset(%s::json) AS r (
       version_id bigint, ordinal int, tenant_id int, name text, handler_id int, queue text, rule text,
       parents int[], children int[], needs int[], needs_input boolean, control boolean, max_attempts int,
       fallback text, batch_needs int[], batch_needs_input boolean, pool text)
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
    batch_needs: list[int]
    batch_needs_input: bool
    pool: str


INSERT_CALLS = """
INSERT INTO version_call (version_id, ordinal, batch, tenant_id, handler_id, queue, needs)
SELECT version_id, ordinal, batch, tenant_id, handler_id, queue, needs
  FROM json_to_recordset(%s::json) AS r (
       version_id bigint, ordinal int, batch int, tenant_id int, handler_id int, queue text, needs int[])
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
    connection.execute(INSERT_CALLS, (_as_json(rows),))


def insert_steps(connection: Connection, rows: Iterable[StepRow]) -> None:
    """Store the steps, inside the caller's transaction."""
    connection.execute(INSERT, (_as_json(rows),))


def _as_json(rows: Iterable[StepRow] | Iterable[CallRow]) -> str:
    return json.dumps([row._asdict() for row in rows])
