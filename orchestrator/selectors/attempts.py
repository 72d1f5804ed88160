"""The attempts of a step run, read from its events: there is no table of attempts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from uuid import UUID

from django.db.models import QuerySet

from orchestrator.domain import jsonvalue
from orchestrator.domain.errors import StepNotFound
from orchestrator.models import Event, Run
from orchestrator.selectors.paging import DEFAULT_LIMIT, Page, seal_number, unseal_number
from orchestrator.selectors.payloads import payload
from orchestrator.selectors.runs import access_run
from orchestrator.selectors.steps import worker_names
from orchestrator.selectors.versions import version_graph
from tenants.models import Tenant

CURSOR = "attempts"
AT_ONCE = 1000
"""Events that are read together."""
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


def attempts_page(
    *,
    tenant: Tenant,
    run_id: UUID | str,
    name: str,
    index: int | None = None,
    limit: int = DEFAULT_LIMIT,
    cursor: str | None = None,
) -> Page:
    """Attempts of a step, first to last: `{attempt, state, worker, started_at, finished_at,
    duration_s, error}`.  A lost, snoozed or given-back one is listed, but its number comes again.
    Of a map: those of the batch `index`; without it, the one pass over its items.

    Raises RunNotFound, StepNotFound, InvalidCursor."""
    after = 0 if cursor is None else unseal_number(CURSOR, cursor)
    events = _events(tenant, run_id, name, index)
    tries = list(islice(pair(_behind(events, after)), limit + 1))
    behind = seal_number(CURSOR, tries[limit].seq - 1) if len(tries) > limit else None
    return Page(_views(tries[:limit]), behind)


def newest_attempts(*, tenant: Tenant, run_id: UUID | str, name: str, limit: int) -> Page:
    """The last attempts of a step, first to last; `next_cursor` begins with the first of all, and is
    None where these are all.

    Raises RunNotFound, StepNotFound."""
    newest = list(_events(tenant, run_id, name, None).order_by("-seq")[:AT_ONCE])
    tries = list(pair(reversed(newest)))
    more = len(tries) > limit or len(newest) == AT_ONCE
    return Page(_views(tries[-limit:]), seal_number(CURSOR, 0) if more else None)


def _events(tenant: Tenant, run_id: UUID | str, name: str, index: int | None) -> QuerySet[Event]:
    run, ordinal = access_step(tenant=tenant, run_id=run_id, name=name)
    batch = 0 if index is None else index + 1
    return Event.objects.filter(tenant_id=tenant.pk, run_id=run.pk, ordinal=ordinal, batch=batch)


def _behind(events: QuerySet[Event], seq: int) -> Iterator[Event]:
    """Those behind a position, in order; read as far as they are asked for, for a step may have
    snoozed a million times."""
    while True:
        some = list(events.filter(seq__gt=seq).order_by("seq")[:AT_ONCE])
        yield from some
        if len(some) < AT_ONCE:
            return
        seq = some[-1].seq


@dataclass(slots=True)
class Try:
    """An attempt; `seq`: the position of the event that began it."""

    seq: int
    attempt: int | None
    started_at: datetime
    worker_id: int | None
    state: str = "running"
    finished_at: datetime | None = None
    duration_s: float | None = None
    error: object = None

    def end(self, event: Event) -> None:
        """This event ended it."""
        self.state = _ended(event)
        self.finished_at = event.at
        self.duration_s = event.value_s
        if (
            event.value_s is None
        ):  # a map holds no connection itself: its end has no seconds of its own
            self.duration_s = (event.at - self.started_at).total_seconds()
        self.error = payload(event.data) if self.state == "failed" else None


def _ended(event: Event) -> str:
    """How an attempt ended that ended with this event."""
    if event.type == "step.waiting" and '"repeat"' in (event.data or ""):
        return "repeated"
    if event.type == "step.waiting" and '"retry"' in (event.data or ""):
        return "given_back"  # by a process that is drained; it waits for its code's end
    return ENDS[event.type]


def _never_called(event: Event) -> bool:
    """Whether the claim only found that its host is held off: its handler was not called."""
    if event.type != "step.waiting" or event.data is None:
        return False
    data = jsonvalue.decode(event.data)
    return isinstance(data, dict) and data.get("reason") == "breaker"


def pair(events: Iterable[Event]) -> Iterator[Try]:
    """Put each start together with its end; what comes in between begins no attempt, and an end whose
    start is not among these events ends none."""
    begun: Try | None = None
    for event in events:
        if event.type == "step.running":
            if begun is not None:
                yield begun
            begun = Try(event.seq, event.attempt, event.at, event.worker_id)
        elif begun is not None and _never_called(event):
            begun = None
        elif begun is not None and event.type in ENDS:
            begun.end(event)
            yield begun
            begun = None
    if begun is not None:
        yield begun


def _views(tries: Sequence[Try]) -> list[dict[str, object]]:
    names = worker_names({one.worker_id for one in tries if one.worker_id is not None})
    return [
        {
            "attempt": one.attempt,
            "state": one.state,
            "worker": None if one.worker_id is None else names.get(one.worker_id),
            "started_at": one.started_at,
            "finished_at": one.finished_at,
            "duration_s": one.duration_s,
            "error": one.error,
        }
        for one in tries
    ]
