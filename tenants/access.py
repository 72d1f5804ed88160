"""The only way from a person to a tenant.  Absent and foreign look the same."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db.models import F, Q
from django.db.models.functions import Now

from tenants import fence
from tenants.errors import RoleRequired, TenantNotFound
from tenants.models import Membership, Role, Tenant

RANK = {role: rank for rank, role in enumerate(Role)}
"""The roles' order: each may do what those below it may."""

Person: TypeAlias = AbstractBaseUser | AnonymousUser


@dataclass(frozen=True, slots=True)
class Access:
    """What a person may do in a tenant."""

    tenant: Tenant
    role: Role

    @property
    def is_admin(self) -> bool:
        """Whether they may do everything in it."""
        return self.may(Role.ADMIN)

    def may(self, role: Role) -> bool:
        """Whether this access includes what `role` may do."""
        return RANK[self.role] >= RANK[role]


def _staff(user: Person) -> bool:
    return bool(user.is_active and getattr(user, "is_staff", False))


def access_tenant(*, user: Person, slug: str, role: Role = Role.VIEWER) -> Access:
    """The tenant `slug`, where `user` has at least `role` in it; staff are admins everywhere.

    Raises TenantNotFound (absent, or none of this person's), RoleRequired (a lower role)."""
    if not user.is_authenticated or not user.is_active:
        raise TenantNotFound(slug)
    if _staff(user):
        with fence.through(fence.STAFF):
            tenant = Tenant.objects.filter(slug=slug).first()
        if tenant is None:
            raise TenantNotFound(slug)
        return Access(tenant, Role.ADMIN)
    with fence.through(fence.PEOPLE, user.pk):
        member = (
            Membership.objects.select_related("tenant")
            .filter(tenant__slug=slug, user=user.pk)
            .first()
        )
    if member is None:
        raise TenantNotFound(slug)
    access = Access(member.tenant, Role(member.role))
    if not access.may(role):
        raise RoleRequired(role)
    return access


def tenants_of(user: Person, *, limit: int | None = None) -> list[Tenant]:
    """The first `limit` tenants that `user` may see, by slug; staff see all but the server's own."""
    if not user.is_authenticated or not user.is_active:
        return []
    if _staff(user):
        with fence.through(fence.STAFF):
            return list(Tenant.objects.filter(is_system=False).order_by("slug")[:limit])
    with fence.through(fence.PEOPLE, user.pk):
        return list(Tenant.objects.filter(memberships__user=user.pk).order_by("slug")[:limit])


def last_used(user: Person) -> Tenant | None:
    """The tenant that `user` looked at last, of those they are a member of."""
    if not user.is_authenticated or not user.is_active:
        return None
    with fence.through(fence.PEOPLE, user.pk):
        member = (
            Membership.objects.select_related("tenant")
            .filter(user=user.pk)
            .order_by(F("last_used_at").desc(nulls_last=True), "tenant__slug")
            .first()
        )
    return member.tenant if member and member.last_used_at else None


def mark_used(*, user: Person, tenant: Tenant) -> None:
    """Remember that `user` looks at `tenant`; written at most once a minute."""
    with fence.through(fence.PEOPLE, user.pk):
        Membership.objects.filter(
            Q(last_used_at__isnull=True) | Q(last_used_at__lt=Now() - timedelta(minutes=1)),
            tenant=tenant,
            user=user.pk,
        ).update(last_used_at=Now())
