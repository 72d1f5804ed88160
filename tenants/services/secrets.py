"""Secrets: set, deleted, sealed anew.  Nothing here gives a value back."""

from __future__ import annotations

import re

from django.db import transaction
from django.db.models.functions import Now

from tenants.actors import Actor
from tenants.errors import AlreadyThere, InvalidValue, SecretNotFound
from tenants.models import SECRET_PATTERN, Secret, SecretVersion, Tenant
from tenants.sealing import seal
from tenants.services.audit import record

PURPOSE = "secrets"
SHORTEST = 4
"""Characters; the values of shorter ones could not be hidden in outputs and logs."""
LARGEST = 64 * 1024
"""Bytes."""
MOST = 1_000
"""Secrets of a tenant."""
_NAME = re.compile(SECRET_PATTERN)


def create_secret(*, tenant: Tenant, name: str, value: str, actor: Actor) -> Secret:
    """A new secret.  Raises InvalidValue, AlreadyThere."""
    return _set(tenant, name, value, actor, replace=False)[0]


def set_secret(*, tenant: Tenant, name: str, value: str, actor: Actor) -> tuple[Secret, bool]:
    """The secret with this value, and whether it is new; steps that start from now on get it.

    Raises InvalidValue."""
    return _set(tenant, name, value, actor, replace=True)


@transaction.atomic
def _set(
    tenant: Tenant, name: str, value: str, actor: Actor, *, replace: bool
) -> tuple[Secret, bool]:
    if not _NAME.fullmatch(name):
        raise InvalidValue(
            "name", "name: letters, digits and underscores, no digit first, at most 63 characters."
        )
    _check(value)
    known = Secret.objects.filter(tenant=tenant)
    if not known.filter(name=name).exists() and known.count() >= MOST:
        raise InvalidValue("name", f"name: a tenant has at most {MOST:,} secrets.")
    sealed = seal(value, purpose=PURPOSE)
    row, created = known.select_for_update().get_or_create(
        name=name, defaults={"tenant": tenant, "sealed": sealed, "updated_by": str(actor)}
    )
    if not created and not replace:
        raise AlreadyThere(f"The secret {name} is there already.", secret=name)
    if not created:
        row.version += 1
        Secret.objects.filter(pk=row.pk).update(
            sealed=sealed, version=row.version, updated_at=Now(), updated_by=str(actor)
        )
    SecretVersion.objects.create(
        tenant=tenant, secret=row, version=row.version, created_by=str(actor)
    )
    record(
        tenant=tenant,
        actor=actor,
        action="secret.created" if created else "secret.changed",
        target=name,
        before=None if created else {"version": row.version - 1},
        after={"version": row.version},
    )
    row.refresh_from_db()
    return row, created


def _check(value: str) -> None:
    if len(value.strip()) < SHORTEST:
        raise InvalidValue(
            "value",
            f"value: has fewer than {SHORTEST} characters, which could not be hidden in outputs"
            " and logs.",
        )
    if "\0" in value or len(value.encode("utf-8", "replace")) > LARGEST:
        raise InvalidValue("value", f"value: is larger than {LARGEST:,} bytes, or has U+0000.")


@transaction.atomic
def delete_secret(*, tenant: Tenant, name: str, actor: Actor) -> None:
    """Forget a secret and its history; steps that name it fail from now on.

    Raises SecretNotFound."""
    row = None
    if "\0" not in name:
        row = Secret.objects.select_for_update().filter(tenant=tenant, name=name).first()
    if row is None:
        raise SecretNotFound(name)
    record(
        tenant=tenant,
        actor=actor,
        action="secret.deleted",
        target=name,
        before={"version": row.version},
    )
    row.delete()
