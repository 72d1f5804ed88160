"""What admins do from the API keys page: make, rotate, end.

A key stands on the answer to the request that made it, and nowhere else."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from dashboard.forms import told
from dashboard.views.actions import actor_of
from dashboard.views.show import access_or_404, back_with, frame, refused
from orchestrator.domain.errors import MillraceError
from orchestrator.selectors.api_keys import api_key_view
from orchestrator.services import api_keys as services
from tenants.access import Access
from tenants.errors import ApiKeyNotFound, RoleRequired, TenantsError
from tenants.models import ApiKey, Role

LABELS = {"name": "Name", "scopes": "Scopes", "expires_at": "It ends after", "overlap": "Overlap"}


@login_required
@require_POST
def create(request: HttpRequest, slug: str) -> HttpResponseBase:
    """Make a key and show it, this once (admins)."""
    body: dict[str, object] = {
        "name": request.POST.get("name", "").strip(),
        "scopes": request.POST.getlist("scopes"),
        "expires_at": request.POST.get("expires_at", "").strip() or None,
    }
    try:
        access = access_or_404(request, slug, Role.ADMIN)
        made, raw = services.create_api_key(
            tenant=access.tenant, body=body, actor=actor_of(request)
        )
    except RoleRequired as error:
        return refused(request, error.message, error.status)
    except (MillraceError, TenantsError) as error:
        typed = {**body, "wrong": f"No key was made. {_said(error)}"}
        return back_with(request, typed, "api_keys", slug=slug)
    return _shown(request, access, made, raw)


@login_required
@require_POST
def rotate(request: HttpRequest, slug: str, key_id: str) -> HttpResponseBase:
    """Put a new key in the place of one, and show it, this once (admins)."""
    body: dict[str, object] = {}
    if overlap := request.POST.get("overlap", "").strip():
        body["overlap"] = overlap
    try:
        access = access_or_404(request, slug, Role.ADMIN)
        made, raw = services.rotate_api_key(
            tenant=access.tenant,
            key_id=key_id,
            body=body,
            actor=actor_of(request),
        )
    except RoleRequired as error:
        return refused(request, error.message, error.status)
    except ApiKeyNotFound as error:
        raise Http404(error.message) from error
    except (MillraceError, TenantsError) as error:
        messages.error(request, f"The key was not rotated. {_said(error)}")
        return redirect("api_key", slug=slug, key_id=key_id)
    return _shown(request, access, made, raw)


@login_required
@require_POST
def revoke(request: HttpRequest, slug: str, key_id: str) -> HttpResponseBase:
    """End a key (admins)."""
    try:
        access = access_or_404(request, slug, Role.ADMIN)
        services.revoke_api_key(tenant=access.tenant, key_id=key_id, actor=actor_of(request))
    except RoleRequired as error:
        return refused(request, error.message, error.status)
    except ApiKeyNotFound as error:
        raise Http404(error.message) from error
    messages.success(request, f"The key {key_id} is refused from now on.")
    return redirect("api_keys", slug=slug)


def _said(error: MillraceError | TenantsError) -> str:
    return "; ".join(map(str, told(error, LABELS)))


def _shown(request: HttpRequest, access: Access, made: ApiKey, raw: str) -> HttpResponseBase:
    """The page that shows a key, this once."""
    context = {
        **frame(request, access),
        "page_name": "api_keys",
        "key": api_key_view(made),
        "before": made.rotated_from,
        "raw": raw,
    }
    answer = render(request, "dashboard/api_key_shown.html", context)
    answer["Cache-Control"] = "no-store"
    return answer
