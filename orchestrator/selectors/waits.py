"""What a step waits for that calls no handler, and why a run has not begun, in words."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

from orchestrator.models import Run, StepRun
from orchestrator.store.run_rows import RunRow
from tenants.models import Tenant

Waiting = dict[str, object]


def _sleep(step: StepRun) -> str:
    return "It sleeps, and holds nothing meanwhile."


def _signal(step: StepRun) -> str:
    late = "" if step.due_at is None else "; it fails if it does not come by then"
    return f'It waits for the signal "{step.wait_key}"{late}.'


def _child(step: StepRun) -> str:
    if step.due_at is None and step.reason == "timeout":
        return f"Its child run {step.wait_key} took too long and is being ended."
    return f"It waits for the end of its child run {step.wait_key}."


def _repeat(step: StepRun) -> str:
    return f"It succeeded, but repeat.until did not hold: time {step.repeats + 1} begins then."


def _ended(step: StepRun) -> str:
    return "What it waited for has come; what that means is about to be decided."


DETAILS: dict[str, Callable[[StepRun], str]] = {
    "sleep": _sleep,
    "signal": _signal,
    "child": _child,
    "repeat": _repeat,
    "ended": _ended,
}
"""By `wait_reason`."""


def step_waiting(step: StepRun) -> Waiting:
    """Why a step waits whose `wait_reason` is one of DETAILS: `{reason, since, until, detail}`."""
    why = step.wait_reason or ""
    since = step.started_at
    if why == "repeat" and step.due_at is not None:
        since = step.due_at - timedelta(seconds=step.charged_s)
    reason = "queue" if why == "ended" else why
    return _shape(reason, since, step.due_at, DETAILS[why](step))


def run_waiting(run: Run | RunRow) -> Waiting | None:
    """Why a run has not begun; None: nothing of it is held back, or it has ended."""
    if run.held is None or run.finished_at is not None:
        return None
    if run.held == "start_at":
        detail = "The run was submitted to start then."
        return _shape("start_at", run.created_at, run.start_at, detail)
    detail = (
        "As many runs with its concurrency key are running as the workflow takes;"
        " it starts when one of them has ended."
    )
    return _shape("concurrency", run.start_at or run.created_at, None, detail)


MOST_SIGNALS = 20


def awaited_signals(*, tenant: Tenant, run_id: UUID) -> list[Waiting]:
    """The signals that steps of a run wait for, each once: `{name, until}`; at most 20."""
    rows = StepRun.objects.filter(
        tenant=tenant, run_id=run_id, state="waiting", wait_reason="signal"
    )
    found: dict[object, Waiting] = {}
    for name, until in rows.order_by("ordinal").values_list("wait_key", "due_at")[:MOST_SIGNALS]:
        found.setdefault(name, {"name": name, "until": until})
    return list(found.values())


def _shape(reason: str, since: datetime | None, until: datetime | None, detail: str) -> Waiting:
    return {"reason": reason, "since": since, "until": until, "detail": detail}
