"""What admins do with triggers from their pages: make, edit, rotate, delete.

A secret stands on the answer to the request that made it, and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from dashboard.forms import Wrong, decoded, overtaken, seen, told, workflow_choices
from dashboard.views.actions import actor_of
from dashboard.views.show import access_or_404, frame, refused
from orchestrator.domain import jsonvalue
from orchestrator.domain.errors import MillraceError, NotFound
from orchestrator.models import Trigger
from orchestrator.selectors.triggers import access_trigger, rate, trigger_view
from orchestrator.services import triggers as services
from tenants.access import Access
from tenants.errors import RoleRequired, TenantsError
from tenants.models import Role

LABELS = {
    "name": "Name",
    "workflow": "Workflow",
    "input": "Input",
    "labels": "Labels",
    "priority": "Priority",
    "scheme": "Signed as",
    "dedup_key": "The same request is one with the same",
    "rate": "At most",
}
"""What the form calls what the API calls otherwise."""
EMPTY = {"scheme": "millrace", "rate": "600/1m", "enabled": "on"}
TEXTS = ("name", "workflow", "scheme", "dedup_key", "rate")


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def edit(request: HttpRequest, slug: str, name: str | None = None) -> HttpResponseBase:
    """The form of a trigger; what is wrong with it is said beside what was typed (admins)."""
    try:
        access = access_or_404(request, slug, Role.ADMIN)
        row = None if name is None else access_trigger(tenant=access.tenant, name=name)
    except RoleRequired as error:
        return refused(request, error.message, error.status)
    except NotFound as error:
        raise Http404(error.message) from error
    if request.method != "POST":
        return _form(request, access, row, EMPTY if row is None else typed(row), [])
    values = {key: value.strip() for key, value in request.POST.dict().items()}
    if wrong := overtaken(row, values):
        return _form(request, access, row, values, wrong)
    secret: str | None = None
    try:
        said, actor = body(values), actor_of(request)
        if row is None:
            made, secret = services.create_trigger(tenant=access.tenant, body=said, actor=actor)
        else:
            made, secret = services.replace_trigger(
                tenant=access.tenant, name=row.name, body=said, actor=actor
            )
    except (MillraceError, TenantsError) as error:
        wrong = told(error, LABELS)
    else:
        if secret is not None:
            return _secret(request, access, made, secret)
        messages.success(request, f"The trigger {made.name} is saved.")
        return redirect("trigger", slug=slug, name=made.name)
    return _form(request, access, row, values, wrong)


def _form(
    request: HttpRequest,
    access: Access,
    row: Trigger | None,
    values: Mapping[str, str],
    wrong: list[Wrong],
) -> HttpResponseBase:
    context = {
        **frame(request, access),
        "page_name": "trigger",
        "trigger": row,
        "values": values,
        "wrong": wrong,
        "seen": seen(row),
        "names": workflow_choices(access.tenant, [values.get("workflow", "")]),
    }
    status = 422 if wrong else 200
    return render(request, "dashboard/trigger_form.html", context, status=status)


def _secret(request: HttpRequest, access: Access, row: Trigger, secret: str) -> HttpResponseBase:
    """The page that shows a secret, this once."""
    context = {
        **frame(request, access),
        "page_name": "trigger",
        "trigger": trigger_view(row, access.tenant),
        "secret": secret,
    }
    answer = render(request, "dashboard/trigger_secret.html", context)
    answer["Cache-Control"] = "no-store"
    return answer


def body(values: Mapping[str, str]) -> dict[str, object]:
    """What the form says, as the API takes it.  Raises Invalid."""
    said: dict[str, object] = {key: values[key] for key in TEXTS if values.get(key)}
    said["enabled"] = values.get("enabled") == "on"
    if values.get("priority"):
        text = values["priority"]
        said["priority"] = int(text) if text.isdecimal() and len(text) < 9 else text
    if values.get("input"):
        said["input"] = decoded(values, "input", "{}")
    said["labels"] = decoded(values, "labels", "{}")
    return said


def typed(row: Trigger) -> dict[str, str]:
    """A trigger as the form shows it."""
    found: dict[str, Any] = {
        "name": row.name,
        "workflow": row.workflow.name,
        "scheme": row.scheme,
        "dedup_key": row.dedup_key or "",
        "rate": rate(row),
        "priority": "" if row.priority is None else str(row.priority),
        "enabled": "on" if row.enabled else "",
    }
    for key, text in (("input", row.input), ("labels", row.labels)):
        value = None if text is None else jsonvalue.decode(text)
        found[key] = "" if value is None else json.dumps(value, indent=2, ensure_ascii=False)
    return found


@login_required
@require_POST
def rotate(request: HttpRequest, slug: str, name: str) -> HttpResponseBase:
    """Give a trigger a new secret, shown once; the one before counts for a day (admins)."""
    try:
        access = access_or_404(request, slug, Role.ADMIN)
        row, secret = services.rotate_trigger(
            tenant=access.tenant, name=name, body={}, actor=actor_of(request)
        )
    except RoleRequired as error:
        return refused(request, error.message, error.status)
    except NotFound as error:
        raise Http404(error.message) from error
    return _secret(request, access, row, secret)


@login_required
@require_POST
def delete(request: HttpRequest, slug: str, name: str) -> HttpResponseBase:
    """Delete a trigger (admins)."""
    try:
        access = access_or_404(request, slug, Role.ADMIN)
        services.delete_trigger(tenant=access.tenant, name=name, actor=actor_of(request))
    except RoleRequired as error:
        return refused(request, error.message, error.status)
    except NotFound as error:
        raise Http404(error.message) from error
    messages.success(request, f"The trigger {name} is deleted.")
    return redirect("triggers", slug=slug)
