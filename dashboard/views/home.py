"""The way in: the tenant that was used last, or a choice."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from tenants.access import last_used, tenants_of

CHOICES = 200
"""Staff, who see all tenants, find the others on their list."""


@login_required
@require_safe
def home(request: HttpRequest) -> HttpResponseBase:
    """Lead to the tenant that was used last, or to the only one; else let choose."""
    chosen = last_used(request.user)
    found = tenants_of(request.user, limit=CHOICES)
    if chosen is None and len(found) == 1:
        chosen = found[0]
    if chosen is not None and "choose" not in request.GET:
        return redirect("overview", slug=chosen.slug)
    return render(request, "dashboard/choose.html", {"tenants": found})
