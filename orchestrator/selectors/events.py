"""Events in the order of their commits: of a run, or of a whole tenant; as pages, or behind a position
for those who follow them."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from uuid import UUID

from orchestrator import store
from orchestrator.domain import jsonvalue
from orchestrator.domain.errors import PayloadUnavailable
from orchestrator.domain.statuses import RunState
from orchestrator.domain.undo import COMPENSATION, UNDO
from orchestrator.models import Run
from orchestrator.selectors.maps import batch_index
from orchestrator.selectors.paging import DEFAULT_LIMIT, Page, seal_number, unseal_number
from orchestrator.selectors.payloads import Payload, payload, render
from orchestrator.selectors.runs import access_run, run_view
from orchestrator.selectors.versions import version_graph
from orchestrator.store import events
from orchestrator.store.events import EventQuery, EventRow
from tenants import fence
from tenants.models import Tenant

logger = logging.getLogger(__name__)

CURSOR = "events"
CALLS = {COMPENSATION: "compensate", UNDO: "undo"}
EVERYTHING = EventQuery()
MOST_ACTIVE = 1000
"""Runs that a tenant's snapshot names."""


def _data(event: EventRow) -> Payload | dict[str, object] | None:
    """The event's data; `compensate` or `undo` is true where it is not about the step itself."""
    call = CALLS.get(event.batch) if event.batch is not None else None
    if call is None:
        return payload(event.data)
    known = jsonvalue.decode(event.data) if event.data is not None else {}
    assert isinstance(known, dict)
    return {**known, call: True}


def _step(event: EventRow) -> str | None:
    """The name of its step; None where it is about none, or its run is no longer kept."""
    if event.version_id is None:
        return None
    return version_graph(event.version_id).name(event.ordinal)


def view(event: EventRow) -> dict[str, object]:
    """An Event as the API shows it: `{id, at, type, run_id, step, index, attempt, actor, data}`."""
    return {
        "id": event.seq,
        "at": event.at,
        "type": event.type,
        "run_id": event.run_id,
        "step": _step(event),
        "index": batch_index(event.batch),
        "attempt": event.attempt,
        "actor": event.actor,
        "data": _data(event),
    }


def events_page(
    *, tenant: Tenant, run_id: UUID | str, limit: int = DEFAULT_LIMIT, cursor: str | None = None
) -> Page:
    """Events of a run, oldest first: `{id, at, type, run_id, step, index, attempt, actor, data}`.

    `id` is the event's position in its tenant: growing, free of gaps over all runs.
    Raises RunNotFound, InvalidCursor."""
    run = access_run(tenant=tenant, run_id=run_id)
    return tenant_events_page(
        tenant=tenant, query=EventQuery(run_id=run.pk), limit=limit, cursor=cursor
    )


def tenant_events_page(
    *,
    tenant: Tenant,
    query: EventQuery = EVERYTHING,
    position: int = 0,
    limit: int = DEFAULT_LIMIT,
    cursor: str | None = None,
) -> Page:
    """Events behind a position, oldest first.  Where they are narrowed, a page may hold less than its
    limit, and even nothing, although there is a next one.

    Raises InvalidCursor."""
    link = store.connection()
    if cursor is not None:
        position = unseal_number(CURSOR, cursor)
    if query.run_id is None:
        kept = events.oldest(link, tenant_id=tenant.pk)
        position = max(position, kept[0] - 1) if kept is not None else position
    found = events.after(link, tenant_id=tenant.pk, position=position, query=query, limit=limit + 1)
    rows = found.rows[:limit]
    if len(found.rows) > limit:
        behind: int | None = rows[-1].seq
    else:
        behind = found.upto if found.upto < found.last else None
    items = [view(event) for event in rows]
    return Page(items, None if behind is None else seal_number(CURSOR, behind))


# -- for those who follow ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Told:
    """An event as it is sent: `text` is its JSON."""

    seq: int
    at: str
    type: str
    run_id: str | None
    workflow: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Heard:
    """The next events of one who follows, up to the position `upto`; `last` is the tenant's last.

    `missed`: what lay between was not kept."""

    events: list[Told]
    upto: int
    last: int
    missed: bool = False


def told(event: EventRow) -> Told:
    """An event, read as texts, as it is sent: the JSON of `view`, put together by hand since thousands
    are each second.

    Data that cannot be read at the moment is null, so that it holds nobody up."""
    assert isinstance(event.at, str)
    assert not isinstance(event.run_id, UUID)
    data = "null"
    if event.data is not None or event.batch in CALLS:
        try:
            data = render(_data(event))
        except PayloadUnavailable as error:
            logger.warning("event %s is sent without its data: %s", event.seq, error)
    run_id = "null" if event.run_id is None else f'"{event.run_id}"'
    index = batch_index(event.batch)
    text = (
        f'{{"id":{event.seq},"at":"{event.at}","type":"{event.type}","run_id":{run_id},'
        f'"step":{_quoted(_step(event))},"index":{"null" if index is None else index},'
        f'"attempt":{"null" if event.attempt is None else event.attempt},'
        f'"actor":{_quoted(event.actor)},"data":{data}}}'
    )
    return Told(event.seq, event.at, event.type, event.run_id, event.workflow, text)


@lru_cache(maxsize=4096)
def _quoted(value: str | None) -> str:
    return json.dumps(value, ensure_ascii=False)


def hear(*, tenant: Tenant, run: Run | None, query: EventQuery, position: int, limit: int) -> Heard:
    """What a follower who knows all up to a position gets next, from the table.

    `missed` where events that it may have wanted are no longer kept; also where the position lies
    ahead of the tenant's last one, which a restored or broken database alone can explain."""
    link = store.connection()
    found = events.after(
        link, tenant_id=tenant.pk, position=position, query=query, limit=limit, texts=True
    )
    # asked second: of a tenant whose first events come between the two, none is missed
    kept = events.oldest(link, tenant_id=tenant.pk)
    if found.last < position:
        return Heard([], position, found.last, missed=True)
    if kept is None:
        missed = found.last > position
    else:
        whole = run is not None and run.created_at >= kept[1]
        missed = position + 1 < kept[0] and not whole
    if missed:
        return Heard([], position, found.last, missed=True)
    return Heard([told(event) for event in found.rows], found.upto, found.last)


def hear_newest(*, tenant_id: int, position: int, at: datetime | None, limit: int) -> Heard:
    """The tenant's events behind a position, which was read at `at` or before."""
    link = store.connection()
    found = events.after(
        link,
        tenant_id=tenant_id,
        position=position,
        query=EVERYTHING,
        limit=limit,
        since=at,
        texts=True,
    )
    return Heard(
        [told(event) for event in found.rows],
        found.upto,
        found.last,
        missed=found.last < position,
    )


def is_same(*, tenant_id: int, position: int, at: datetime) -> bool:
    """Whether the event at a position is still the one that happened then: after a crash, PostgreSQL may
    have lost the last events and given their positions to others."""
    return events.moment(store.connection(), tenant_id=tenant_id, position=position) == at


def last_position(*, tenant_id: int) -> int:
    """The tenant's last position."""
    return events.last(store.connection(), tenant_id=tenant_id)


def last_positions(tenant_ids: list[int]) -> dict[int, int]:
    """The last positions of tenants, asked for all who follow in this process."""
    with fence.as_(fence.Standing(fence.MONITOR)):
        return events.lasts(store.connection(), tenant_ids)


class Rest(StrEnum):
    """What may still happen to a run by itself."""

    GOING = "going"
    UNDOING = "undoing"
    """It has ended; its undo has not."""
    ENDED = "ended"


def rest_of(*, tenant: Tenant, run_id: UUID) -> Rest:
    """What may still happen to a run; one that is no longer kept has ended."""
    found = events.rest(store.connection(), tenant_id=tenant.pk, run_id=run_id)
    if found is None:
        return Rest.ENDED
    ended, undoing = found
    return Rest.UNDOING if undoing and ended else Rest.ENDED if ended else Rest.GOING


def snapshot(*, tenant: Tenant, run: Run | None) -> tuple[int, str]:
    """A position, and how things were when it was the last one or a little later, as JSON.

    Of a run `{id, run}`; of a tenant `{id, active_runs}`, the newest 1,000 runs that have not ended."""
    position = last_position(tenant_id=tenant.pk)
    state: dict[str, object] = {"id": position}
    if run is not None:
        state["run"] = run_view(tenant=tenant, run_id=run.pk)
    else:
        state["active_runs"] = [
            {"id": row[0], "workflow": row[1], "state": row[2]} for row in _active(tenant)
        ]
    return position, render(state)


def _active(tenant: Tenant) -> list[tuple[UUID, str, str]]:
    """The newest runs that have not ended, each state by its index."""
    found = []
    for state in (RunState.QUEUED, RunState.RUNNING, RunState.PAUSED):
        rows = Run.objects.filter(tenant_id=tenant.pk, state=state).order_by("-created_at", "-id")
        found += list(rows.values_list("created_at", "pk", "workflow__name", "state")[:MOST_ACTIVE])
    newest = sorted(found, key=lambda row: row[:2], reverse=True)[:MOST_ACTIVE]
    return [(pk, name, state) for _, pk, name, state in newest]
