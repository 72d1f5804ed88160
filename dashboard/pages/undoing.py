"""What a run's page tells of undoing it: what was undone, what would be, and the button for it."""

from __future__ import annotations

from typing import Any

from dashboard.live.page import Context
from orchestrator.domain.statuses import TERMINAL_RUN
from orchestrator.selectors.payloads import Payload
from orchestrator.selectors.runs import RunRow
from orchestrator.selectors.undoing import undo_counts, undo_rows, undoable_steps
from tenants.access import Access
from tenants.models import Role


def undo_context(access: Access, row: RunRow) -> Context:
    """Whether the person may undo the run and which steps that would undo; how far an undo is."""
    if row.undo_state is None:
        may = access.may(Role.OPERATOR) and row.state in TERMINAL_RUN
        names = _undoable(access, row) if may else []
        return {"may_undo": bool(names), "undo_names": names}
    ended, total = undo_counts(tenant=access.tenant, run_id=row.id)
    return {
        "may_undo": False,
        "undo_error": Payload(row.undo_error).value if row.undo_error is not None else None,
        "undo_ended": ended,
        "undo_total": total,
    }


def _undoable(access: Access, row: RunRow) -> list[str]:
    return undoable_steps(tenant=access.tenant, run_id=row.id, version_id=row.version_id)


def with_undos(access: Access, row: RunRow, steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """These StepRuns, each with `undoing`: its undo's handler, state, attempt and why it waits."""
    if row.undo_state is None:
        return steps
    names = [step["name"] for step in steps]
    undos = undo_rows(tenant=access.tenant, run_id=row.id, version_id=row.version_id, names=names)
    return [
        {
            **step,
            "undoing": undos.get(step["name"]),
            "undo_error": _error(step["undo"]) if step["undo"] else None,
        }
        for step in steps
    ]


def _error(undo: dict[str, Any]) -> object:
    return undo["error"].value if undo["error"] is not None else None
