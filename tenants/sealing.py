"""Secrets that must be read again: kept encrypted, under keys derived from SECRET_KEY.

Fernet (AES-128 in CBC mode with HMAC-SHA256) under HKDF-SHA256 of the key, one derived key for each
purpose.  After SECRET_KEY has changed, what was sealed before is read while the old one stands in
SECRET_KEY_FALLBACKS."""

from __future__ import annotations

import base64
import hashlib
import hmac
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings


class Unreadable(Exception):
    """What was sealed cannot be read: SECRET_KEY is another one."""


@lru_cache(maxsize=32)
def _derived(key: str, purpose: str) -> bytes:
    derive = HKDF(SHA256(), length=32, salt=None, info=f"millrace {purpose}".encode())
    return derive.derive(key.encode())


@lru_cache(maxsize=32)
def _fernet(key: str, purpose: str) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(_derived(key, purpose)))


def _keys(purpose: str) -> MultiFernet:
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return MultiFernet([_fernet(key, purpose) for key in keys])


def keyed_digest(text: str, *, purpose: str) -> str:
    """HMAC-SHA256 (hex) of `text`: who lacks SECRET_KEY cannot try what it was made of."""
    key = _derived(settings.SECRET_KEY, purpose)
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def reseal(token: bytes, *, purpose: str) -> bytes | None:
    """The token under the present SECRET_KEY; None where it is so already.  Raises Unreadable."""
    try:
        _fernet(settings.SECRET_KEY, purpose).decrypt(token)
    except InvalidToken:
        return seal(unseal(token, purpose=purpose), purpose=purpose)
    return None


def seal(text: str, *, purpose: str) -> bytes:
    """`text`, encrypted; each time another token."""
    return _keys(purpose).encrypt(text.encode())


def unseal(token: bytes, *, purpose: str) -> str:
    """The text of a token that `seal` made for this purpose.  Raises Unreadable."""
    try:
        return _keys(purpose).decrypt(token).decode()
    except InvalidToken:
        raise Unreadable from None
