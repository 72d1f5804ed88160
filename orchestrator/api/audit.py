"""The audit log: pages of it, and a window of it as a file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import datetime

from asgiref.sync import sync_to_async
from django.http import HttpResponse, StreamingHttpResponse
from ninja import Router, Schema

from orchestrator.api import documents
from orchestrator.api.answers import answer
from orchestrator.api.doors import ApiRequest, door
from orchestrator.api.queries import PAGING, Query
from orchestrator.api.schemas import Json, ListOf
from orchestrator.selectors.audit import AuditFilters, list_entries
from orchestrator.selectors.audit_export import TYPES, export, window
from orchestrator.store.release import release
from tenants import fence

router = Router(tags=["audit"])
FILTERS = ("actor", "action", "target", "origin", "since", "until")
_PARAMETERS = (
    documents.parameter("actor", "`user:ada`, `key:mr_ab12cd34`, `command`; `user:*`: all people"),
    documents.parameter("action", "`quota.set`; `quota.*`: all of quotas"),
    documents.parameter("target", "What was changed: a name or an id"),
    documents.parameter("origin", "The address that it came from"),
    documents.parameter("since", "RFC 3339; from here", format="date-time"),
    documents.parameter("until", "RFC 3339; before here", format="date-time"),
)


class AuditEntryView(Schema):
    """Who did what, and from where; `before` and `after` are what has changed."""

    id: int
    at: datetime
    actor: str
    action: str
    target: str
    origin: str
    before: Json
    after: Json


@router.get(
    "/audit",
    response=ListOf[AuditEntryView],
    summary="Read the audit log",
    openapi_extra=documents.route(
        422, parameters=(*_PARAMETERS, documents.LIMIT, documents.CURSOR)
    ),
)
@door("admin")
def get_audit(request: ApiRequest) -> HttpResponse:
    """Entries of the tenant, newest first."""
    query = Query(request, (*FILTERS, *PAGING))
    filters, limit, cursor = _filters(query), query.limit(), query.cursor()
    query.done()
    page = list_entries(tenant=request.tenant, filters=filters, limit=limit, cursor=cursor)
    return answer(page.view())


@router.get(
    "/audit/export",
    response={200: None},
    summary="Export the audit log",
    openapi_extra={
        **documents.route(
            422,
            parameters=(
                *_PARAMETERS,
                documents.parameter("format", "ndjson or csv", enum=list(TYPES), default="ndjson"),
            ),
        ),
        "description": "Entries of a window of up to 366 days (default: the last 30), oldest first,"
        " streamed. In CSV, what a spreadsheet would compute has a `'` in front.",
    },
)
@door("admin")
def export_audit(request: ApiRequest) -> StreamingHttpResponse:
    """NDJSON or CSV, streamed."""
    query = Query(request, (*FILTERS, "format"))
    filters = _filters(query)
    form = query.choice("format", tuple(TYPES), "ndjson")
    query.done()
    since, until = window(filters.since, filters.until)
    parts = export(
        tenant=request.tenant, filters=replace(filters, since=since, until=until), form=form
    )
    headers = {"Content-Disposition": f'attachment; filename="audit.{form}"'}
    return StreamingHttpResponse(_parts(request, parts), content_type=TYPES[form], headers=headers)


async def _parts(request: ApiRequest, parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    while part := await sync_to_async(_next)(request, parts):
        yield part


def _next(request: ApiRequest, parts: Iterator[bytes]) -> bytes:
    try:
        with fence.within(request.tenant.pk):
            return next(parts, b"")
    finally:
        release()


def _filters(query: Query) -> AuditFilters:
    return AuditFilters(
        actor=query.text("actor"),
        action=query.text("action"),
        target=query.text("target"),
        origin=query.text("origin"),
        since=query.moment("since"),
        until=query.moment("until"),
    )
