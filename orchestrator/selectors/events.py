"""A run's events, in the order of their commits."""

from __future__ import annotations

from uuid import UUID

from orchestrator.domain import jsonvalue
from orchestrator.domain.maps import SOURCE
from orchestrator.domain.undo import COMPENSATION, UNDO
from orchestrator.models import Event
from orchestrator.selectors.maps import batch_index
from orchestrator.selectors.paging import DEFAULT_LIMIT, Page, seal_number, unseal_number
from orchestrator.selectors.payloads import Payload, payload
from orchestrator.selectors.runs import access_run
from orchestrator.selectors.versions import version_graph
from tenants.models import Tenant

CURSOR = "events"


CALLS = {COMPENSATION: "compensate", UNDO: "undo"}


def _data(event: Event) -> Payload | dict[str, object] | None:
    """The event's data; `compensate` or `undo` is true where it is not about the step itself."""
    if event.batch not in CALLS:
        return payload(event.data)
    known = jsonvalue.decode(event.data) if event.data is not None else {}
    assert isinstance(known, dict)
    return {**known, CALLS[event.batch]: True}


def events_page(
    *, tenant: Tenant, run_id: UUID | str, limit: int = DEFAULT_LIMIT, cursor: str | None = None
) -> Page:
    """Events of a run, oldest first: `{id, at, type, run_id, step, index, attempt, actor, data}`.

    `id` is the event's position in its tenant: growing, free of gaps over all runs.
    Raises RunNotFound, InvalidCursor."""
    run = access_run(tenant=tenant, run_id=run_id)
    # what reads a map's source shows as its batches and the map's own end
    rows = Event.objects.filter(tenant_id=tenant.pk, run_id=run.pk).order_by("seq")
    rows = rows.exclude(batch=SOURCE)
    if cursor is not None:
        rows = rows.filter(seq__gt=unseal_number(CURSOR, cursor))
    found = list(rows[: limit + 1])
    more = len(found) > limit
    found = found[:limit]
    graph = version_graph(run.version_id)
    items: list[dict[str, object]] = [
        {
            "id": event.seq,
            "at": event.at,
            "type": event.type,
            "run_id": event.run_id,
            "step": graph.name(event.ordinal),
            "index": batch_index(event.batch),
            "attempt": event.attempt,
            "actor": event.actor,
            "data": _data(event),
        }
        for event in found
    ]
    return Page(items, seal_number(CURSOR, found[-1].seq) if more else None)
