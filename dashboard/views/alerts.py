"""What people do about alerts from their pages; and the server's alerts, for staff.

`slug` None is the server: the same pages and forms, below `/staff/`."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_POST, require_safe

from dashboard.forms import told
from dashboard.owners import POLL_S, Owner, owner_or_404, owner_or_refusal
from dashboard.pages.alerts import alert_of, alerts_of
from dashboard.pages.channels import channels_of, silences_of
from dashboard.views.actions import actor_of
from orchestrator.domain.errors import MillraceError, NotFound
from orchestrator.selectors.alerts import access_alert, alert_view
from orchestrator.services import alerts as services
from orchestrator.services.silences import create_silence
from tenants.models import Role

LABELS = {"comment": "Comment", "duration": "For", "reason": "Reason"}


@login_required
@require_safe
def staff_alerts(request: HttpRequest) -> HttpResponseBase:
    """The server's own alerts (staff; 404 for others)."""
    owner = owner_or_404(request, None, Role.VIEWER)
    context = owner.context(
        **alerts_of(None, request.GET.dict()),
        may_act=True,
        page_name="staff_alerts",
        poll_s=POLL_S,
    )
    return render(request, "dashboard/alerts.html", context)


@login_required
@require_safe
def staff_alert(request: HttpRequest, alert_id: str) -> HttpResponseBase:
    """One of the server's alerts (staff)."""
    owner = owner_or_404(request, None, Role.VIEWER)
    try:
        found = alert_of(None, alert_id)
    except NotFound as error:
        raise Http404(error.message) from error
    context = owner.context(**found, may_act=True, page_name="staff_alerts", poll_s=POLL_S)
    return render(request, "dashboard/alert.html", context)


@login_required
@require_safe
def staff_channels(request: HttpRequest) -> HttpResponseBase:
    """Where the server's alerts are told (staff)."""
    owner = owner_or_404(request, None, Role.VIEWER)
    found = channels_of(None, request.GET.dict())
    context = owner.context(**found, may_edit=True, page_name="staff_channels", poll_s=POLL_S)
    return render(request, "dashboard/channels.html", context)


@login_required
@require_safe
def staff_silences(request: HttpRequest) -> HttpResponseBase:
    """When the server's alerts are told to nobody (staff)."""
    owner = owner_or_404(request, None, Role.VIEWER)
    found = silences_of(None, request.GET.dict())
    context = owner.context(**found, may_act=True, page_name="staff_silences", poll_s=POLL_S)
    return render(request, "dashboard/silences.html", context)


def _acknowledge(owner: Owner, alert_id: str) -> str:
    services.acknowledge_alert(
        tenant=owner.tenant, alert_id=alert_id, body=_comment(owner), actor=actor_of(owner.request)
    )
    return "It is acknowledged: it is not repeated, and its end is told."


def _resolve(owner: Owner, alert_id: str) -> str:
    services.resolve_alert(
        tenant=owner.tenant, alert_id=alert_id, body=_comment(owner), actor=actor_of(owner.request)
    )
    return "It is resolved. While its rule sees something bad, another alert begins."


def _silence(owner: Owner, alert_id: str) -> str:
    view = alert_view(access_alert(tenant=owner.tenant, alert_id=alert_id))
    labels = view["labels"]
    assert isinstance(labels, dict)
    body = {
        "match": {
            **{key: escaped(text) for key, text in labels.items()},
            "rule": escaped(str(view["rule"])),
        },
        "duration": owner.request.POST.get("duration", ""),
        "reason": owner.request.POST.get("reason", ""),
    }
    create_silence(tenant=owner.tenant, body=body, actor=actor_of(owner.request))
    return "It is silenced: nobody is told of it until that ends."


def escaped(text: str) -> str:
    """A pattern that matches this text alone."""
    return "".join(f"[{one}]" if one in "*?[" else one for one in text)


def _comment(owner: Owner) -> dict[str, str]:
    return {"comment": owner.request.POST.get("comment", "")}


ACTIONS: dict[str, Callable[[Owner, str], str]] = {
    "acknowledge": _acknowledge,
    "resolve": _resolve,
    "silence": _silence,
}


@login_required
@require_POST
def act(
    request: HttpRequest, alert_id: str, action: str, slug: str | None = None
) -> HttpResponseBase:
    """Acknowledge, resolve or silence an alert (operators; staff for the server's)."""
    owner = owner_or_refusal(request, slug, Role.OPERATOR)
    if not isinstance(owner, Owner):
        return owner
    try:
        access_alert(tenant=owner.tenant, alert_id=alert_id)
        messages.success(request, ACTIONS[action](owner, alert_id))
    except NotFound as error:
        raise Http404(error.message) from error
    except MillraceError as error:
        messages.error(request, "; ".join(map(str, told(error, LABELS))))
    return owner.redirect("alert", alert_id=alert_id)
