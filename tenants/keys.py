"""API keys: `mr_<8 characters>_<secret>`, made here, kept as a prefix and a SHA-256 only.

The secret is 32 random bytes, so a plain digest is enough; password hashers would cost more than
the request they guard."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections import OrderedDict
from datetime import datetime, timedelta
from threading import Lock

from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from tenants import fence
from tenants.errors import TooManyGuesses
from tenants.guesses import Guesses, place
from tenants.models import ApiKey, Tenant

SCOPES = ("runs:read", "runs:write", "workflows:read", "workflows:write", "alerts:write", "admin")

CACHE_S = 1.0
"""How long a process may go on using what it read of a key and its tenant."""
KNOWN_S = 600.0
CACHE_MAX = 10_000
USED_EVERY = timedelta(minutes=1)

_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
_NOTHING = bytes(32)
_FORM = re.compile(r"(mr_[a-z0-9]{8})_[A-Za-z0-9_-]{43}")


def make() -> tuple[str, str, bytes]:
    """A new key: itself (shown once), its prefix and its digest."""
    prefix = "mr_" + "".join(secrets.choice(_ALPHABET) for _ in range(8))
    raw = f"{prefix}_{secrets.token_urlsafe(32)}"
    return raw, prefix, digest(raw)


def digest(raw: str) -> bytes:
    """What is kept of a key: SHA-256, 32 bytes."""
    return hashlib.sha256(raw.encode()).digest()


def in_force(tenant: Tenant) -> QuerySet[ApiKey]:
    """The tenant's keys that are neither revoked nor expired."""
    rows = ApiKey.objects.filter(tenant=tenant, revoked_at__isnull=True)
    return rows.exclude(expires_at__lte=Now())


class _Cache:
    """Keys that were right a moment ago, by digest, so that a flood of requests asks once a second."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept: OrderedDict[bytes, tuple[float, ApiKey]] = OrderedDict()

    def get(self, mark: bytes, now: float) -> ApiKey | None:
        found = self._kept.get(mark)
        return found[1] if found is not None and found[0] > now else None

    def put(self, mark: bytes, key: ApiKey, until: float) -> None:
        with self._lock:
            self._kept[mark] = (until, key)
            self._kept.move_to_end(mark)
            while len(self._kept) > CACHE_MAX:
                self._kept.popitem(last=False)

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()


_cache = _Cache()
_known = _Cache()
"""Keys that were right in the last minutes: a wrong key elsewhere at their address stops no other."""
guesses = Guesses(burst=240, per_s=4.0)
"""Wrong keys by address: beyond these, reading the database for more of them is spared."""
forget = _cache.clear
"""Drop what this process remembers of keys: after one was revoked, or a tenant suspended."""


def authenticate(raw: str, *, origin: str = "") -> ApiKey | None:
    """The key and (joined) its tenant, unless it is unknown, revoked or expired.

    Another process's change is seen within 1 s.  The result is shared: do not change it.  Raises
    TooManyGuesses where too many wrong keys came from `origin` and this one was not right lately;
    nothing is read then."""
    mark = digest(raw)
    now = time.monotonic()
    key = _cache.get(mark, now)
    if key is None:
        key = _look_up(raw, mark, now, place(origin))
        if key is None:
            return None
    moment = timezone.now()
    if key.expires_at is not None and key.expires_at <= moment:
        return None
    _note_use(key, moment)
    return key


def _look_up(raw: str, mark: bytes, now: float, who: str) -> ApiKey | None:
    if _known.get(mark, now) is None and (wait := guesses.wait_s(who)):
        raise TooManyGuesses(wait)
    key = _find(raw, mark) if _FORM.fullmatch(raw) else None
    if key is None:
        guesses.note(who)
        return None
    _cache.put(mark, key, now + CACHE_S)
    _known.put(mark, key, now + KNOWN_S)
    return key


def _find(raw: str, mark: bytes) -> ApiKey | None:
    prefix = raw[:11]
    with fence.through(fence.KEYS, prefix):
        key = (
            ApiKey.objects.select_related("tenant")
            .filter(prefix=prefix, revoked_at__isnull=True)
            .first()
        )
    if not hmac.compare_digest(_NOTHING if key is None else bytes(key.digest), mark):
        return None
    return key


def _note_use(key: ApiKey, moment: datetime) -> None:
    if key.last_used_at is not None and moment - key.last_used_at < USED_EVERY:
        return
    key.last_used_at = moment
    with fence.through(fence.KEYS, key.prefix):
        ApiKey.objects.filter(
            Q(last_used_at__isnull=True) | Q(last_used_at__lt=Now() - USED_EVERY), pk=key.pk
        ).update(last_used_at=Now())
