"""A live page over HTTP: the whole of it, or, asked by an open page whose socket is gone, its swaps."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_safe

from dashboard.live.page import Page, sections_html, swaps
from dashboard.pages import PAGES
from orchestrator.domain.errors import NotFound
from tenants.access import Access, access_tenant, mark_used, tenants_of
from tenants.errors import TenantNotFound
from tenants.models import Role


def access_or_404(request: HttpRequest, slug: str, role: Role = Role.VIEWER) -> Access:
    """The person's access to the tenant.  Absent and foreign are 404; a lower role raises
    RoleRequired."""
    try:
        return access_tenant(user=request.user, slug=slug, role=role)
    except TenantNotFound as error:
        raise Http404(error.message) from error


def frame(request: HttpRequest, access: Access) -> dict[str, Any]:
    """What the frame around every page of a tenant needs."""
    return {"access": access, "tenant": access.tenant, "tenants": tenants_of(request.user)}


@login_required
@require_safe
def show(request: HttpRequest, page: str, slug: str, **arguments: str) -> HttpResponse:
    """The page `page` of a tenant."""
    access = access_or_404(request, slug)
    found = PAGES[page]
    query = request.GET.dict()
    try:
        context = found.context(access, arguments, query)
    except NotFound as error:
        raise Http404(error.message) from error
    context = {**context, "access": access, "tenant": access.tenant}
    if request.headers.get("X-Live"):
        answer = HttpResponse(swaps(sections_html(found, context)))
        answer["Cache-Control"] = "no-store"
        return answer
    mark_used(user=request.user, tenant=access.tenant)
    context |= frame(request, access)
    context |= {"page_name": page, "socket": socket_address(found, slug, arguments, query)}
    return render(request, found.template, context)


def socket_address(page: Page, slug: str, arguments: dict[str, str], query: dict[str, str]) -> str:
    """Where the page's socket is: its own address below `/ws`, with its filters."""
    tail = "".join(f"/{value}" for value in arguments.values())
    asked = f"?{urlencode(query)}" if query else ""
    return f"/ws/t/{slug}/{page.name}{tail}{asked}"


def refused(request: HttpRequest, message: str, status: int) -> HttpResponseBase:
    """A page that says why something was not done."""
    return render(request, "dashboard/refused.html", {"message": message}, status=status)
