"""The page behind an invitation's link: join with an account that is there, or with a new one."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from dashboard.views.actions import actor_of
from dashboard.views.entry import begin_session
from dashboard.views.show import refused
from tenants import mail, oidc, services
from tenants.errors import AlreadyThere, InvalidValue, InvitationNotFound
from tenants.models import Invitation
from tenants.services.invitations import access_invitation


@sensitive_post_parameters("password")
@never_cache
@csrf_protect
@require_http_methods(["GET", "HEAD", "POST"])
def invitation(request: HttpRequest, token: str) -> HttpResponseBase:
    """Looking at it (as programs that preview links do) uses nothing up; sending the form does."""
    try:
        found = access_invitation(token=token)
    except InvitationNotFound as error:
        return refused(request, error.message, error.status)
    if request.method != "POST":
        return _page(request, found, token)
    try:
        if isinstance(request.user, User):
            services.accept(token=token, user=request.user, actor=actor_of(request))
        else:
            user, found = services.join(
                token=token,
                name=request.POST.get("name", "").strip(),
                password=request.POST.get("password", ""),
                email=request.POST.get("email", "").strip(),
                origin=request.META.get("REMOTE_ADDR", ""),
            )
            begin_session(request, user)
    except InvitationNotFound as error:
        return refused(request, error.message, error.status)
    except AlreadyThere:
        return _page(request, found, token, "name: this one is taken, choose another.")
    except InvalidValue as error:
        return _page(request, found, token, error.message)
    messages.success(request, f"You are a member of {found.tenant.slug} now.")
    return redirect("overview", slug=found.tenant.slug)


def _page(request: HttpRequest, found: Invitation, token: str, wrong: str = "") -> HttpResponse:
    context = {
        "invitation": found,
        "token": token,
        "wrong": wrong,
        "name": request.POST.get("name", ""),
        "email": request.POST.get("email", ""),
        "mail_is_sent": mail.is_sent(),
        "provider": oidc.provider(),
    }
    return render(request, "dashboard/invitation.html", context, status=422 if wrong else 200)
