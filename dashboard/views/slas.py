"""What admins do with SLAs from their pages: make, try on the past, edit, delete, take what is proposed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.views.decorators.http import require_http_methods, require_POST

from dashboard.forms import Wrong, decoded, overtaken, seen, told, workflow_choices
from dashboard.pages.slas import KINDS
from dashboard.views.actions import actor_of
from dashboard.views.show import access_or_404, frame, refused
from orchestrator.domain.errors import MillraceError, NotFound
from orchestrator.domain.slo import words
from orchestrator.models import Sla
from orchestrator.selectors.slas import access_sla, document
from orchestrator.services import slas as services
from tenants.access import Access
from tenants.errors import RoleRequired, TenantsError
from tenants.models import Role, Tenant

LABELS = {
    "name": "Name",
    "kind": "Kind",
    "threshold": "Threshold",
    "target": "Target",
    "window": "Window",
    "workflows": "Workflows",
    "labels": "Labels",
    "description": "Description",
    "burn": "Burn rates",
    "pairs": "Burn rates",
    "for": "Fires when bad for",
    "clear_for": "Resolves when good for",
    "clear_threshold": "Good again past",
    "min_samples": "Samples at least",
    "no_data": "Without any sample",
    "severity": "Severity",
}
"""What the form calls what the API calls otherwise."""
EMPTY: dict[str, Any] = {
    "kind": "success_ratio",
    "window": "1h",
    "min_samples": "1",
    "for": "5m",
    "clear_for": "5m",
    "severity": "warning",
    "no_data": "ok",
    "burn": "none",
    "enabled": "on",
    "workflows": [],
}
TEXTS = ("name", "description", "kind", "window", "for", "clear_for", "severity", "no_data")
PREVIEW_S = 1.5
INTERVALS_SHOWN = 10
RUNS_SHOWN = 10


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def edit(request: HttpRequest, slug: str, name: str | None = None) -> HttpResponseBase:
    """The form of an SLA, also with what it would have done; what is wrong is said beside what was
    typed (admins)."""
    try:
        access = access_or_404(request, slug, Role.ADMIN)
        row = None if name is None else access_sla(tenant=access.tenant, name=name)
    except RoleRequired as error:
        return refused(request, error.message, error.status)
    except NotFound as error:
        raise Http404(error.message) from error
    if request.method != "POST":
        values = EMPTY if row is None else typed(row)
        return _form(request, access, row, values, [])
    values = _values(request)
    found: dict[str, Any] | None = None
    wrong: list[Wrong] = []
    try:
        if "try" in request.POST:
            found = tried(access.tenant, values)
        else:
            if wrong := overtaken(row, values):
                return _form(request, access, row, values, wrong)
            made = _save(request, access.tenant, row, values)
            messages.success(request, f"The SLA {made.name} is saved.")
            return redirect("sla", slug=slug, name=made.name)
    except (MillraceError, TenantsError) as error:
        wrong = told(error, LABELS)
    return _form(request, access, row, values, wrong, found)


@login_required
@require_POST
def preview(request: HttpRequest, slug: str) -> HttpResponseBase:
    """What the form's rule would have done, as the part of the page that says so (admins)."""
    try:
        access = access_or_404(request, slug, Role.ADMIN)
    except RoleRequired as error:
        return refused(request, error.message, error.status)
    context: dict[str, Any] = {"tenant": access.tenant}
    try:
        context["preview"] = tried(access.tenant, _values(request))
    except (MillraceError, TenantsError) as error:
        context["preview_wrong"] = told(error, LABELS)
    return HttpResponse(render_to_string("dashboard/sla_form.html#preview", context))


def tried(tenant: Tenant, values: Mapping[str, Any]) -> dict[str, Any]:
    """What a rule would have done in the last 14 days, in words.  Raises Invalid."""
    said = {key: value for key, value in body(values).items() if key != "name"}
    found = services.preview_sla(tenant=tenant, body=said, budget_s=PREVIEW_S)
    share = None if not found.samples else words.percent(found.good / found.samples)
    return {
        "found": found,
        "count": len(found.found.firings),
        "intervals": found.intervals()[:INTERVALS_SHOWN],
        "firing_s": found.found.firing_s,
        "bad_s": found.found.bad_s,
        "insufficient_s": found.found.insufficient_s,
        "share": share,
        "runs": found.run_ids[:RUNS_SHOWN],
    }


def _save(request: HttpRequest, tenant: Tenant, row: Sla | None, values: Mapping[str, Any]) -> Sla:
    said = body(values)
    if row is None:
        return services.create_sla(tenant=tenant, body=said, actor=actor_of(request))
    made, _ = services.replace_sla(tenant=tenant, name=row.name, body=said, actor=actor_of(request))
    return made


def _values(request: HttpRequest) -> dict[str, Any]:
    values: dict[str, Any] = {key: value.strip() for key, value in request.POST.dict().items()}
    values["workflows"] = [one for one in request.POST.getlist("workflows") if one]
    return values


def _form(
    request: HttpRequest,
    access: Access,
    row: Sla | None,
    values: Mapping[str, Any],
    wrong: list[Wrong],
    found: dict[str, Any] | None = None,
) -> HttpResponseBase:
    context = {
        **frame(request, access),
        "page_name": "sla",
        "sla": row,
        "values": values,
        "fires_after": values.get("for", ""),
        "wrong": wrong,
        "seen": seen(row),
        "names": workflow_choices(access.tenant, values.get("workflows", ())),
        "kinds": {str(kind): word for kind, word in KINDS.items()},
        "no_datas": {"ok": "It is good", "bad": "It is bad", "keep": "It stays as it was"},
        "burns": {
            "none": "Its value alone",
            "usual": "The usual burn rates (1h/5m × 14.4, 6h/30m × 6)",
            "own": "The burn rates below",
        },
        "preview": found,
    }
    status = 422 if wrong else 200
    return render(request, "dashboard/sla_form.html", context, status=status)


def body(values: Mapping[str, Any]) -> dict[str, object]:
    """What the form says, as the API takes it.  Raises Invalid."""
    said: dict[str, object] = {key: values[key] for key in TEXTS if values.get(key)}
    said["workflows"] = list(values.get("workflows", ()))
    said["labels"] = decoded(values, "labels", "{}")
    for key in ("threshold", "target", "clear_threshold", "min_samples"):
        if values.get(key):
            said[key] = _number(values[key])
    if values.get("burn") == "usual":
        said["burn"] = True
    elif values.get("burn") == "own":
        said["burn"] = decoded(values, "pairs", "[]")
    said["enabled"] = bool(values.get("enabled"))
    return said


def _number(text: str) -> object:
    """`95 %` and `0.95` are numbers; anything else stays the text that it is."""
    bare = text.removesuffix("%").strip()
    try:
        number = int(bare) if bare.isdecimal() and len(bare) < 12 else float(bare)
    except ValueError:
        return text
    # 99.9 / 100 is 0.9990000000000001, and nobody means a share that exactly
    return round(number / 100, 12) if text.endswith("%") else number


def typed(row: Sla) -> dict[str, Any]:
    """A rule as the form shows it."""
    said = document(row)
    keys = (*TEXTS, "threshold", "target", "clear_threshold", "min_samples")
    found: dict[str, Any] = {key: str(said[key]) for key in keys if said[key] is not None}
    found["workflows"] = said["workflows"]
    found["labels"] = json.dumps(said["labels"], ensure_ascii=False)
    found["burn"] = "own" if said["burn"] else "none"
    found["pairs"] = json.dumps(said["burn"])
    found["enabled"] = "on" if row.enabled else ""
    return found


def _delete(request: HttpRequest, tenant: Tenant, name: str) -> str:
    services.delete_sla(tenant=tenant, name=name, actor=actor_of(request))
    return f"The SLA {name} is deleted."


def _accept(request: HttpRequest, tenant: Tenant, name: str) -> str:
    made = services.accept_proposal(tenant=tenant, workflow=name, actor=actor_of(request))
    return f"The SLA {made.name} is made."


def _dismiss(request: HttpRequest, tenant: Tenant, name: str) -> str:
    services.dismiss_proposal(tenant=tenant, workflow=name, actor=actor_of(request))
    return f"Nothing is proposed for {name} any more."


Act = Callable[[HttpRequest, Tenant, str], str]


def _act(request: HttpRequest, slug: str, name: str, act: Act) -> HttpResponseBase:
    try:
        access = access_or_404(request, slug, Role.ADMIN)
        messages.success(request, act(request, access.tenant, name))
    except RoleRequired as error:
        return refused(request, error.message, error.status)
    except NotFound as error:
        raise Http404(error.message) from error
    except (MillraceError, TenantsError) as error:
        messages.error(request, error.message)
    return redirect("slas", slug=slug)


@login_required
@require_POST
def delete(request: HttpRequest, slug: str, name: str) -> HttpResponseBase:
    """Delete an SLA (admins)."""
    return _act(request, slug, name, _delete)


@login_required
@require_POST
def accept(request: HttpRequest, slug: str, name: str) -> HttpResponseBase:
    """Make the SLA that is proposed for a workflow (admins)."""
    return _act(request, slug, name, _accept)


@login_required
@require_POST
def dismiss(request: HttpRequest, slug: str, name: str) -> HttpResponseBase:
    """Propose nothing more for a workflow (admins)."""
    return _act(request, slug, name, _dismiss)
