"""The way in: the tenant that was used last, or a choice; for staff, all tenants."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from orchestrator.selectors.load import all_tenants_load, server_use
from tenants.access import last_used, tenants_of


@login_required
@require_safe
def home(request: HttpRequest) -> HttpResponseBase:
    """Lead to the tenant that was used last, or to the only one; else let choose."""
    chosen = last_used(request.user)
    found = tenants_of(request.user)
    if chosen is None and len(found) == 1:
        chosen = found[0]
    if chosen is not None and "choose" not in request.GET:
        return redirect("overview", slug=chosen.slug)
    return render(request, "dashboard/choose.html", {"tenants": found})


@login_required
@require_safe
def staff_tenants(request: HttpRequest) -> HttpResponse:
    """All tenants with their use against their limits (staff; 404 for others)."""
    if not getattr(request.user, "is_staff", False):
        raise Http404
    rows = all_tenants_load()
    context = {
        "rows": rows,
        "server": server_use(),
        "weights": sum(row.weight for row in rows) or 1.0,
        "tenants": tenants_of(request.user),
        "page_name": "staff_tenants",
    }
    return render(request, "dashboard/staff_tenants.html", context)
