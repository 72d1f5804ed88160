"""Tenants' databases: their role and schema here, or an address elsewhere."""

from __future__ import annotations

import logging

from django.db import transaction
from django.db.models.functions import Now

from tenants.actors import Actor
from tenants.connections import asking, external, roles
from tenants.errors import InvalidValue, RolesRefused
from tenants.models import Quota, Tenant, TenantDatabase
from tenants.sealing import Unreadable, seal
from tenants.services.audit import record

logger = logging.getLogger(__name__)


def make_database(*, tenant: Tenant, max_connections: int) -> TenantDatabase:
    """The role and schema of a new tenant; within the transaction that makes it.

    Raises RolesRefused."""
    row = TenantDatabase.objects.create(tenant=tenant, password=roles.new_password())
    password = roles.password_of(row.password)
    roles.settle(tenant_id=tenant.pk, password=password, limit=max_connections)
    return row


@transaction.atomic
def settle_database(*, tenant: Tenant) -> None:
    """Bring a tenant's role and schema back to what they should be, with a password that can be read.

    Raises RolesRefused."""
    row = TenantDatabase.objects.select_for_update().filter(tenant=tenant).first()
    if row is None:
        row = TenantDatabase(tenant=tenant, password=roles.new_password())
        row.save()
    try:
        password = roles.password_of(row.password)
    except Unreadable:
        row.password = roles.new_password()
        row.save(update_fields=["password"])
        password = roles.password_of(row.password)
    limit = Quota.objects.get(tenant=tenant).max_connections
    roles.settle(tenant_id=tenant.pk, password=password, limit=limit)


def repair_databases(*, slug: str | None = None) -> list[str]:
    """Make the roles and schemas that are missing, and set limits that differ; a tenant that is named
    by `slug` is settled anew, whatever it looks like.  Answers the slugs.  Raises RolesRefused."""
    mended: list[str] = []
    if not roles.are_known():
        return mended  # migrated back to before there were any
    for home in roles.homes():
        if home.slug == slug or (slug is None and not home.is_well):
            settle_database(tenant=Tenant.objects.get(pk=home.tenant_id))
            mended.append(home.slug)
    return mended


def settle_all(plan: object = None, **_: object) -> None:
    """Give tenants of before what they lack (a receiver of post_migrate).

    Where the login may not, the migration goes on: the doctor tells it, with the mend."""
    if plan is None:
        return  # a flush: there is no tenant
    try:
        repair_databases()
    except RolesRefused as error:
        logger.warning("%s", error.message)


def set_external_database(
    *, tenant: Tenant, address: str, rules: external.Rules, actor: Actor
) -> TenantDatabase:
    """Let the tenant's steps use a database elsewhere, which must answer within `asking.WITHIN_S`;
    no transaction of its own is open meanwhile.

    Raises InvalidValue for an address that is refused or does not answer."""
    try:
        target = external.read(address)
        asking.ask(target, rules)
    except external.BadAddress as error:
        raise InvalidValue("address", f"address: {error}") from None
    return _use(tenant, address, target, actor)


@transaction.atomic
def _use(tenant: Tenant, address: str, target: external.Target, actor: Actor) -> TenantDatabase:
    row = TenantDatabase.objects.select_for_update().get(tenant=tenant)
    before = {"external": row.external_name or None}
    row.external = seal(address, purpose=external.PURPOSE)
    row.external_name = target.name
    _save(row)
    record(
        tenant=tenant, actor=actor, action="database.set", target=tenant.slug, before=before,
        after={"external": target.name},
    )  # fmt: skip
    return row


@transaction.atomic
def clear_external_database(*, tenant: Tenant, actor: Actor) -> bool:
    """Go back to the tenant's schema in the server's database; false where it is used already."""
    row = TenantDatabase.objects.select_for_update().get(tenant=tenant)
    if row.external is None:
        return False
    before = {"external": row.external_name}
    row.external, row.external_name = None, ""
    _save(row)
    record(
        tenant=tenant, actor=actor, action="database.set", target=tenant.slug, before=before,
        after={"external": None},
    )  # fmt: skip
    return True


def _save(row: TenantDatabase) -> None:
    TenantDatabase.objects.filter(pk=row.pk).update(
        external=row.external, external_name=row.external_name, updated_at=Now()
    )
