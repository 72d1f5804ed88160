"""What admins do from the Pools page."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from dashboard.views.actions import actor_of
from dashboard.views.show import access_or_404, back_with, refused
from orchestrator.domain.errors import Invalid, MillraceError, PoolNotFound
from orchestrator.services.pools import change_pool, create_pool, delete_pool
from tenants.errors import RoleRequired, TenantsError
from tenants.models import Role


@login_required
@require_POST
def set_pool(request: HttpRequest, slug: str) -> HttpResponseBase:
    """Resize the tenant's pool of this name, or make it (admins)."""
    name = request.POST.get("name", "").strip()
    body: dict[str, object] = {"rate": request.POST.get("rate", "").strip() or None}
    limit = request.POST.get("limit", "").strip()
    body["limit"] = int(limit) if limit.isdecimal() and len(limit) < 10 else limit
    try:
        access = access_or_404(request, slug, Role.ADMIN)
        try:
            change_pool(tenant=access.tenant, name=name, body=body, actor=actor_of(request))
        except PoolNotFound:
            create_pool(tenant=access.tenant, body={"name": name, **body}, actor=actor_of(request))
    except RoleRequired as error:
        return refused(request, error.message, error.status)
    except Invalid as error:
        found = "; ".join(f"{one.path.strip('/')}: {one.message}" for one in error.problems)
        wrong = f"Nothing was changed. {found}"
    except (MillraceError, TenantsError) as error:
        wrong = error.message
    else:
        messages.success(request, f"The pool {name} has the limit {limit}; it acts at once.")
        return redirect("pools", slug=slug)
    typed = {"name": name, "limit": limit, "rate": body["rate"] or "", "wrong": wrong}
    return back_with(request, typed, "pools", slug=slug)


@login_required
@require_POST
def remove_pool(request: HttpRequest, slug: str) -> HttpResponseBase:
    """Delete a pool of the tenant that nothing needs (admins)."""
    name = request.POST.get("name", "").strip()
    try:
        access = access_or_404(request, slug, Role.ADMIN)
        delete_pool(tenant=access.tenant, name=name, actor=actor_of(request))
        messages.success(request, f"The pool {name} is deleted.")
    except RoleRequired as error:
        return refused(request, error.message, error.status)
    except MillraceError as error:
        messages.error(request, error.message)
    return redirect("pools", slug=slug)
