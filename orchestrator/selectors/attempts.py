"""The attempts of a step run, read from its events: there is no table of attempts."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from orchestrator.domain import jsonvalue
from orchestrator.domain.errors import StepNotFound
from orchestrator.models import Event, Run
from orchestrator.selectors.payloads import payload
from orchestrator.selectors.runs import access_run
from orchestrator.selectors.steps import worker_names
from orchestrator.selectors.versions import version_graph
from tenants.models import Tenant

ENDS = {
    "step.succeeded": "succeeded",
    "step.failed": "failed",
    "step.retrying": "failed",
    "step.skipped": "skipped",
    "step.cancelled": "cancelled",
    "step.lost": "lost",
    "step.waiting": "snoozed",
    "step.ready": "given_back",
}
"""How an attempt ended, by the event that ended it."""


def access_step(*, tenant: Tenant, run_id: UUID | str, name: str) -> tuple[Run, int]:
    """The tenant's run, and the ordinal of its step of this name.  Raises RunNotFound, StepNotFound."""
    run = access_run(tenant=tenant, run_id=run_id)
    ordinal = version_graph(run.version_id).ordinals.get(name)
    if ordinal is None:
        raise StepNotFound(step=name)
    return run, ordinal


def attempts_view(
    *, tenant: Tenant, run_id: UUID | str, name: str, index: int | None = None
) -> list[dict[str, object]]:
    """The attempts of a step, first to last: `{attempt, state, worker, started_at, finished_at,
    duration_s, error}`.  A lost, snoozed or given-back one is listed, but its number comes again.
    Of a map: those of the batch `index`; without it, the one pass over its items.

    Raises RunNotFound, StepNotFound."""
    run, ordinal = access_step(tenant=tenant, run_id=run_id, name=name)
    events = Event.objects.filter(tenant_id=tenant.pk, run_id=run.pk, ordinal=ordinal)
    batch = 0 if index is None else index + 1
    return pair(events.filter(batch=batch).order_by("seq"))


def _lasted_s(attempt: dict[str, object], end: Event) -> float:
    started_at = attempt["started_at"]
    assert isinstance(started_at, datetime)
    return (end.at - started_at).total_seconds()


def _never_called(event: Event) -> bool:
    """Whether the claim only found that its host is held off: its handler was not called."""
    if event.type != "step.waiting" or event.data is None:
        return False
    data = jsonvalue.decode(event.data)
    return isinstance(data, dict) and data.get("reason") == "breaker"


def pair(events: Iterable[Event]) -> list[dict[str, object]]:
    """Put each start together with its end; what comes in between begins no attempt."""
    attempts: list[dict[str, object]] = []
    workers: list[int | None] = []
    open_ = False
    for event in events:
        if event.type == "step.running":
            workers.append(event.worker_id)
            attempts.append(
                {
                    "attempt": event.attempt,
                    "state": "running",
                    "worker": None,
                    "started_at": event.at,
                    "finished_at": None,
                    "duration_s": None,
                    "error": None,
                }
            )
            open_ = True
        elif open_ and _never_called(event):
            attempts.pop()
            workers.pop()
            open_ = False
        elif open_ and event.type in ENDS:
            ended = ENDS[event.type]
            if event.type == "step.waiting" and '"repeat"' in (event.data or ""):
                ended = "repeated"
            elif event.type == "step.waiting" and '"retry"' in (event.data or ""):
                ended = "given_back"  # by a process that is drained; it waits for its code's end
            attempts[-1] |= {
                "state": ended,
                "finished_at": event.at,
                # a map holds no connection itself: its end has no seconds of its own
                "duration_s": _lasted_s(attempts[-1], event)
                if event.value_s is None
                else event.value_s,
                "error": payload(event.data) if ended == "failed" else None,
            }
            open_ = False
    names = worker_names({number for number in workers if number is not None})
    for attempt, number in zip(attempts, workers, strict=True):
        attempt["worker"] = None if number is None else names.get(number)
    return attempts
