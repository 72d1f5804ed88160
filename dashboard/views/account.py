"""What people do with their own accounts: password, e-mail address, second factor, sign-ins, sessions."""

from __future__ import annotations

import time
from typing import Any, cast

import segno
from django.contrib import messages
from django.contrib.auth import authenticate, update_session_auth_hash
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.safestring import mark_safe
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST, require_safe

from dashboard.views.actions import actor_of
from dashboard.views.provider import CONNECTING, CONNECTING_S
from dashboard.views.show import switcher
from dashboard.words import browser
from tenants import mail, oidc, services, sessions
from tenants.access import access_tenant, last_used
from tenants.errors import NotConfirmed, TenantsError
from tenants.models import Identity, RecoveryCode, Role
from tenants.sealing import Unreadable
from tenants.services.factors import address_of, has_totp, key_of, pending_totp
from tenants.services.sessions import handle, sessions_of

FRESH_S = 900
"""How long a sign-in through a provider confirms what else a password would."""


def _user(request: HttpRequest) -> User:
    return cast(User, request.user)


def _frame(request: HttpRequest) -> dict[str, Any]:
    found: dict[str, Any] = {**switcher(request), "page_name": "account"}
    if (tenant := last_used(request.user)) is not None:
        access = access_tenant(user=request.user, slug=tenant.slug)
        found |= {"tenant": tenant, "may_manage": access.may(Role.ADMIN)}
    return found


def confirm(request: HttpRequest) -> None:
    """Raises NotConfirmed unless the present password came with the form; who has none must have
    signed in a moment ago.  Wrong passwords count towards the lockout."""
    user = _user(request)
    if not user.has_usable_password():
        if time.time() - request.session.get(sessions.SIGNED_IN_AT, 0) > FRESH_S:
            raise NotConfirmed("Sign out and in again first, then do this within 15 minutes.")
        return
    given = request.POST.get("current", "")
    if authenticate(request, username=user.get_username(), password=given) != user:
        raise NotConfirmed("Your present password was not right: nothing was changed.")


@login_required
@never_cache
@require_safe
def account(request: HttpRequest) -> HttpResponse:
    """The person's account."""
    user = _user(request)
    here = request.session.session_key or ""
    context = {
        **_frame(request),
        "has_password": user.has_usable_password(),
        "has_totp": has_totp(user),
        "recovery_count": RecoveryCode.objects.filter(user=user).count(),
        "provider": oidc.provider(),
        "identities": Identity.objects.filter(user=user).order_by("pk"),
        "mail_is_sent": mail.is_sent(),
        "sessions": [
            {
                "handle": handle(row.session_key),
                "here": row.session_key == here,
                "browser": browser(row.agent),
                "origin": row.origin,
                "signed_in_at": row.signed_in_at,
                "seen_at": row.seen_at,
            }
            for row in sessions_of(user)
        ],
    }
    return render(request, "dashboard/account.html", context)


@sensitive_post_parameters("current", "password")
@login_required
@require_POST
def set_password(request: HttpRequest) -> HttpResponseBase:
    """A new password; this session goes on with a new key, every other one ends."""
    user = _user(request)
    try:
        confirm(request)
        services.set_password(
            user=user,
            password=request.POST.get("password", ""),
            keep_session=request.session.session_key,
            actor=actor_of(request),
        )
        update_session_auth_hash(request, user)
        messages.success(request, "The new password is set. Every other session has ended.")
    except TenantsError as error:
        messages.error(request, error.message)
    return redirect("account")


@login_required
@require_POST
def set_email(request: HttpRequest) -> HttpResponseBase:
    """Where a forgotten password is asked back."""
    try:
        confirm(request)
        email = request.POST.get("email", "").strip()
        services.set_email(user=_user(request), email=email, actor=actor_of(request))
        messages.success(request, "The e-mail address is saved.")
    except TenantsError as error:
        messages.error(request, error.message)
    return redirect("account")


@login_required
@require_POST
def begin_totp(request: HttpRequest) -> HttpResponseBase:
    """Begin to set up a second factor."""
    try:
        confirm(request)
        services.begin_totp(user=_user(request))
    except TenantsError as error:
        messages.error(request, error.message)
        return redirect("account")
    return redirect("account_totp")


@login_required
@never_cache
@require_safe
def totp(request: HttpRequest) -> HttpResponseBase:
    """The secret, to be scanned, until a code of it was entered."""
    pending = pending_totp(_user(request))
    if pending is None:
        return redirect("account")
    try:
        address, key = address_of(pending), key_of(pending)
    except Unreadable:
        messages.error(request, "The server's SECRET_KEY has changed: begin anew.")
        return redirect("account")
    code = segno.make(address, error="m").svg_inline(
        scale=5, border=4, dark="#000", light="#fff", svgclass="qr", lineclass=None
    )
    context = {
        **_frame(request),
        "qr": mark_safe(code),  # noqa: S308  (squares and numbers of the library's own)
        "key": " ".join(key[at : at + 4] for at in range(0, len(key), 4)),
    }
    return render(request, "dashboard/totp.html", context)


@login_required
@require_POST
def confirm_totp(request: HttpRequest) -> HttpResponseBase:
    """Let the second factor count, and show the recovery codes, this once."""
    codes = services.confirm_totp(
        user=_user(request), code=request.POST.get("code", "")[:100], actor=actor_of(request)
    )
    if codes is None:
        messages.error(request, "That was not its code. Is the clock of your device right?")
        return redirect("account_totp")
    request.session.cycle_key()
    return _codes(request, codes)


@login_required
@require_POST
def renew_codes(request: HttpRequest) -> HttpResponseBase:
    """New recovery codes, shown this once."""
    try:
        confirm(request)
    except NotConfirmed as error:
        messages.error(request, error.message)
        return redirect("account")
    if not has_totp(_user(request)):
        return redirect("account")
    codes = services.renew_recovery_codes(user=_user(request), actor=actor_of(request))
    return _codes(request, codes)


def _codes(request: HttpRequest, codes: list[str]) -> HttpResponse:
    answer = render(request, "dashboard/recovery_codes.html", {**_frame(request), "codes": codes})
    answer["Cache-Control"] = "no-store"
    return answer


@login_required
@require_POST
def remove_totp(request: HttpRequest) -> HttpResponseBase:
    """Take the second factor away."""
    try:
        confirm(request)
        services.remove_totp(user=_user(request), actor=actor_of(request))
        messages.success(request, "Signing in asks for no code any more.")
    except TenantsError as error:
        messages.error(request, error.message)
    return redirect("account")


@login_required
@require_POST
def connect(request: HttpRequest) -> HttpResponseBase:
    """Let a link to the provider connect this account."""
    try:
        confirm(request)
    except NotConfirmed as error:
        messages.error(request, error.message)
        return redirect("account")
    request.session[CONNECTING] = time.time() + CONNECTING_S
    # A page with a link, and no redirect: the policy lets forms lead to this server alone.
    context = {**_frame(request), "provider": oidc.provider()}
    return render(request, "dashboard/connect.html", context)


@login_required
@require_POST
def disconnect(request: HttpRequest) -> HttpResponseBase:
    """End the sign-in through the provider."""
    try:
        confirm(request)
        services.disconnect(user=_user(request), actor=actor_of(request))
        messages.success(request, "It is disconnected.")
    except TenantsError as error:
        messages.error(request, error.message)
    return redirect("account")


@login_required
@require_POST
def end_session(request: HttpRequest) -> HttpResponseBase:
    """End one session of the person's, or (without a handle) all but this."""
    which = request.POST.get("which", "")
    actor = actor_of(request)
    if which:
        services.end_session(user=_user(request), which=which, actor=actor)
        messages.success(request, "The session has ended.")
    else:
        here = request.session.session_key
        count = services.end_sessions(user=_user(request), but=here, actor=actor)
        messages.success(request, f"Other sessions that have ended: {count}.")
    return redirect("account")
