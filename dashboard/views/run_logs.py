"""A run's log lines as a text file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

from asgiref.sync import sync_to_async
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_safe

from dashboard.pages.run_logs import asked, plain, shown
from dashboard.views.show import access_or_404
from orchestrator.domain.errors import NotFound
from orchestrator.selectors.logs import LogFilters, following_logs
from orchestrator.selectors.runs import access_run
from tenants import fence
from tenants.access import Access

PAGE = 1000


@login_required
@require_safe
def download_logs(request: HttpRequest, slug: str, run_id: str) -> HttpResponseBase:
    """All lines that fit the page's filters, oldest first."""
    access = access_or_404(request, slug)
    filters = asked(request.GET.dict()).filters
    try:
        run = access_run(tenant=access.tenant, run_id=run_id)
        following_logs(tenant=access.tenant, run_id=run.pk, filters=filters, after=0, limit=1)
    except NotFound as error:
        raise Http404(error.message) from error
    headers = {"Content-Disposition": f'attachment; filename="{run.pk}.log"'}
    return StreamingHttpResponse(
        _parts(access, run.pk, filters), content_type="text/plain; charset=utf-8", headers=headers
    )


async def _parts(access: Access, run_id: UUID, filters: LogFilters) -> AsyncIterator[bytes]:
    after, more = 0, True
    while more:
        part, after, more = await sync_to_async(_part)(access, run_id, filters, after)
        yield part


def _part(access: Access, run_id: UUID, filters: LogFilters, after: int) -> tuple[bytes, int, bool]:
    with fence.within(access.tenant.pk):
        lines, upto, more = following_logs(
            tenant=access.tenant, run_id=run_id, filters=filters, after=after, limit=PAGE
        )
    text = "".join(f"{plain(shown(line))}\n" for line in lines)
    return text.encode(), upto, more
