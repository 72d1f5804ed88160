"""Lines that a run's handlers logged: as pages, or as a stream for clients that follow a run."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpResponse
from ninja import Router

from orchestrator.api import documents
from orchestrator.api.answers import answer
from orchestrator.api.doors import ApiRequest, door
from orchestrator.api.polled import Piece, Polled
from orchestrator.api.queries import LAST, LAST_HEADER, PAGING, Query
from orchestrator.api.schemas import ListOf, LogLine
from orchestrator.api.streams import (
    EVENT_STREAM,
    Batch,
    frame,
    stream,
    wants_stream,
)
from orchestrator.domain.steplog import LEVELS
from orchestrator.selectors.events import Rest, rest_of
from orchestrator.selectors.logs import LogFilters, following_logs, log_query, logs_page
from orchestrator.selectors.payloads import render
from orchestrator.selectors.runs import access_run
from tenants.models import Tenant

router = Router(tags=["runs"])

SCOPE = "runs:read"
PAGE = 500
EVERY_S = 0.5
"""How often a stream looks for new lines: workers write them five times a second at most."""
IDLE_S = 2.0
"""And how often after a while in which none came."""
FILTERS = ("step", "index", "attempt", "level")
_PARAMETERS = (
    documents.parameter("step", "This step alone"),
    documents.parameter("index", "Of a map: this batch alone", kind="integer", minimum=0),
    documents.parameter("attempt", "This attempt alone", kind="integer", minimum=1),
    documents.parameter("level", "The lowest level", enum=list(LEVELS)),
    documents.parameter(
        "follow", "A stream, as with `Accept: text/event-stream`", kind="boolean", default=False
    ),
    documents.LIMIT,
    documents.CURSOR,
    documents.parameter(
        LAST, "Only lines behind this id; a stream resumes here", kind="integer", minimum=0
    ),
    documents.parameter(
        LAST_HEADER, "The same, as clients of streams send it", kind="integer", where="header"
    ),
)


def _document() -> documents.Part:
    extra = documents.route(404, 422, 429, parameters=_PARAMETERS)
    extra["responses"]["200"] = {
        "description": "A page, or a stream of lines",
        "content": {EVENT_STREAM: {"schema": {"type": "string"}}},
    }
    return extra


def _filters(query: Query) -> LogFilters:
    level = query.choice("level", tuple(LEVELS), "debug") if query.text("level") else None
    return LogFilters(
        step=query.text("step"),
        index=query.number("index"),
        attempt=query.number("attempt", 1),
        level=level,
    )


@router.get(
    "/runs/{run_id}/logs",
    response=ListOf[LogLine],
    summary="List or follow a run's log lines",
    openapi_extra=_document(),
)
@door(SCOPE)
def get_logs(request: ApiRequest, run_id: str) -> HttpResponse:
    """Lines, oldest first; a page may hold fewer than `limit` although there are more.  A stream of them
    ends when the run has ended; 204 where there is nothing left to send to a client that comes back."""
    run = access_run(tenant=request.tenant, run_id=run_id)
    query = Query(request, (*PAGING, *FILTERS, LAST, "follow"))
    filters, limit, cursor = _filters(query), query.limit(), query.cursor()
    follows, last = query.flag("follow"), query.resumed_at("a line")
    query.done()
    log_query(run, filters)
    if not follows and not wants_stream(request):
        page = logs_page(
            tenant=request.tenant, run_id=run.pk, filters=filters, limit=limit, cursor=cursor,
            after=last,
        )  # fmt: skip
        return answer(page.view())
    reader = Reader(request.tenant, run.pk, filters)
    if last is not None:
        piece = reader(last)
        if piece.batch.ended and not piece.batch.frames:
            return HttpResponse(status=204)
    return stream(
        request,
        lambda: Polled(request, reader, last or 0, every_s=EVERY_S, idle_s=IDLE_S),
        scope=SCOPE,
    )


class Reader:
    """Reads on behind a line, for a stream."""

    def __init__(self, tenant: Tenant, run_id: UUID, filters: LogFilters) -> None:
        self._tenant = tenant
        self._run_id = run_id
        self._filters = filters

    def __call__(self, after: int) -> Piece[int]:
        """The next lines.  Whether the run has ended is asked first: its last lines are there then."""
        ended = rest_of(tenant=self._tenant, run_id=self._run_id) is Rest.ENDED
        lines, upto, more = following_logs(
            tenant=self._tenant, run_id=self._run_id, filters=self._filters, after=after, limit=PAGE
        )
        frames = [frame(render(line), ident=str(line["id"])) for line in lines]
        return Piece(Batch(frames, more=more, ended=ended and not more), upto)
