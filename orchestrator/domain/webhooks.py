"""Signed requests: whether one comes from who knows the secret, and just now.

`millrace`: `Millrace-Timestamp` is seconds since 1970, `Millrace-Signature` one or more of
`v1=<hex>`, HMAC-SHA256 of the timestamp, a dot and the body.  `github`: `X-Hub-Signature-256` is
`sha256=<hex>`, HMAC-SHA256 of the body alone, so that nothing says when it was sent."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from hashlib import sha256

TIMESTAMP = "millrace-timestamp"
SIGNATURE = "millrace-signature"
GITHUB_SIGNATURE = "x-hub-signature-256"
GITHUB_DELIVERY = "x-github-delivery"
WINDOW_S = 300
"""How old, or how far ahead, a timestamp may be."""
_MOST_SIGNATURES = 5
_LONGEST_HEADER = 1000


class Scheme(StrEnum):
    """How requests of a trigger are signed."""

    MILLRACE = "millrace"
    GITHUB = "github"


class Fault(StrEnum):
    """Why a request is refused; told to the trigger's owner, never to who sent it."""

    SIGNATURE = "bad_signature"
    TIMESTAMP = "bad_timestamp"


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """The hex signature of a request under the scheme `millrace`."""
    return _mac(secret, timestamp.encode() + b"." + body)


def _mac(secret: str, message: bytes) -> str:
    return hmac.new(secret.encode(), message, sha256).hexdigest()


def check(
    scheme: Scheme,
    secrets: Sequence[str],
    headers: Mapping[str, str],
    body: bytes,
    *,
    now: float,
) -> Fault | None:
    """None for a request that one of `secrets` signed, and just now; `headers` by small letters.

    Every secret is tried with every signature, in constant time."""
    timestamp = headers.get(TIMESTAMP, "")[:_LONGEST_HEADER]
    if scheme is Scheme.GITHUB:
        given = _given(headers.get(GITHUB_SIGNATURE, ""), "sha256=")
        expected = [_mac(secret, body) for secret in secrets]
    else:
        given = _given(headers.get(SIGNATURE, ""), "v1=")
        expected = [sign(secret, timestamp, body) for secret in secrets]
    if not _match(given, expected):
        return Fault.SIGNATURE
    if scheme is Scheme.MILLRACE and not _recent(timestamp, now):
        return Fault.TIMESTAMP
    return None


def _given(header: str, prefix: str) -> list[str]:
    parts = [part.strip() for part in header[:_LONGEST_HEADER].split(",")]
    found = [part.removeprefix(prefix) for part in parts if part.startswith(prefix)]
    return found[:_MOST_SIGNATURES]


def _match(given: Iterable[str], expected: Sequence[str]) -> bool:
    matched = False
    for one in given:
        for right in expected:
            matched |= hmac.compare_digest(one.encode(), right.encode())
    return matched


def _recent(timestamp: str, now: float) -> bool:
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        return False
    return abs(now - int(timestamp)) <= WINDOW_S
