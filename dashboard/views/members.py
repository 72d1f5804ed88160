"""What admins do from the Members page: invite, withdraw, change a role, remove."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST

from dashboard.views.actions import actor_of
from dashboard.views.show import access_or_404, back_with, frame, refused
from orchestrator.selectors.members import access_member
from tenants import mail, services
from tenants.errors import InvitationNotFound, MemberNotFound, RoleRequired, TenantsError
from tenants.models import Role

MOST_DIGITS = 9


def _role(request: HttpRequest) -> Role:
    """The role that the form names; nonsense is the least one."""
    given = request.POST.get("role", "")
    return Role(given) if given in Role.values else Role.VIEWER


@login_required
@require_POST
def invite(request: HttpRequest, slug: str) -> HttpResponseBase:
    """Make an invitation, and show its link, this once (admins)."""
    try:
        access = access_or_404(request, slug, Role.ADMIN)
        made, link = services.invite(
            tenant=access.tenant,
            role=_role(request),
            email=request.POST.get("email", "").strip(),
            link=lambda token: request.build_absolute_uri(reverse("invitation", args=[token])),
            actor=actor_of(request),
        )
    except RoleRequired as error:
        return refused(request, error.message, error.status)
    except TenantsError as error:
        typed = {
            "email": request.POST.get("email", ""),
            "role": request.POST.get("role", ""),
            "wrong": f"Nobody was invited. {error.message}",
        }
        return back_with(request, typed, "members", slug=slug)
    context = {
        **frame(request, access),
        "page_name": "members",
        "invitation": made,
        "link": link,
        "mail_is_sent": mail.is_sent(),
    }
    answer = render(request, "dashboard/invited.html", context)
    answer["Cache-Control"] = "no-store"
    return answer


@login_required
@require_POST
def withdraw(request: HttpRequest, slug: str) -> HttpResponseBase:
    """End an invitation before somebody accepts it (admins)."""
    given = request.POST.get("id", "")
    number = int(given) if given.isdecimal() and len(given) <= MOST_DIGITS else 0
    try:
        access = access_or_404(request, slug, Role.ADMIN)
        services.revoke_invitation(
            tenant=access.tenant, invitation_id=number, actor=actor_of(request)
        )
        messages.success(request, "The invitation is withdrawn.")
    except RoleRequired as error:
        return refused(request, error.message, error.status)
    except InvitationNotFound as error:
        messages.error(request, error.message)
    return redirect("members", slug=slug)


@login_required
@require_POST
def set_role(request: HttpRequest, slug: str, name: str) -> HttpResponseBase:
    """Change what a member may do (admins)."""
    try:
        access = access_or_404(request, slug, Role.ADMIN)
        member = access_member(tenant=access.tenant, name=name)
        services.set_member(
            tenant=access.tenant, user=member.user, role=_role(request), actor=actor_of(request)
        )
        messages.success(request, f"{name} is {_role(request)} now.")
    except RoleRequired as error:
        return refused(request, error.message, error.status)
    except MemberNotFound as error:
        raise Http404(error.message) from error
    except TenantsError as error:
        messages.error(request, f"Nothing was changed. {error.message}")
    return redirect("members", slug=slug)


@login_required
@require_POST
def remove(request: HttpRequest, slug: str, name: str) -> HttpResponseBase:
    """End a membership; the person's pages of this tenant close (admins)."""
    try:
        access = access_or_404(request, slug, Role.ADMIN)
        member = access_member(tenant=access.tenant, name=name)
        services.remove_member(member=member, actor=actor_of(request))
        messages.success(request, f"{name} is no member any more.")
    except RoleRequired as error:
        return refused(request, error.message, error.status)
    except MemberNotFound as error:
        raise Http404(error.message) from error
    except TenantsError as error:
        messages.error(request, f"Nothing was changed. {error.message}")
    if name == request.user.get_username():
        return redirect("home")
    return redirect("members", slug=slug)
