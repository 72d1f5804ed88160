"""The way in by a password: sign in, the second factor, a forgotten password.

What is answered never says whether there is such a person."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from axes.handlers.proxy import AxesProxyHandler
from axes.helpers import get_lockout_response
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import get_user_model, login
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_login_failed
from django.contrib.auth.tokens import default_token_generator
from django.contrib.auth.views import LoginView, PasswordResetConfirmView
from django.core.mail import EmailMessage
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render, resolve_url
from django.urls import reverse
from django.utils.crypto import constant_time_compare
from django.utils.encoding import force_bytes
from django.utils.http import url_has_allowed_host_and_scheme, urlsafe_base64_encode
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from dashboard.views.actions import actor_of
from tenants import mail, oidc, services, sessions
from tenants.guesses import Guesses, place
from tenants.services.factors import has_totp

BACKEND = "django.contrib.auth.backends.ModelBackend"
HALF = "half_signed_in"
HALF_S = 300
"""How long a right password waits for its second factor."""
MOST_LETTERS = 20

letters_asked = Guesses(burst=20, per_s=1 / 60)
"""Requests for letters from one place."""


def begin_session(request: HttpRequest, user: User) -> None:
    """Sign `user` in: with a new session key, and with what is needed to recognise the session."""
    login(request, user, backend=BACKEND)
    request.session.set_expiry(None)
    request.session[sessions.ORIGIN] = request.META.get("REMOTE_ADDR", "")
    request.session[sessions.AGENT] = request.headers.get("User-Agent", "")[
        : sessions.LONGEST_AGENT
    ]
    request.session[sessions.SIGNED_IN_AT] = time.time()


def safe_next(request: HttpRequest, target: str | None) -> str:
    """`target` if it is an address of ours, else where people go after signing in."""
    if target and url_has_allowed_host_and_scheme(
        target, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    ):
        return target
    return resolve_url(settings.LOGIN_REDIRECT_URL)


class SignIn(LoginView):
    """The form of name and password; where there is a second factor, its page follows."""

    template_name = "dashboard/login.html"
    redirect_authenticated_user = True

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """The form, and what else there is to sign in with."""
        more = {"provider": oidc.provider(), "mail_is_sent": mail.is_sent()}
        return {**super().get_context_data(**kwargs), **more}

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        """The password was right."""
        user = form.get_user()
        assert isinstance(user, User)
        if not has_totp(user):
            begin_session(self.request, user)
            return redirect(self.get_success_url())
        self.request.session.cycle_key()
        self.request.session[HALF] = {
            "user": user.pk,
            "hash": user.get_session_auth_hash(),
            "until": time.time() + HALF_S,
            "next": self.get_success_url(),
        }
        return redirect("login_code")


def _half_signed_in(request: HttpRequest) -> User | None:
    """Who has given the right password in this session, a moment ago."""
    half = request.session.get(HALF)
    if half is None or half["until"] < time.time():
        return None
    user: User | None = get_user_model().objects.filter(pk=half["user"], is_active=True).first()
    if user is None or not constant_time_compare(half["hash"], user.get_session_auth_hash()):
        return None
    return user


@sensitive_post_parameters("code")
@never_cache
@csrf_protect
@require_http_methods(["GET", "HEAD", "POST"])
def code(request: HttpRequest) -> HttpResponseBase:
    """The second factor: a code of the authenticator, or a recovery code."""
    user = _half_signed_in(request)
    if user is None:
        request.session.pop(HALF, None)
        return redirect("login")
    wrong = False
    if request.method == "POST":
        credentials = {"username": user.get_username()}
        if not AxesProxyHandler.is_allowed(request, credentials):
            locked: HttpResponse = get_lockout_response(request, credentials)
            return locked
        given = request.POST.get("code", "")[:100]
        if services.check_code(user=user, code=given, actor=actor_of(request, user)):
            target = safe_next(request, request.session.pop(HALF)["next"])
            begin_session(request, user)
            return redirect(target)
        user_login_failed.send(
            sender=__name__, credentials=credentials, request=request
        )  # the lockout counts it like a wrong password
        wrong = True
    return render(
        request, "dashboard/login_code.html", {"wrong": wrong}, status=403 if wrong else 200
    )


@never_cache
@csrf_protect
@require_http_methods(["GET", "HEAD", "POST"])
def forgotten(request: HttpRequest) -> HttpResponseBase:
    """Ask for a letter with a link that sets a new password; the answer is always the same."""
    asked = request.method == "POST" and mail.is_sent()
    if asked:
        _write(request, request.POST.get("email", "").strip()[:254])
    context = {"asked": asked, "mail_is_sent": mail.is_sent()}
    return render(request, "dashboard/forgotten.html", context)


def _write(request: HttpRequest, email: str) -> None:
    origin = place(request.META.get("REMOTE_ADDR", ""))
    limited = letters_asked.wait_s(origin)
    letters_asked.note(origin)
    if limited or not email:
        return
    found = get_user_model().objects.filter(email__iexact=email, is_active=True)
    users = [user for user in found[:MOST_LETTERS] if user.has_usable_password()]
    for user in users:
        mail.send(_letter(request, user), to=user.email)


def _letter(request: HttpRequest, user: User) -> Callable[[], EmailMessage]:
    """What writes the letter: the work is the sender's, so that an answer takes no longer for it."""
    base = request.build_absolute_uri("/")[:-1]

    def write() -> EmailMessage:
        uid = urlsafe_base64_encode(force_bytes(user.pk))
        token = default_token_generator.make_token(user)
        address = base + reverse("password_reset", kwargs={"uidb64": uid, "token": token})
        return EmailMessage(
            subject="A new password for Millrace",
            body=(
                f"Somebody, you if all is well, asked for a new password for {user.get_username()}."
                f"\n\nSet it here, once, within a day:\n\n{address}\n\n"
                "If it was not you, leave it alone: your password stays.\n"
            ),
            to=[user.email],
        )

    return write


class SetForgotten(PasswordResetConfirmView):
    """The page behind the link of a letter: its token goes from the address into the session first."""

    template_name = "dashboard/set_password.html"

    def form_valid(self, form: Any) -> HttpResponse:
        """Set the password, and end every session."""
        user: User = form.user
        password = form.cleaned_data["new_password1"]
        services.set_password(user=user, password=password, actor=actor_of(self.request, user))
        self.request.session.flush()
        messages.success(self.request, "The new password is set: sign in with it.")
        return redirect("login")
