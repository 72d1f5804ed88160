"""The way in through an OpenID Connect provider: there, and back."""

from __future__ import annotations

import time
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from dashboard.views.actions import actor_of
from dashboard.views.entry import begin_session, safe_next
from tenants import oidc, services
from tenants.environment import Oidc
from tenants.errors import TenantsError
from tenants.services.identities import Claims, user_of

ASKED = "asked_provider"
ASKED_S = 900
CONNECTING = "connecting_until"
CONNECTING_S = 300
"""How long a confirmed wish to connect an account holds."""


def _provider() -> Oidc:
    found = oidc.provider()
    if found is None:
        raise Http404
    return found


@never_cache
@require_safe
def ask(request: HttpRequest) -> HttpResponseBase:
    """Send the browser to the provider; `next`, `invitation`: what is to be done afterwards."""
    known = _provider()
    for key in [key for key in request.session.keys() if key.startswith("_state_oidc_")]:  # noqa: SIM118
        del request.session[key]  # one is asked at a time; a session does not grow
    if not request.user.is_authenticated:
        request.session.set_expiry(ASKED_S)  # anybody can begin one
    request.session[ASKED] = {
        "next": safe_next(request, request.GET.get("next")),
        "invitation": request.GET.get("invitation", "")[:100],
    }
    try:
        return oidc.begin(request, known, request.build_absolute_uri(reverse("provider_answer")))
    except oidc.SignInFailed:
        return _failed(request, known)


@never_cache
@require_safe
def answered(request: HttpRequest) -> HttpResponseBase:
    """The browser comes back: sign the person in, connect them, or let them join as invited."""
    known = _provider()
    asked = request.session.pop(ASKED, None)
    try:
        if asked is None:
            raise oidc.SignInFailed
        claims = oidc.finish(request, known)
    except oidc.SignInFailed:
        return _failed(request, known)
    if isinstance(request.user, User):
        return _connect(request, request.user, claims)
    user = user_of(claims)
    if user is not None:
        begin_session(request, user)
        return redirect(safe_next(request, asked["next"]))
    try:
        user, invitation = services.join_through(
            token=asked["invitation"], claims=claims, origin=request.META.get("REMOTE_ADDR", "")
        )
    except TenantsError:
        return render(request, "dashboard/unknown.html", {"provider": known}, status=403)
    begin_session(request, user)
    return redirect("overview", slug=invitation.tenant.slug)


def _connect(request: HttpRequest, user: User, claims: Claims) -> HttpResponse:
    """Only where the person has just confirmed it on their account's page: somebody else's link must
    not connect somebody else's sign-in to it."""
    if request.session.pop(CONNECTING, 0) < time.time():
        return redirect("home")
    try:
        services.connect(user=user, claims=claims, actor=actor_of(request))
        messages.success(request, f"{claims.email or claims.name} is connected.")
    except TenantsError as error:
        messages.error(request, error.message)
    return redirect("account")


def _failed(request: HttpRequest, known: Oidc) -> HttpResponse:
    context = {"provider": known, "again": f"{reverse('login')}?{urlencode({'next': '/'})}"}
    return render(request, "dashboard/provider_failed.html", context, status=502)
