"""API keys by the bodies that ask for them; `tenants.services` makes, rotates and ends them."""

from __future__ import annotations

from datetime import datetime

from django.utils import timezone

from orchestrator.domain.definition.reader import Raw, Reader
from orchestrator.domain.errors import InvalidRequest
from orchestrator.selectors.api_keys import access_api_key
from orchestrator.services.submissions import read_moment
from tenants import services
from tenants.actors import Actor
from tenants.keys import SCOPES
from tenants.models import ApiKey, Tenant

FIELDS = ("name", "scopes", "expires_at")
LONGEST_NAME = 200


def create_api_key(*, tenant: Tenant, body: object, actor: Actor) -> tuple[ApiKey, str]:
    """A new key and its text, shown this once; `body`: `{name?, scopes?, expires_at?}`.

    Raises InvalidRequest."""
    reader = Reader()
    raw = _mapping(reader, body, FIELDS)
    name = reader.text(raw, "", "name", longest=LONGEST_NAME)
    scopes = _scopes(reader, raw)
    expires_at = _end(reader, raw)
    _done(reader)
    return services.create_api_key(
        tenant=tenant, name=name, scopes=scopes, expires_at=expires_at, actor=actor
    )


def rotate_api_key(
    *, tenant: Tenant, key_id: str, body: object, actor: Actor
) -> tuple[ApiKey, str]:
    """A key in the place of another, and its text, shown this once; `body`: `{overlap?, expires_at?}`.

    Raises ApiKeyNotFound, InvalidRequest, ApiKeyEnded, QuotaUsedUp."""
    key = access_api_key(tenant=tenant, key_id=key_id)
    reader = Reader()
    raw = _mapping(reader, body, ("overlap", "expires_at"))
    overlap = reader.duration(raw, "", "overlap", services.OVERLAP, zero=True)
    expires_at = _end(reader, raw)
    _done(reader)
    return services.rotate_api_key(key=key, overlap=overlap, expires_at=expires_at, actor=actor)


def revoke_api_key(*, tenant: Tenant, key_id: str, actor: Actor) -> None:
    """End a key; one that was ended before stays so.  Raises ApiKeyNotFound."""
    services.revoke_api_key(key=access_api_key(tenant=tenant, key_id=key_id), actor=actor)


def _mapping(reader: Reader, body: object, known: tuple[str, ...]) -> Raw:
    raw = reader.mapping(body, "", known)
    if raw is None:
        raise InvalidRequest(problems=reader.problems)
    return raw


def _scopes(reader: Reader, raw: Raw) -> tuple[str, ...] | None:
    """None: all of them."""
    if "scopes" not in raw:
        return None
    found = reader.names(raw, "", "scopes")
    for index, scope in enumerate(found):
        if scope not in SCOPES:
            reader.wrong_word(f"/scopes/{index}", scope, SCOPES)
    if not found and not reader.problems:
        reader.note("/scopes", "names no scope", "out_of_range")
    return found


def _end(reader: Reader, raw: Raw) -> datetime | None:
    if raw.get("expires_at") is None:
        return None
    now = timezone.now()
    at = read_moment(reader, raw, "expires_at", "expires_at", now)
    if at is not None and at <= now:
        reader.note("/expires_at", "is in the past", "out_of_range")
    return at


def _done(reader: Reader) -> None:
    if reader.problems:
        raise InvalidRequest(problems=reader.problems)
