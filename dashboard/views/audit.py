"""The audit log as a file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

from asgiref.sync import sync_to_async
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_safe

from dashboard.pages.audit import audit_query
from dashboard.views.show import access_or_404, refused
from orchestrator.selectors.audit_export import TYPES, Format, export, window
from tenants import fence
from tenants.access import Access
from tenants.errors import RoleRequired
from tenants.models import Role


@login_required
@require_safe
def export_audit(request: HttpRequest, slug: str, form: Format) -> HttpResponseBase:
    """What the page's filters leave, of its period or the last 30 days (admins)."""
    if form not in TYPES:
        raise Http404
    try:
        access = access_or_404(request, slug, Role.ADMIN)
    except RoleRequired as error:
        return refused(request, error.message, error.status)
    filters = audit_query(request.GET.dict()).filters()
    since, until = window(filters.since, None)
    parts = export(
        tenant=access.tenant, filters=replace(filters, since=since, until=until), form=form
    )
    headers = {"Content-Disposition": f'attachment; filename="{slug}-audit.{form}"'}
    return StreamingHttpResponse(_parts(access, parts), content_type=TYPES[form], headers=headers)


async def _parts(access: Access, parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    while part := await sync_to_async(_next)(access, parts):
        yield part


def _next(access: Access, parts: Iterator[bytes]) -> bytes:
    with fence.within(access.tenant.pk):
        return next(parts, b"")
