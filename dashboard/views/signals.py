"""Sending a signal to a run from its page."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from dashboard.views.actions import actor_of
from dashboard.views.show import access_or_404, back_with, refused
from orchestrator.domain import jsonvalue
from orchestrator.domain.errors import Invalid, MillraceError, NotFound
from orchestrator.services.signals import send_signal
from tenants.errors import RoleRequired
from tenants.models import Role


@login_required
@require_POST
def signal(request: HttpRequest, slug: str, run_id: str, name: str) -> HttpResponseBase:
    """Send a signal with the payload that was typed (operators)."""
    text = request.POST.get(f"payload-{name}", "")
    try:
        access = access_or_404(request, slug, Role.OPERATOR)
        payload = jsonvalue.decode(text or "null")
        send_signal(
            tenant=access.tenant, run_id=run_id, name=name, body={"payload": payload},
            actor=actor_of(request),
        )  # fmt: skip
    except RoleRequired as error:
        return refused(request, error.message, error.status)
    except NotFound as error:
        raise Http404(error.message) from error
    except jsonvalue.BadJson as error:
        messages.error(request, f"The payload is not JSON: {error.message}.")
    except Invalid as error:
        found = "; ".join(f"{one.path}: {one.message}" for one in error.problems[:5])
        messages.error(request, f"The signal was not sent. {found or error.message}")
    except MillraceError as error:
        messages.error(request, error.message)
    else:
        messages.success(request, f"The signal {name} was sent.")
        return redirect("run", slug=slug, run_id=run_id)
    return back_with(request, {"signal": name, "payload": text}, "run", slug=slug, run_id=run_id)
