"""Sign-in through an OpenID Connect provider: authlib does the protocol (discovery, state, nonce,
PKCE, the signature and claims of the ID token); here is what we make of its answer."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Any

from authlib.common.errors import AuthlibBaseError
from authlib.integrations.django_client import OAuth
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from joserfc.errors import JoseError
from requests import RequestException

from tenants.environment import Oidc
from tenants.services.identities import Claims

logger = logging.getLogger(__name__)

TIMEOUT_S = 10
LONGEST_SUBJECT = 255
LONGEST_SAID = 300
FAULTS = (AuthlibBaseError, JoseError, RequestException, RuntimeError, ValueError, KeyError)


class SignInFailed(Exception):
    """The provider could not be asked, or what came back is not to be believed."""


def provider() -> Oidc | None:
    """The provider that the environment names."""
    found: Oidc | None = settings.OIDC
    return found


@lru_cache(maxsize=2)
def _client(known: Oidc) -> Any:
    return OAuth().register(
        "oidc",
        client_id=known.client_id,
        client_secret=known.client_secret,
        server_metadata_url=f"{known.issuer}/.well-known/openid-configuration",
        client_kwargs={
            "scope": "openid email profile",
            "code_challenge_method": "S256",
            "default_timeout": TIMEOUT_S,
        },
    )


def begin(request: HttpRequest, known: Oidc, callback: str) -> HttpResponse:
    """The redirect to the provider.  Raises SignInFailed."""
    try:
        answer: HttpResponse = _client(known).authorize_redirect(request, callback)
    except FAULTS as error:
        raise _failed(error) from error
    return answer


def finish(request: HttpRequest, known: Oidc) -> Claims:
    """Whom the provider's answer is about.  Raises SignInFailed."""
    client = _client(known)
    try:
        issuer = client.load_server_metadata()["issuer"]
        if issuer.rstrip("/") != known.issuer:
            raise ValueError("the provider calls itself otherwise")
        wanted = {
            "iss": {"essential": True, "value": issuer},
            "aud": {"essential": True, "value": known.client_id},
            "sub": {"essential": True},
        }
        token = client.authorize_access_token(request, claims_options=wanted)
    except FAULTS as error:
        raise _failed(error) from error
    said: dict[str, Any] = token.get("userinfo") or {}
    subject = said.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= LONGEST_SUBJECT or "\0" in subject:
        raise _failed(ValueError("the ID token names nobody"))
    email = said.get("email") if said.get("email_verified") is True else ""
    name = next((said[key] for key in ("preferred_username", "email", "name") if said.get(key)), "")
    return Claims(known.issuer, subject, str(name or subject)[:150], str(email or "")[:254])


def _failed(error: Exception) -> SignInFailed:
    said = " ".join(str(error).split())[:LONGEST_SAID]  # the browser's address may be in it
    logger.warning("sign-in through the provider failed: %s: %s", type(error).__name__, said)
    _client.cache_clear()  # what it publishes may have changed
    return SignInFailed()
