"""What people do from a page.  Forms, so that they work without JavaScript too."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from dashboard.views.show import access_or_404, back_with, refused
from orchestrator.domain import jsonvalue
from orchestrator.domain.errors import Invalid, MillraceError, NotFound
from orchestrator.services.runs import cancel_run, submit_run
from orchestrator.services.undoing import undo_run
from tenants.access import Access
from tenants.actors import Actor
from tenants.errors import RoleRequired
from tenants.models import Role


def actor_of(request: HttpRequest, user: User | None = None) -> Actor:
    """The signed-in person (or the one who is about to be), for the audit log."""
    name = (user or request.user).get_username()
    return Actor("user", name, request.META.get("REMOTE_ADDR", ""))


def carry_out(
    request: HttpRequest,
    slug: str,
    act: Callable[[Access], object],
    said: str,
    refuse: Callable[[str], HttpResponseBase] | None = None,
) -> HttpResponseBase | None:
    """Let an operator act, and say how it went; None: lead back to the page.  Where something was typed,
    `refuse` leads back to it with what is wrong."""
    try:
        act(access_or_404(request, slug, Role.OPERATOR))
        messages.success(request, said)
        return None
    except RoleRequired as error:
        return refused(request, error.message, error.status)
    except NotFound as error:
        raise Http404(error.message) from error
    except jsonvalue.BadJson as error:
        wrong = f"The output is not JSON: {error.message}."
    except Invalid as error:
        found = "; ".join(one.message for one in error.problems[:5])
        wrong = f"Nothing was done: {found or error.message}."
    except MillraceError as error:
        wrong = error.message
    if refuse is not None:
        return refuse(wrong)
    messages.error(request, wrong)
    return None


@login_required
@require_POST
def cancel(request: HttpRequest, slug: str, run_id: str) -> HttpResponseBase:
    """Cancel a run (operators)."""

    def act(access: Access) -> None:
        cancel_run(tenant=access.tenant, run_id=run_id, actor=actor_of(request))

    said = "The run is being cancelled: what runs is asked to end."
    return carry_out(request, slug, act, said) or redirect("run", slug=slug, run_id=run_id)


@login_required
@require_POST
def undo(request: HttpRequest, slug: str, run_id: str) -> HttpResponseBase:
    """Undo a run that has ended (operators)."""

    def act(access: Access) -> None:
        undo_run(tenant=access.tenant, run_id=run_id, actor=actor_of(request))

    said = "The run is being undone, its last steps first."
    return carry_out(request, slug, act, said) or redirect("run", slug=slug, run_id=run_id)


@login_required
@require_POST
def run_now(request: HttpRequest, slug: str, name: str) -> HttpResponseBase:
    """Start a run of a workflow with the input that was typed (operators)."""
    try:
        access = access_or_404(request, slug, Role.OPERATOR)
        given = jsonvalue.decode(request.POST.get("input") or "{}")
        made = submit_run(
            tenant=access.tenant, workflow=name, body={"input": given}, actor=actor_of(request)
        )
    except RoleRequired as error:
        return refused(request, error.message, error.status)
    except NotFound as error:
        raise Http404(error.message) from error
    except jsonvalue.BadJson as error:
        messages.error(request, f"The input is not JSON: {error.message}.")
    except Invalid as error:
        found = "; ".join(f"{one.path or 'the input'}: {one.message}" for one in error.problems[:5])
        messages.error(request, f"No run was started. {found or error.message}")
    except MillraceError as error:
        messages.error(request, error.message)
    else:
        return redirect("run", slug=slug, run_id=str(made.run_id))
    typed = {"input": request.POST.get("input", "")}
    return back_with(request, typed, "workflow", slug=slug, name=name)
