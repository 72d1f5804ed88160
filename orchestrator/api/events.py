"""What happened: as pages, or as a stream for clients that follow a run or a tenant."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from django.http import HttpResponse
from ninja import Router

from orchestrator.api import documents, tails
from orchestrator.api.answers import answer
from orchestrator.api.doors import ApiRequest, door
from orchestrator.api.queries import LAST, LAST_HEADER, PAGING, Query
from orchestrator.api.schemas import Event, ListOf
from orchestrator.api.streams import (
    EVENT_STREAM,
    Batch,
    frame,
    stream,
    wants_stream,
    within,
)
from orchestrator.models import Run
from orchestrator.selectors.events import (
    Heard,
    Rest,
    hear,
    rest_of,
    snapshot,
    tenant_events_page,
)
from orchestrator.selectors.runs import access_run
from orchestrator.store.events import EventQuery
from tenants.models import Tenant

router = Router(tags=["events"])

SCOPE = "runs:read"
PAGE = 200
UNDO_S = 5.0
"""How often it is asked whether an undo has ended, besides after each event."""
_STREAM_NOTE = {
    200: {
        "description": "A page; with `Accept: text/event-stream` a stream of them",
        "content": {EVENT_STREAM: {"schema": {"type": "string"}}},
    }
}
_PARAMETERS = (
    documents.LIMIT,
    documents.CURSOR,
    documents.parameter(
        LAST, "Only events behind this id; a stream resumes here", kind="integer", minimum=0
    ),
    documents.parameter(
        LAST_HEADER, "The same, as clients of streams send it", kind="integer", where="header"
    ),
)


def _document(*errors: int, parameters: tuple[documents.Part, ...] = ()) -> documents.Part:
    extra = documents.route(*errors, parameters=(*parameters, *_PARAMETERS))
    extra["responses"]["200"] = _STREAM_NOTE[200]
    return extra


@router.get(
    "/runs/{run_id}/events",
    response=ListOf[Event],
    summary="List or follow a run's events",
    openapi_extra=_document(404, 422, 429),
)
@door(SCOPE)
def get_run_events(request: ApiRequest, run_id: str) -> HttpResponse:
    """Events, oldest first.  A stream of them ends when the run has ended; 204 where there is nothing
    left to send to a client that comes back."""
    run = access_run(tenant=request.tenant, run_id=run_id)
    query = Query(request, (*PAGING, LAST))
    limit, cursor, last = query.limit(), query.cursor(), query.resumed_at("an event")
    query.done()
    wish = EventQuery(run_id=run.pk)
    if not wants_stream(request):
        return _page(request, wish, last, limit, cursor)
    if last is not None and _is_over(request.tenant, run, last):
        return HttpResponse(status=204)
    return _follow(request, run, wish, last or 0)


@router.get(
    "/events",
    response=ListOf[Event],
    summary="List or follow the tenant's events",
    openapi_extra=_document(
        422,
        429,
        parameters=(
            documents.parameter("run_id", "Of this run", format="uuid"),
            documents.parameter("workflow", "Of runs of this workflow"),
            documents.parameter(
                "type", "`run.failed`, or `step.*` for all of steps; several with commas"
            ),
        ),
    ),
)
@door(SCOPE)
def get_events(request: ApiRequest) -> HttpResponse:
    """Events of the tenant, oldest first; a page may hold less than its limit, and nothing, and yet have a
    next one.  A stream begins with what happens next, unless it is told where it was."""
    query = Query(request, (*PAGING, LAST, "run_id", "workflow", "type"))
    limit, cursor, last = query.limit(), query.cursor(), query.resumed_at("an event")
    wish = _wish(query)
    query.done()
    if not wants_stream(request):
        return _page(request, wish, last, limit, cursor)
    return _follow(request, None, wish, last)


def _page(
    request: ApiRequest, wish: EventQuery, last: int | None, limit: int, cursor: str | None
) -> HttpResponse:
    page = tenant_events_page(
        tenant=request.tenant, query=wish, position=last or 0, limit=limit, cursor=cursor
    )
    return answer(page.view())


def _wish(query: Query) -> EventQuery:
    return EventQuery(
        run_id=query.uuid("run_id"), types=query.event_types(), workflow=query.text("workflow")
    )


def _is_over(tenant: Tenant, run: Run, last: int) -> bool:
    """Whether a client that knows all up to `last` has nothing to come back for."""
    if rest_of(tenant=tenant, run_id=run.pk) is not Rest.ENDED:
        return False
    query = EventQuery(run_id=run.pk)
    heard = hear(tenant=tenant, run=run, query=query, position=last, limit=1)
    return not heard.events and not heard.missed


def _follow(
    request: ApiRequest, run: Run | None, wish: EventQuery, last: int | None
) -> HttpResponse:
    tenant = request.tenant
    return stream(request, lambda: Follow(tenant, run, wish, last), scope=SCOPE)


class Follow:
    """A stream's source: events behind a position (None: what happens from now on), as they happen.

    `run`: it ends when this run has ended."""

    def __init__(
        self, tenant: Tenant, run: Run | None, query: EventQuery, position: int | None
    ) -> None:
        self._tenant = tenant
        self._run = run
        self._query = query
        self._position = position
        self._verified = position is None
        self._rest = Rest.GOING
        self._ask_rest = run is not None
        self._tails = tails.here()
        self._tail, self._follower = self._tails.follow(tenant.pk, query)

    async def read(self) -> Batch:
        """See `streams.Source`."""
        follower = self._follower
        if follower.broken:
            return await self._reset()
        behind = follower.behind
        if behind is None:
            behind = await self._tail.listen(follower)
        if self._position is None:
            self._position = behind
        if not self._verified or self._position < behind:
            return await self._read_table(self._position)
        follower.changed.clear()
        events = follower.take(self._position)
        if events:
            self._position = events[-1].seq
            return self._batch([one.type for one in events], [one.frame for one in events])
        if self._ask_rest:
            return await self._ask(self._position)
        return Batch()

    async def wait(self) -> None:
        """See `streams.Source`."""
        if self._rest is not Rest.UNDOING:
            await self._follower.changed.wait()
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(UNDO_S):
                await self._follower.changed.wait()
        self._ask_rest = True

    def close(self) -> None:
        """See `streams.Source`."""
        self._tails.leave(self._tail, self._follower)

    def _batch(self, types: list[str], frames: list[bytes]) -> Batch:
        """More is looked for at once; the run's end among it."""
        if self._run is not None and (
            self._rest is Rest.UNDOING or any(one.startswith("run.") for one in types)
        ):
            self._ask_rest = True
        return Batch(frames, more=True)

    async def _read_table(self, position: int) -> Batch:
        heard, frames = await within(self._tenant.pk, self._hear, position)
        self._verified = True
        if heard.missed:
            return await self._reset()
        self._position = heard.upto
        return self._batch([event.type for event in heard.events], frames)

    def _hear(self, position: int) -> tuple[Heard, list[bytes]]:
        heard = hear(
            tenant=self._tenant, run=self._run, query=self._query, position=position, limit=PAGE
        )
        return heard, [tails.item(event).frame for event in heard.events]

    async def _ask(self, position: int) -> Batch:
        """Whether the run is over: if so, with what it did until then."""
        self._rest, heard, frames = await within(self._tenant.pk, self._hear_rest, position)
        self._ask_rest = False
        if self._rest is not Rest.ENDED or heard is None:
            return Batch()
        if heard.missed:
            return await self._reset()
        self._position = heard.upto
        if heard.upto < heard.last and heard.events:
            return self._batch(["run."], frames)
        return Batch(frames, ended=True)

    def _hear_rest(self, position: int) -> tuple[Rest, Heard | None, list[bytes]]:
        assert self._run is not None
        rest = rest_of(tenant=self._tenant, run_id=self._run.pk)
        if rest is not Rest.ENDED:
            return rest, None, []
        return rest, *self._hear(position)

    async def _reset(self) -> Batch:
        """What the client knows is no longer enough: how things are, and on from there."""
        self._follower.broken = False
        self._follower.behind = (
            None  # it listens anew: where it began to may lie ahead of all there is
        )
        self._verified = True
        position, text = await within(self._tenant.pk, snapshot, tenant=self._tenant, run=self._run)
        self._position = position
        self._ask_rest = self._run is not None
        return Batch([frame(text, ident=position, event="reset")], more=True)
