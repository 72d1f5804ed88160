"""Reading runs: the one shape in which they are shown, for one run or a page of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from orchestrator.store.connect import Connection

_TEXT = (Path(__file__).parent / "sql" / "run_rows.sql").read_text()
_FULL = _TEXT.replace("{payloads}", "r.input, r.output")
_LEAN = _TEXT.replace("{payloads}", "NULL, NULL")
_NEWEST = " ORDER BY r.created_at DESC, r.id DESC LIMIT %(limit)s"


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run.  `input`, `output`, `error` and `labels` are JSON texts."""

    id: UUID
    workflow: str
    version: int
    version_id: int
    state: str
    input: str | None
    output: str | None
    error: str | None
    labels: str
    priority: int
    step_count: int
    open_count: int
    succeeded_count: int
    failed_count: int
    skipped_count: int
    cancelled_count: int
    ready_count: int
    running_count: int
    waiting_count: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    deadline_at: datetime | None
    closing: str | None
    undo_state: str | None
    undo_error: str | None
    undo_finished_at: datetime | None
    paused_at: datetime | None
    start_at: datetime | None = None
    held: str | None = None
    parent_id: UUID | None = None
    parent_step: str | None = None


@dataclass(frozen=True, slots=True)
class RunQuery:
    """What narrows a list of runs; every field that is set must hold.

    `labels` is a JSON object that the run's labels include.  `after` is the last row of the page
    before.  `text`: the id's beginning, or where no run has that, a part of the workflow's name or a label's
    value."""

    workflow: str | None = None
    states: Sequence[str] = ()
    labels: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    text: str | None = None
    after: tuple[datetime, UUID] | None = None


_CONDITIONS = {
    "workflow": " AND r.workflow_id = (SELECT x.id FROM workflow x"
    " WHERE x.tenant_id = %(tenant_id)s AND x.name = %(workflow)s)",
    "states": " AND r.state = ANY (%(states)s::text[])",
    "labels": " AND r.id IN (SELECT l.id FROM run_label l"
    " WHERE l.tenant_id = %(tenant_id)s AND l.labels @> %(labels)s::jsonb AND l.labels <> '{}')",
    "created_after": " AND r.created_at > %(created_after)s",
    "created_before": " AND r.created_at < %(created_before)s",
    "after": " AND (r.created_at, r.id) < (%(after_at)s::timestamptz, %(after_id)s::uuid)",
}
_ID_BEGINS = " AND r.id BETWEEN %(low)s::uuid AND %(high)s::uuid"
_IS_BEGINNING = (
    "SELECT EXISTS (SELECT 1 FROM run r WHERE r.tenant_id = %(tenant_id)s"
    " AND r.id BETWEEN %(low)s::uuid AND %(high)s::uuid)"
)
_NAMED = (
    " AND (r.workflow_id IN (SELECT x.id FROM workflow x"
    " WHERE x.tenant_id = %(tenant_id)s AND strpos(x.name, lower(%(text)s)) > 0)"
    " OR (r.labels <> '{}' AND r.labels @? %(label_path)s::jsonpath))"
)


def run_row(connection: Connection, *, tenant_id: int, run_id: UUID) -> RunRow | None:
    """A run of the tenant, or None."""
    row = connection.execute(
        _FULL + " AND r.id = %(run_id)s", {"tenant_id": tenant_id, "run_id": run_id}
    ).fetchone()
    return None if row is None else RunRow(*row)


def run_rows(
    connection: Connection, *, tenant_id: int, query: RunQuery, limit: int, payloads: bool
) -> list[RunRow]:
    """At most `limit` runs of the tenant, newest first; without `payloads`, no input and output."""
    values: dict[str, Any] = {
        "tenant_id": tenant_id,
        "limit": limit,
        "workflow": query.workflow,
        "states": list(query.states),
        "labels": query.labels,
        "created_after": query.created_after,
        "created_before": query.created_before,
    }
    text = _FULL if payloads else _LEAN
    for field, condition in _CONDITIONS.items():
        if getattr(query, field):
            text += condition
    if query.after is not None:
        values["after_at"], values["after_id"] = query.after
    if query.text:
        text += _search(connection, query.text, values)
    rows = connection.execute(text + _NEWEST, values).fetchall()
    return [RunRow(*row) for row in rows]


def _search(connection: Connection, text: str, values: dict[str, Any]) -> str:
    """The condition for free text: an id's beginning (8 hex digits or more) that a run has, else names
    and labels.  Not both in one: then an id would not be looked for by its index alone."""
    digits = text.replace("-", "").lower()
    if 8 <= len(digits) <= 32 and all(c in "0123456789abcdef" for c in digits):
        values["low"] = UUID(hex=digits.ljust(32, "0"))
        values["high"] = UUID(hex=digits.ljust(32, "f"))
        (known,) = connection.execute(_IS_BEGINNING, values).fetchone() or (False,)
        if known:
            return _ID_BEGINS
    values["text"] = text
    values["label_path"] = f"$.* ? (@ == {json.dumps(text)})"
    return _NAMED


def finished(connection: Connection, run_ids: Sequence[UUID]) -> list[UUID]:
    """Those of these runs that are terminal, or gone.  For waiting on known ids alone."""
    rows = connection.execute(
        "SELECT d.id FROM unnest(%s::uuid[]) AS d (id)"
        " WHERE NOT EXISTS (SELECT 1 FROM run r WHERE r.id = d.id AND r.finished_at IS NULL)",
        (list(run_ids),),
    )
    return [run_id for (run_id,) in rows]
