"""A live page over HTTP: the whole of it, or, asked by an open page whose socket is gone, its swaps."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_safe

from dashboard.live.page import Page, framed, sections_html, surroundings, swaps
from dashboard.pages import PAGES
from orchestrator import logs
from orchestrator.domain.errors import NotFound
from tenants import fence
from tenants.access import Access, access_tenant, mark_used, tenants_of
from tenants.errors import RoleRequired, TenantNotFound, TenantsError
from tenants.models import Role

KEPT_CHARACTERS = 100_000
"""What was typed is not kept when it is longer: a session is read at every request."""
SWITCHER = 50
"""Tenants that the frame of a page offers."""


def access_or_404(request: HttpRequest, slug: str, role: Role = Role.VIEWER) -> Access:
    """The person's access to the tenant, whose rows alone the rest of the request sees.  Absent and
    foreign are 404; a lower role raises RoleRequired."""
    try:
        access = access_tenant(user=request.user, slug=slug, role=role)
    except TenantNotFound as error:
        raise Http404(error.message) from error
    fence.enter(access.tenant.pk)
    if (about := logs.request.get()) is not None:
        about.tenant, about.user = access.tenant.slug, request.user.get_username()
        about.route = None if request.resolver_match is None else f"/{request.resolver_match.route}"
    return access


def switcher(request: HttpRequest) -> dict[str, Any]:
    """What the choice of tenants in the frame needs; who has more than it shows is led to all of them."""
    found = tenants_of(request.user, limit=SWITCHER + 1)
    return {"tenants": found[:SWITCHER], "has_more_tenants": len(found) > SWITCHER}


def frame(request: HttpRequest, access: Access) -> dict[str, Any]:
    """What the frame around every page of a tenant needs."""
    return {
        **surroundings(access),
        **switcher(request),
        "may_manage": access.may(Role.ADMIN),
    }


@login_required
@require_safe
def show(request: HttpRequest, page: str, slug: str, **arguments: str) -> HttpResponseBase:
    """The page `page` of a tenant."""
    found = PAGES[page]
    try:
        access = access_or_404(request, slug, found.role)
    except RoleRequired as error:
        return refused(request, error.message, error.status)
    query = request.GET.dict()
    try:
        context = found.context(access, arguments, query)
    except (NotFound, TenantsError) as error:
        raise Http404(error.message) from error
    if request.headers.get("X-Live"):
        answer = HttpResponse(swaps(sections_html(found, framed(context, surroundings(access)))))
        answer["Cache-Control"] = "no-store"
        return answer
    mark_used(user=request.user, tenant=access.tenant)
    context = framed(context, frame(request, access))
    context |= {"page_name": page, "socket": socket_address(found, slug, arguments, query)}
    context["typed"] = _typed(request)
    return render(request, found.template, context)


def back_with(
    request: HttpRequest, typed: dict[str, Any], page: str, *, query: str = "", **arguments: str
) -> HttpResponseBase:
    """To the page whose form was refused, with what was typed into it and, under `wrong`, why."""
    address = reverse(page, kwargs=arguments)
    kept = sum(len(str(value)) for value in typed.values()) <= KEPT_CHARACTERS
    if not kept and "wrong" in typed:
        messages.error(request, typed["wrong"])
    elif kept:
        request.session["typed"] = {"address": address, **typed}
    return redirect(f"{address}{query}")


def _typed(request: HttpRequest) -> dict[str, Any] | None:
    """What was typed into a form of this page and refused; told once."""
    found: dict[str, Any] | None = request.session.get("typed")
    if found is None:
        return None
    del request.session["typed"]
    return found if found["address"] == request.path else None


def socket_address(page: Page, slug: str, arguments: dict[str, str], query: dict[str, str]) -> str:
    """Where the page's socket is: its own address below `/ws`, with its filters."""
    tail = "".join(f"/{value}" for value in arguments.values())
    asked = f"?{urlencode(query)}" if query else ""
    return f"/ws/t/{slug}/{page.name}{tail}{asked}"


def refused(request: HttpRequest, message: str, status: int) -> HttpResponseBase:
    """A page that says why something was not done."""
    return render(request, "dashboard/refused.html", {"message": message}, status=status)
