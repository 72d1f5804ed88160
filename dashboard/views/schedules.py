"""What admins do with schedules from their pages: make, edit, pause, resume, fill in, delete."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from dashboard.forms import Wrong, decoded, overtaken, seen, told, workflow_choices
from dashboard.views.actions import actor_of
from dashboard.views.show import access_or_404, back_with, frame, refused
from orchestrator.domain.errors import MillraceError, NotFound
from orchestrator.models import Schedule
from orchestrator.selectors.schedules import access_schedule, document
from orchestrator.services import schedules as services
from tenants.access import Access
from tenants.errors import RoleRequired, TenantsError
from tenants.models import Role, Tenant

LABELS = {
    "name": "Name",
    "workflow": "Workflow",
    "input": "Input",
    "labels": "Labels",
    "priority": "Priority",
    "cron": "Cron expression",
    "timezone": "Time zone of the expression",
    "interval": "Interval",
    "start_at": "Not before",
    "jitter": "Jitter",
    "overlap": "While an earlier run goes on",
    "missed": "Times that went by while the server was away",
}
"""What the form calls what the API calls otherwise."""
EMPTY = {"overlap": "skip", "missed": "one", "timezone": "UTC", "kind": "cron", "input": "{}"}
TEXTS = ("name", "workflow", "jitter", "start_at")
SPAN = ("from", "to")
"""Of a backfill."""


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def edit(request: HttpRequest, slug: str, name: str | None = None) -> HttpResponseBase:
    """The form of a schedule; what is wrong with it is said beside what was typed (admins)."""
    try:
        access = access_or_404(request, slug, Role.ADMIN)
        row = None if name is None else access_schedule(tenant=access.tenant, name=name)
    except RoleRequired as error:
        return refused(request, error.message, error.status)
    except NotFound as error:
        raise Http404(error.message) from error
    if request.method != "POST":
        values = (
            {**EMPTY, "workflow": request.GET.get("workflow", "")} if row is None else typed(row)
        )
        return _form(request, access, row, values, [])
    values = {key: value.strip() for key, value in request.POST.dict().items()}
    if wrong := overtaken(row, values):
        return _form(request, access, row, values, wrong)
    try:
        said = body(values)
        if row is None:
            made = services.create_schedule(
                tenant=access.tenant, body=said, actor=actor_of(request)
            )
        else:
            made, _ = services.replace_schedule(
                tenant=access.tenant, name=row.name, body=said, actor=actor_of(request)
            )
    except (MillraceError, TenantsError) as error:
        wrong = told(error, LABELS)
    else:
        messages.success(request, f"The schedule {made.name} is saved.")
        return redirect("schedule", slug=slug, name=made.name)
    return _form(request, access, row, values, wrong)


def _form(
    request: HttpRequest,
    access: Access,
    row: Schedule | None,
    values: Mapping[str, str],
    wrong: list[Wrong],
) -> HttpResponseBase:
    context = {
        **frame(request, access),
        "page_name": "schedule",
        "schedule": row,
        "values": values,
        "wrong": wrong,
        "seen": seen(row),
        "names": workflow_choices(access.tenant, [values.get("workflow", "")]),
        "overlaps": {
            "skip": "Skip it",
            "queue": "Wait for the earlier one",
            "allow": "Run up to so many at once",
            "cancel_previous": "Cancel the earlier one",
        },
        "misses": {
            "one": "Start one run for all of them",
            "skip": "Start none",
            "all": "Start the newest so many",
        },
    }
    status = 422 if wrong else 200
    return render(request, "dashboard/schedule_form.html", context, status=status)


def body(values: Mapping[str, str]) -> dict[str, object]:
    """What the form says, as the API takes it.  Raises Invalid."""
    said: dict[str, object] = {key: values[key] for key in TEXTS if values.get(key)}
    if values.get("kind") == "interval":
        said["interval"] = values.get("interval", "")
    else:
        said |= {"cron": values.get("cron", ""), "timezone": values.get("timezone") or "UTC"}
    for key, counted in (("overlap", "allow"), ("missed", "all")):
        word = values.get(key, "")
        number = values.get(f"{key}_limit", "")
        if word == counted:
            said[key] = {word: int(number) if number.isdecimal() and len(number) < 9 else number}
        elif word:
            said[key] = word
    if values.get("priority"):
        text = values["priority"]
        said["priority"] = int(text) if text.isdecimal() and len(text) < 9 else text
    said["input"] = decoded(values, "input", "{}")
    said["labels"] = decoded(values, "labels", "{}")
    return said


def typed(row: Schedule) -> dict[str, str]:
    """A schedule as the form shows it."""
    said: dict[str, Any] = document(row)
    found = {
        key: str(said[key]) for key in (*TEXTS, "cron", "interval", "timezone", "priority")
        if said.get(key) is not None
    }  # fmt: skip
    found["kind"] = "cron" if row.cron is not None else "interval"
    found |= {"overlap": row.overlap, "overlap_limit": str(row.overlap_limit)}
    found |= {"missed": row.missed, "missed_limit": str(row.missed_limit)}
    for key in ("input", "labels"):
        found[key] = json.dumps(said[key], indent=2, ensure_ascii=False)
    return found


def _pause(tenant: Tenant, name: str, request: HttpRequest) -> str:
    reason = request.POST.get("reason", "").replace("\0", "")
    services.pause_schedule(tenant=tenant, name=name, reason=reason, actor=actor_of(request))
    return "It is paused: nothing starts until it is resumed."


def _resume(tenant: Tenant, name: str, request: HttpRequest) -> str:
    services.resume_schedule(tenant=tenant, name=name, actor=actor_of(request))
    return "It goes on with its next time."


def _backfill(tenant: Tenant, name: str, request: HttpRequest) -> str:
    said = {key: _moment(request.POST.get(key, "")) for key in SPAN}
    made = services.backfill_schedule(tenant=tenant, name=name, body=said, actor=actor_of(request))
    return f"{made.accepted} of {made.count} times had no run and get one."


def _delete(tenant: Tenant, name: str, request: HttpRequest) -> str:
    services.delete_schedule(tenant=tenant, name=name, actor=actor_of(request))
    return f"The schedule {name} is deleted."


def _moment(text: str) -> str:
    """A form's local time counts as UTC."""
    text = text.strip()
    if len(text) in (16, 19) and text[10:11] in ("T", " "):
        return f"{text}{':00' if len(text) == 16 else ''}Z"
    return text


ACTIONS: dict[str, Callable[[Tenant, str, HttpRequest], str]] = {
    "pause": _pause,
    "resume": _resume,
    "backfill": _backfill,
    "delete": _delete,
}


@login_required
@require_POST
def act(request: HttpRequest, slug: str, name: str, action: str) -> HttpResponseBase:
    """Pause, resume, fill in or delete a schedule (admins)."""
    carry_out = ACTIONS.get(action)
    if carry_out is None:
        raise Http404
    try:
        access = access_or_404(request, slug, Role.ADMIN)
        messages.success(request, carry_out(access.tenant, name, request))
    except RoleRequired as error:
        return refused(request, error.message, error.status)
    except NotFound as error:
        raise Http404(error.message) from error
    except MillraceError as error:
        wrong = "; ".join(map(str, told(error, {})))
        if action == "backfill":
            typed = {key: request.POST.get(key, "") for key in SPAN}
            typed["wrong"] = f"Nothing was started. {wrong}"
            return back_with(request, typed, "schedule", slug=slug, name=name)
        messages.error(request, wrong)
    else:
        if action == "delete":
            return redirect("schedules", slug=slug)
    return redirect("schedule", slug=slug, name=name)
