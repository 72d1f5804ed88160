"""What admins do with secrets from their pages: set and delete.  No page shows a value."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from dashboard.views.actions import actor_of
from dashboard.views.show import access_or_404, refused
from tenants.errors import RoleRequired, SecretNotFound, TenantsError
from tenants.models import Role
from tenants.services import create_secret, delete_secret, set_secret


def _value(request: HttpRequest) -> str:
    """What was typed, with lines that end as in a file: browsers send CR LF."""
    return request.POST.get("value", "").replace("\r\n", "\n")


@sensitive_post_parameters("value")
@login_required
@require_POST
def new(request: HttpRequest, slug: str) -> HttpResponseBase:
    """Make a secret (admins)."""
    name = request.POST.get("name", "").strip()
    try:
        access = access_or_404(request, slug, Role.ADMIN)
        create_secret(
            tenant=access.tenant,
            name=name,
            value=_value(request),
            actor=actor_of(request),
        )
    except RoleRequired as error:
        return refused(request, error.message, error.status)
    except TenantsError as error:
        messages.error(request, f"Nothing was kept. {error.message}")
    else:
        messages.success(request, f"The secret {name} is kept. Steps name it secrets.{name}.")
    return redirect("secrets", slug=slug)


@sensitive_post_parameters("value")
@login_required
@require_POST
def change(request: HttpRequest, slug: str, name: str) -> HttpResponseBase:
    """Give a secret another value (admins)."""
    try:
        access = access_or_404(request, slug, Role.ADMIN)
        row, _ = set_secret(
            tenant=access.tenant,
            name=name,
            value=_value(request),
            actor=actor_of(request),
        )
    except RoleRequired as error:
        return refused(request, error.message, error.status)
    except TenantsError as error:
        messages.error(request, f"Nothing was changed. {error.message}")
    else:
        messages.success(request, f"Version {row.version} is kept; steps that start now get it.")
    return redirect("secret", slug=slug, name=name)


@login_required
@require_POST
def delete(request: HttpRequest, slug: str, name: str) -> HttpResponseBase:
    """Forget a secret (admins)."""
    try:
        access = access_or_404(request, slug, Role.ADMIN)
        delete_secret(tenant=access.tenant, name=name, actor=actor_of(request))
    except RoleRequired as error:
        return refused(request, error.message, error.status)
    except SecretNotFound as error:
        raise Http404(error.message) from error
    messages.success(request, f"The secret {name} is deleted.")
    return redirect("secrets", slug=slug)
