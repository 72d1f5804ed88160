"""Schedules: made, edited, paused, filled in, and what became of their times."""

from __future__ import annotations

from django.http import HttpResponse
from ninja import Router

from orchestrator.api import documents
from orchestrator.api.answers import answer
from orchestrator.api.bodies import read_json
from orchestrator.api.doors import ApiRequest, door
from orchestrator.api.queries import PAGING, Query
from orchestrator.api.schedule_shapes import (
    BACKFILL,
    REASON,
    SCHEDULE,
    Backfill,
    BackfillProgress,
    ScheduleFireView,
    ScheduleView,
)
from orchestrator.api.schemas import ListOf
from orchestrator.domain.definition.reader import Reader
from orchestrator.domain.errors import InvalidRequest
from orchestrator.selectors import schedules as selectors
from orchestrator.selectors.paging import Page
from orchestrator.services import schedules as services

router = Router(tags=["schedules"])


@router.get(
    "/schedules",
    response=ListOf[ScheduleView],
    summary="List schedules",
    openapi_extra=documents.route(
        422,
        parameters=(
            documents.LIMIT,
            documents.CURSOR,
            documents.parameter("workflow", "Of this workflow alone"),
        ),
    ),
)
@door("workflows:read")
def get_schedules(request: ApiRequest) -> HttpResponse:
    """Schedules by name."""
    query = Query(request, (*PAGING, "workflow"))
    limit, cursor, workflow = query.limit(), query.cursor(), query.text("workflow")
    query.done()
    rows, more = selectors.list_schedules(
        tenant=request.tenant, workflow=workflow, limit=limit, cursor=cursor
    )
    return answer(Page([selectors.schedule_view(row) for row in rows], more).view())


@router.post(
    "/schedules",
    response={201: ScheduleView},
    summary="Make a schedule",
    openapi_extra=documents.route(400, 409, 413, 422, 429, body=SCHEDULE),
)
@door("workflows:write")
def create(request: ApiRequest) -> HttpResponse:
    """201 with the schedule; 409 where its name is taken."""
    made = services.create_schedule(
        tenant=request.tenant, body=read_json(request), actor=request.actor
    )
    headers = {"Location": f"/api/v1/schedules/{made.name}"}
    return answer(selectors.schedule_view(made), 201, headers=headers)


@router.get(
    "/schedules/{name}",
    response=ScheduleView,
    summary="Read a schedule",
    openapi_extra=documents.route(404),
)
@door("workflows:read")
def get_schedule(request: ApiRequest, name: str) -> HttpResponse:
    """A schedule with its next ten times."""
    row = selectors.access_schedule(tenant=request.tenant, name=name)
    return answer(selectors.schedule_view(row))


@router.put(
    "/schedules/{name}",
    response={200: ScheduleView, 201: ScheduleView},
    summary="Make or replace a schedule",
    openapi_extra=documents.route(400, 413, 422, 429, body=SCHEDULE),
)
@door("workflows:write")
def replace(request: ApiRequest, name: str) -> HttpResponse:
    """201 where it is new.  What became of its times stays; a paused one stays paused."""
    row, created = services.replace_schedule(
        tenant=request.tenant, name=name, body=read_json(request), actor=request.actor
    )
    return answer(selectors.schedule_view(row), 201 if created else 200)


@router.delete(
    "/schedules/{name}",
    response={204: None},
    summary="Delete a schedule",
    openapi_extra=documents.route(404),
)
@door("workflows:write")
def delete(request: ApiRequest, name: str) -> HttpResponse:
    """It starts nothing more; its runs stay."""
    services.delete_schedule(tenant=request.tenant, name=name, actor=request.actor)
    return HttpResponse(status=204)


@router.post(
    "/schedules/{name}/pause",
    response=ScheduleView,
    summary="Pause a schedule",
    openapi_extra=documents.route(400, 404, 409, 413, 422, body=REASON, required=False),
)
@door("workflows:write")
def pause(request: ApiRequest, name: str) -> HttpResponse:
    """Nothing starts until it is resumed; what goes by meanwhile is not made up for."""
    selectors.access_schedule(tenant=request.tenant, name=name)
    reader = Reader()
    raw = reader.mapping(read_json(request, default={}), "", ("reason",))
    reason = "" if raw is None else reader.text(raw, "", "reason", longest=services.LONGEST_REASON)
    if reader.problems:
        raise InvalidRequest(problems=reader.problems)
    row = services.pause_schedule(
        tenant=request.tenant, name=name, reason=reason, actor=request.actor
    )
    return answer(selectors.schedule_view(row))


@router.post(
    "/schedules/{name}/resume",
    response=ScheduleView,
    summary="Resume a schedule",
    openapi_extra=documents.route(404, 409),
)
@door("workflows:write")
def resume(request: ApiRequest, name: str) -> HttpResponse:
    """It goes on with the next time after now."""
    row = services.resume_schedule(tenant=request.tenant, name=name, actor=request.actor)
    return answer(selectors.schedule_view(row))


@router.get(
    "/schedules/{name}/fires",
    response=ListOf[ScheduleFireView],
    summary="List what became of a schedule's times",
    openapi_extra=documents.route(
        404,
        422,
        parameters=(
            documents.LIMIT,
            documents.CURSOR,
            documents.parameter("backfill", "Of this backfill alone"),
        ),
    ),
)
@door("workflows:read")
def get_fires(request: ApiRequest, name: str) -> HttpResponse:
    """Times, newest first, with their outcome and run."""
    row = selectors.access_schedule(tenant=request.tenant, name=name)
    query = Query(request, (*PAGING, "backfill"))
    limit, cursor, backfill = query.limit(), query.cursor(), query.text("backfill")
    query.done()
    page = selectors.fires_page(row=row, limit=limit, cursor=cursor, backfill=backfill)
    return answer(page.view())


@router.post(
    "/schedules/{name}/backfill",
    response={202: Backfill},
    summary="Start runs for past times",
    openapi_extra=documents.route(400, 404, 409, 413, 422, body=BACKFILL),
)
@door("runs:write")
def backfill(request: ApiRequest, name: str) -> HttpResponse:
    """202: the times from `from` to `to` that had no run get one, as the overlap allows."""
    selectors.access_schedule(tenant=request.tenant, name=name)
    made = services.backfill_schedule(
        tenant=request.tenant, name=name, body=read_json(request), actor=request.actor
    )
    found = {
        "id": made.id,
        "from": made.since,
        "to": made.until,
        "count": made.count,
        "accepted": made.accepted,
    }
    return answer(found, 202)


@router.get(
    "/schedules/{name}/backfills/{backfill_id}",
    response=BackfillProgress,
    summary="Read how far a backfill is",
    openapi_extra=documents.route(404),
)
@door("workflows:read")
def get_backfill(request: ApiRequest, name: str, backfill_id: str) -> HttpResponse:
    """How many of its times wait, and what became of the others."""
    row = selectors.access_schedule(tenant=request.tenant, name=name)
    return answer(selectors.backfill_view(row=row, backfill_id=backfill_id))
