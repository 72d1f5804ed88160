"""Tenants: made, renamed, suspended, resumed."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models.functions import Now

from tenants import keys
from tenants.actors import Actor
from tenants.errors import AlreadyThere, InvalidValue
from tenants.models import Quota, Tenant
from tenants.services.audit import record
from tenants.services.checking import check
from tenants.services.databases import make_database


@transaction.atomic
def create_tenant(*, slug: str, name: str = "", max_connections: int = 10, actor: Actor) -> Tenant:
    """A new tenant with its quota, its role and its schema.

    Raises InvalidValue, AlreadyThere, RolesRefused."""
    tenant = Tenant(slug=slug, name=name)
    try:
        tenant.clean_fields(exclude={"name"})
    except ValidationError:
        raise InvalidValue(
            "slug",
            f"slug: {slug!r} is not a slug: small letters, digits and hyphens, a letter first,"
            " at most 63 characters.",
        ) from None
    if Tenant.objects.filter(slug=slug).exists():
        raise AlreadyThere(f"The tenant {slug} is there already.", tenant=slug)
    tenant.save()
    quota = Quota(tenant=tenant, max_connections=max_connections)
    check(quota)
    quota.save()
    make_database(tenant=tenant, max_connections=max_connections)
    record(
        tenant=tenant,
        actor=actor,
        action="tenant.created",
        target=slug,
        after={"name": name, "max_connections": max_connections},
    )
    return tenant


@transaction.atomic
def rename(*, tenant: Tenant, name: str, actor: Actor) -> bool:
    """Give `tenant` another name; its slug stays.  False where it has that name."""
    row = Tenant.objects.select_for_update(no_key=True).get(pk=tenant.pk)
    before, row.name = row.name, name
    if before == name:
        return False
    row.save(update_fields=["name"])
    record(
        tenant=tenant,
        actor=actor,
        action="tenant.renamed",
        target=tenant.slug,
        before={"name": before},
        after={"name": name},
    )
    tenant.name = name
    return True


@transaction.atomic
def suspend(*, tenant: Tenant, reason: str, actor: Actor) -> bool:
    """Let nothing of `tenant` start; what runs ends.  False where it was suspended before."""
    changed = Tenant.objects.filter(pk=tenant.pk, suspended_at__isnull=True).update(
        suspended_at=Now(), suspended_reason=reason
    )
    if changed:
        record(
            tenant=tenant,
            actor=actor,
            action="tenant.suspended",
            target=tenant.slug,
            after={"reason": reason},
        )
        transaction.on_commit(keys.forget)
    tenant.refresh_from_db()
    return bool(changed)


@transaction.atomic
def resume(*, tenant: Tenant, actor: Actor) -> bool:
    """Lift a suspension.  False where there was none."""
    reason = tenant.suspended_reason
    changed = Tenant.objects.filter(pk=tenant.pk, suspended_at__isnull=False).update(
        suspended_at=None, suspended_reason=""
    )
    if changed:
        record(
            tenant=tenant,
            actor=actor,
            action="tenant.resumed",
            target=tenant.slug,
            before={"reason": reason},
        )
        transaction.on_commit(keys.forget)
    tenant.refresh_from_db()
    return bool(changed)
