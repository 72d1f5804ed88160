"""What the environment says, as Django's settings.  Nonsense is refused, and the variable named."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured
from kombu.transport import TRANSPORT_ALIASES

MAIL_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class Oidc:
    """An OpenID Connect provider and what we are to it."""

    issuer: str
    client_id: str
    client_secret: str
    name: str


def names(text: str) -> list[str]:
    """Names with commas; a space beside one is not part of it."""
    return [name for part in text.split(",") if (name := part.strip())]


def origins(text: str) -> list[str]:
    """`CSRF_TRUSTED_ORIGINS`.  Web does not run Django's checks, and would refuse every form."""
    found = names(text)
    for origin in found:
        if "://" not in origin:
            raise ImproperlyConfigured(
                f"CSRF_TRUSTED_ORIGINS: {origin!r} has no scheme: write https://{origin}."
            )
    return found


def broker(url: str) -> str:
    """`BROKER_URL`, of a kind that Celery knows."""
    kind, separator, _ = url.partition("://")
    if not separator or kind.partition("+")[0] not in TRANSPORT_ALIASES:
        raise ImproperlyConfigured(
            "BROKER_URL must be redis://host:6379/0 or amqp://user:password@host//."
        )
    return url


def log_level(text: str) -> str:
    """`LOG_LEVEL`, in either case."""
    known = logging.getLevelNamesMapping()
    if text.upper() not in known:
        said = ", ".join(sorted({*known} - {"NOTSET"}, key=lambda name: (known[name], name)))
        raise ImproperlyConfigured(f"LOG_LEVEL={text!r}: must be one of {said}.")
    return text.upper()


def mail(environ: Mapping[str, str]) -> dict[str, object]:
    """Django's EMAIL_* settings of `SMTP_URL` (`smtp://user:password@host:587`, `smtps://…`) and
    `MAIL_FROM`; `MAIL_IS_SENT` is False where no server is named."""
    url = environ.get("SMTP_URL", "")
    if not url:
        return {"MAIL_IS_SENT": False}
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname or port == -1:
        raise ImproperlyConfigured(
            "SMTP_URL must be smtp://user:password@host:587 (STARTTLS) or smtps://…:465."
        )
    tls = parse_qs(parts.query).get("tls", ["yes"])[-1]
    if tls not in ("yes", "no"):
        raise ImproperlyConfigured(f"SMTP_URL: tls={tls} is neither yes nor no.")
    sender = environ.get("MAIL_FROM", "")
    if "@" not in sender or "\n" in sender:
        raise ImproperlyConfigured("MAIL_FROM must be an e-mail address where SMTP_URL is set.")
    wrapped = parts.scheme == "smtps"
    return {
        "MAIL_IS_SENT": True,
        "EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend",
        "EMAIL_HOST": parts.hostname,
        "EMAIL_PORT": port or (465 if wrapped else 587),
        "EMAIL_HOST_USER": unquote(parts.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
        "EMAIL_USE_SSL": wrapped,
        "EMAIL_USE_TLS": not wrapped and tls == "yes",
        "EMAIL_TIMEOUT": MAIL_TIMEOUT_S,
        "DEFAULT_FROM_EMAIL": sender,
    }


def oidc(environ: Mapping[str, str]) -> Oidc | None:
    """The provider of `OIDC_ISSUER`, with `OIDC_CLIENT_ID`, `OIDC_CLIENT_SECRET`, `OIDC_NAME`."""
    issuer = environ.get("OIDC_ISSUER", "").rstrip("/")
    if not issuer:
        return None
    parts = urlsplit(issuer)
    local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if not parts.hostname or (parts.scheme != "https" and not (parts.scheme == "http" and local)):
        raise ImproperlyConfigured("OIDC_ISSUER must be an https:// address.")
    client_id, secret = environ.get("OIDC_CLIENT_ID", ""), environ.get("OIDC_CLIENT_SECRET", "")
    if not client_id or not secret:
        raise ImproperlyConfigured("OIDC_ISSUER needs OIDC_CLIENT_ID and OIDC_CLIENT_SECRET.")
    return Oidc(issuer, client_id, secret, environ.get("OIDC_NAME", "") or parts.hostname)
