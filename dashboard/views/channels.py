"""What people do with channels, silences and maintenance windows from their pages.

`slug` None is the server: the same forms, below `/staff/`.  A webhook's secret stands on the answer to
the request that made it, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from dashboard.forms import Wrong, overtaken, parts, pattern_lines, patterns, seen, told
from dashboard.owners import POLL_S, Owner, owner_or_404, owner_or_refusal
from dashboard.pages.channels import channel_of
from dashboard.views.actions import actor_of
from orchestrator.domain import jsonvalue
from orchestrator.domain.errors import MillraceError, NotFound
from orchestrator.models import Channel, MaintenanceWindow, Silence
from orchestrator.selectors.channels import (
    access_channel,
    access_silence,
    access_window,
    channel_view,
    window_view,
)
from orchestrator.services import channels, silences
from tenants.errors import TenantsError
from tenants.models import Role

NEW_CHANNEL = {
    "kind": "webhook", "severity": "warning", "group_by": "rule", "group_wait": "10s",
    "repeat": "4h", "resolved": "on", "enabled": "on",
}  # fmt: skip
KINDS = {
    "webhook": "Webhook, signed",
    "slack": "Slack or what takes its messages",
    "email": "E-mail",
    "apprise": "Another service (apprise URL)",
}
LABELS = {
    "name": "Name",
    "kind": "Kind",
    "url": "Address",
    "to": "E-mail addresses",
    "severity": "Takes",
    "match": "Of these alerts",
    "group_by": "One message per",
    "group_wait": "Collects for",
    "repeat": "Repeats every",
    "duration": "For",
    "reason": "Reason",
}
WINDOW_LABELS = {
    **LABELS,
    "match": "Of these alerts nobody is told",
    "cron": "Cron expression",
    "timezone": "Time zone",
    "duration": "Open for",
    "starts_at": "Once: from",
    "ends_at": "Once: to",
}
"""What the forms call what the API calls otherwise."""


def channel_body(values: Mapping[str, str]) -> dict[str, object]:
    """What the form of a channel says, as the API takes it."""
    kind = values.get("kind", "")
    said: dict[str, object] = {"kind": kind, "severity": values.get("severity", "")}
    if values.get("name"):
        said["name"] = values["name"]
    if kind == "email":
        said["to"] = parts(values.get("to", ""))
    elif values.get("url"):
        said["url"] = values["url"]
    said["match"] = patterns(values.get("match", ""))
    said["group_by"] = parts(values.get("group_by", ""))
    if values.get("group_wait"):
        said["group_wait"] = values["group_wait"]
    said["repeat"] = values.get("repeat") or None
    said["resolved"] = values.get("resolved") == "on"
    said["enabled"] = values.get("enabled") == "on"
    return said


def channel_values(row: Channel) -> dict[str, str]:
    """A channel as its form shows it; never its address."""
    view: dict[str, Any] = channel_view(row)
    return {
        "name": row.name,
        "kind": row.kind,
        "to": "\n".join(row.to),
        "severity": row.severity,
        "match": pattern_lines(view["match"]),
        "group_by": ", ".join(row.group_by),
        "group_wait": view["group_wait"],
        "repeat": view["repeat"] or "",
        "resolved": "on" if row.tell_resolved else "",
        "enabled": "on" if row.enabled else "",
    }


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def edit_channel(
    request: HttpRequest, slug: str | None = None, name: str | None = None
) -> HttpResponseBase:
    """The form of a channel; what is wrong with it is said beside what was typed (admins)."""
    owner = owner_or_refusal(request, slug, Role.ADMIN)
    if not isinstance(owner, Owner):
        return owner
    try:
        row = None if name is None else access_channel(tenant=owner.tenant, name=name)
    except NotFound as error:
        raise Http404(error.message) from error
    if request.method != "POST":
        return _channel_form(owner, row, NEW_CHANNEL if row is None else channel_values(row), [])
    values = {key: value.strip() for key, value in request.POST.dict().items()}
    if wrong := overtaken(row, values):
        return _channel_form(owner, row, values, wrong)
    actor = actor_of(request)
    try:
        said = channel_body(values)
        if row is None:
            made, secret = channels.create_channel(tenant=owner.tenant, body=said, actor=actor)
        else:
            made, secret = channels.replace_channel(
                tenant=owner.tenant, name=row.name, body=said, actor=actor
            )
    except (MillraceError, TenantsError) as error:
        return _channel_form(owner, row, values, told(error, LABELS))
    if secret is not None:
        return _secret(owner, made, secret)
    messages.success(request, f"The channel {made.name} is saved.")
    return owner.redirect("channel", name=made.name)


def _channel_form(
    owner: Owner, row: Channel | None, values: Mapping[str, str], wrong: list[Wrong]
) -> HttpResponseBase:
    context = owner.context(
        page_name="channel", channel=row, values=values, wrong=wrong, seen=seen(row), kinds=KINDS
    )
    status = 422 if wrong else 200
    return render(owner.request, "dashboard/channel_form.html", context, status=status)


def _secret(owner: Owner, row: Channel, secret: str) -> HttpResponseBase:
    """The page that shows a secret, this once."""
    context = owner.context(page_name="channel", channel=channel_view(row), secret=secret)
    answer = render(owner.request, "dashboard/channel_secret.html", context)
    answer["Cache-Control"] = "no-store"
    return answer


@login_required
@require_safe
def staff_channel(request: HttpRequest, name: str) -> HttpResponseBase:
    """One of the server's channels (staff)."""
    owner = owner_or_404(request, None, Role.ADMIN)
    try:
        found = channel_of(None, name, request.GET.dict())
    except NotFound as error:
        raise Http404(error.message) from error
    context = owner.context(**found, may_edit=True, page_name="staff_channels", poll_s=POLL_S)
    return render(request, "dashboard/channel.html", context)


@login_required
@require_POST
def act_on_channel(
    request: HttpRequest, name: str, action: str, slug: str | None = None
) -> HttpResponseBase:
    """Try a channel, give it a new secret, delete it (admins)."""
    owner = owner_or_refusal(request, slug, Role.ADMIN)
    if not isinstance(owner, Owner):
        return owner
    try:
        actor = actor_of(request)
        if action == "rotate":
            row, secret = channels.rotate_channel(tenant=owner.tenant, name=name, actor=actor)
            return _secret(owner, row, secret)
        if action == "delete":
            channels.delete_channel(tenant=owner.tenant, name=name, actor=actor)
            messages.success(request, f"The channel {name} is deleted.")
            return owner.redirect("channels")
        channels.test_channel(tenant=owner.tenant, name=name, actor=actor)
        messages.success(request, "A test is on its way: what becomes of it stands below.")
    except NotFound as error:
        raise Http404(error.message) from error
    except MillraceError as error:
        messages.error(request, "; ".join(map(str, told(error, LABELS))))
    return owner.redirect("channel", name=name)


def silence_body(values: Mapping[str, str], row: Silence | None) -> dict[str, object]:
    """What the form of a silence says, as the API takes it; of one that is there, no duration keeps its
    end."""
    said: dict[str, object] = {
        "match": patterns(values.get("match", "")),
        "reason": values.get("reason", ""),
    }
    if row is not None and not values.get("duration"):
        return {**said, "ends_at": row.ends_at.isoformat()}
    return {**said, "duration": values.get("duration", "")}


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def edit_silence(
    request: HttpRequest, slug: str | None = None, silence_id: str | None = None
) -> HttpResponseBase:
    """The form of a silence (operators)."""
    owner = owner_or_refusal(request, slug, Role.OPERATOR)
    if not isinstance(owner, Owner):
        return owner
    tenant = owner.tenant
    try:
        row = None if silence_id is None else access_silence(tenant=tenant, silence_id=silence_id)
    except NotFound as error:
        raise Http404(error.message) from error
    values = {"duration": "1h"}
    if row is not None:
        values = {"match": pattern_lines(jsonvalue.decode(row.matchers)), "reason": row.reason}
    wrong: list[Wrong] = []
    if request.method == "POST":
        values = {key: value.strip() for key, value in request.POST.dict().items()}
        actor = actor_of(request)
        try:
            body = silence_body(values, row)
            if row is None:
                silences.create_silence(tenant=tenant, body=body, actor=actor)
            else:
                silences.replace_silence(tenant=tenant, silence_id=row.pk, body=body, actor=actor)
        except MillraceError as error:
            wrong = told(error, LABELS)
        else:
            said = "It is silenced." if row is None else "The silence is saved."
            messages.success(request, said)
            return owner.redirect("silences")
    context = owner.context(page_name="silence", silence=row, values=values, wrong=wrong)
    return render(request, "dashboard/silence_form.html", context, status=422 if wrong else 200)


@login_required
@require_POST
def end_silence(request: HttpRequest, silence_id: str, slug: str | None = None) -> HttpResponseBase:
    """End a silence (operators)."""
    owner = owner_or_refusal(request, slug, Role.OPERATOR)
    if not isinstance(owner, Owner):
        return owner
    try:
        access_silence(tenant=owner.tenant, silence_id=silence_id)
        silences.end_silence(tenant=owner.tenant, silence_id=silence_id, actor=actor_of(request))
    except NotFound as error:
        raise Http404(error.message) from error
    except MillraceError as error:
        messages.error(request, error.message)
    else:
        messages.success(request, "The silence is over.")
    return owner.redirect("silences")


WINDOW_TEXTS: dict[str, Callable[[Mapping[str, str]], bool]] = {
    "cron": lambda values: values.get("kind") != "once",
    "duration": lambda values: values.get("kind") != "once",
    "timezone": lambda values: values.get("kind") != "once",
    "starts_at": lambda values: values.get("kind") == "once",
    "ends_at": lambda values: values.get("kind") == "once",
}


def window_body(values: Mapping[str, str]) -> dict[str, object]:
    """What the form of a maintenance window says, as the API takes it."""
    said: dict[str, object] = {
        "match": patterns(values.get("match", "")),
        "reason": values.get("reason", ""),
        "enabled": values.get("enabled") == "on",
    }
    if values.get("name"):
        said["name"] = values["name"]
    for key, counts in WINDOW_TEXTS.items():
        text = values.get(key, "")
        if counts(values) and (text or key == "cron"):
            local = key.endswith("_at") and len(text) == 16
            said[key] = f"{text}:00Z" if local else text
    return said


def window_values(row: MaintenanceWindow) -> dict[str, str]:
    """A maintenance window as its form shows it."""
    view: dict[str, Any] = window_view(row, row.updated_at)
    said = {key: view[key] or "" for key in ("name", "reason", "cron", "duration", "timezone")}
    for key in ("starts_at", "ends_at"):
        said[key] = "" if view[key] is None else f"{view[key]:%Y-%m-%dT%H:%M}"
    said["match"] = pattern_lines(jsonvalue.decode(row.matchers))
    return {
        **said,
        "kind": "cron" if row.cron is not None else "once",
        "enabled": "on" if row.enabled else "",
    }


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def edit_window(
    request: HttpRequest, slug: str | None = None, name: str | None = None
) -> HttpResponseBase:
    """The form of a maintenance window (operators)."""
    owner = owner_or_refusal(request, slug, Role.OPERATOR)
    if not isinstance(owner, Owner):
        return owner
    try:
        row = None if name is None else access_window(tenant=owner.tenant, name=name)
    except NotFound as error:
        raise Http404(error.message) from error
    empty = {"kind": "cron", "timezone": "UTC", "duration": "1h", "enabled": "on"}
    values = empty if row is None else window_values(row)
    wrong: list[Wrong] = []
    if request.method == "POST":
        values = {key: value.strip() for key, value in request.POST.dict().items()}
        actor = actor_of(request)
        try:
            said = window_body(values)
            if row is None:
                made = silences.create_window(tenant=owner.tenant, body=said, actor=actor)
            else:
                made, _ = silences.replace_window(
                    tenant=owner.tenant, name=row.name, body=said, actor=actor
                )
        except (MillraceError, TenantsError) as error:
            wrong = told(error, WINDOW_LABELS)
        else:
            messages.success(request, f"The window {made.name} is saved.")
            return owner.redirect("silences")
    context = owner.context(page_name="silence", window=row, values=values, wrong=wrong)
    return render(request, "dashboard/window_form.html", context, status=422 if wrong else 200)


@login_required
@require_POST
def delete_window(request: HttpRequest, name: str, slug: str | None = None) -> HttpResponseBase:
    """Delete a maintenance window (operators)."""
    owner = owner_or_refusal(request, slug, Role.OPERATOR)
    if not isinstance(owner, Owner):
        return owner
    try:
        silences.delete_window(tenant=owner.tenant, name=name, actor=actor_of(request))
    except NotFound as error:
        raise Http404(error.message) from error
    messages.success(request, f"The window {name} is deleted.")
    return owner.redirect("silences")
