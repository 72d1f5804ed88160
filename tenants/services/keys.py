"""API keys."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from tenants import keys
from tenants.actors import Actor
from tenants.errors import ApiKeyEnded, InvalidValue
from tenants.models import ApiKey, Tenant
from tenants.services.audit import record
from tenants.services.quotas import check_count

OVERLAP = timedelta(days=1)
"""How long a rotated key still counts, unless it is said."""


@transaction.atomic
def create_api_key(
    *,
    tenant: Tenant,
    name: str = "",
    scopes: list[str] | tuple[str, ...] | None = None,
    actor: Actor,
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """A new key and its text, which is shown this once; all scopes unless some are named.

    Raises InvalidValue for an unknown scope, QuotaUsedUp."""
    wanted = keys.SCOPES if scopes is None else tuple(dict.fromkeys(scopes))
    for scope in wanted:
        if scope not in keys.SCOPES:
            raise InvalidValue(
                "scopes", f"scopes: {scope!r} is not a scope; there are {', '.join(keys.SCOPES)}."
            )
    if not wanted:
        raise InvalidValue("scopes", "scopes: name at least one scope.")
    check_count(tenant=tenant, quota="max_api_keys", rows=keys.in_force(tenant))
    key, raw = _make(tenant=tenant, name=name, scopes=list(wanted), expires_at=expires_at)
    record(
        tenant=tenant, actor=actor, action="api_key.created", target=key.prefix, after=_facts(key)
    )
    return key, raw


@transaction.atomic
def rotate_api_key(
    *,
    key: ApiKey,
    overlap: timedelta = OVERLAP,
    expires_at: datetime | None = None,
    actor: Actor,
) -> tuple[ApiKey, str]:
    """A key with the name and scopes of `key`, and its text, which is shown this once; `key` counts
    for `overlap` more (0: no longer).  Unless `expires_at` says otherwise it lives as long as `key`
    was made to live.  Raises ApiKeyEnded where `key` has ended or was rotated before, QuotaUsedUp:
    of as many keys as there may be one at a time is rotated with an overlap."""
    key = ApiKey.objects.select_for_update(of=("self",)).select_related("tenant").get(pk=key.pk)
    now = timezone.now()
    if key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= now):
        raise ApiKeyEnded("The key has ended: make a new one.", id=key.prefix)
    if ApiKey.objects.filter(rotated_from=key).exists():
        raise ApiKeyEnded("The key was rotated before: rotate the new one.", id=key.prefix)
    if overlap:
        others = keys.in_force(key.tenant).exclude(pk=key.pk)
        check_count(tenant=key.tenant, quota="max_api_keys", rows=others)
    if expires_at is None and key.expires_at is not None:
        expires_at = now + (key.expires_at - key.created_at)
    made, raw = _make(
        tenant=key.tenant,
        name=key.name,
        scopes=key.scopes,
        expires_at=expires_at,
        rotated_from=key,
    )
    before = _facts(key)
    end = now + overlap
    key.expires_at = end if key.expires_at is None else min(end, key.expires_at)
    key.save(update_fields=["expires_at"])
    record(
        tenant=key.tenant,
        actor=actor,
        action="api_key.rotated",
        target=key.prefix,
        before=before,
        after={**_facts(key), "rotated_to": made.prefix},
    )
    transaction.on_commit(keys.forget)
    return made, raw


def _make(
    *,
    tenant: Tenant,
    name: str,
    scopes: list[str],
    expires_at: datetime | None,
    rotated_from: ApiKey | None = None,
) -> tuple[ApiKey, str]:
    raw, prefix, digest = keys.make()
    key = ApiKey(
        tenant=tenant,
        name=name,
        prefix=prefix,
        digest=digest,
        scopes=scopes,
        expires_at=expires_at,
        rotated_from=rotated_from,
    )
    key.save()
    return key, raw


def _facts(key: ApiKey) -> dict[str, object]:
    """A key as the audit log keeps it."""
    return {
        "name": key.name,
        "scopes": key.scopes,
        "expires_at": key.expires_at.isoformat() if key.expires_at else None,
    }


@transaction.atomic
def revoke_api_key(*, key: ApiKey, actor: Actor) -> bool:
    """End a key, at once here and within 1 s elsewhere; False where it was revoked before."""
    changed = ApiKey.objects.filter(pk=key.pk, revoked_at__isnull=True).update(revoked_at=Now())
    if changed:
        record(tenant=key.tenant, actor=actor, action="api_key.revoked", target=key.prefix)
        transaction.on_commit(keys.forget)
    return bool(changed)
