"""Every write to tenants, people and keys: one verb each, atomic, audited."""

from __future__ import annotations

from datetime import datetime
from typing import TypedDict, Unpack

from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Model
from django.db.models.functions import Now

from tenants import keys
from tenants.actors import Actor
from tenants.errors import AlreadyThere, InvalidValue
from tenants.models import ApiKey, AuditEntry, Membership, Quota, Role, Tenant


class QuotaChanges(TypedDict, total=False):
    """The limits that may be set; see Quota for units and ranges."""

    max_connections: int
    weight: float
    max_steps: int
    max_payload_bytes: int
    keep_outputs: bool


def record(
    *,
    tenant: Tenant | None,
    actor: Actor,
    action: str,
    target: str = "",
    before: object = None,
    after: object = None,
    origin: str = "",
) -> AuditEntry:
    """Write the audit row of a change; `tenant` None: the server itself.

    `before` and `after` are JSON values; `origin` defaults to the actor's."""
    return AuditEntry.objects.create(
        tenant=tenant,
        actor=str(actor),
        action=action,
        target=target,
        before=before,
        after=after,
        origin=origin or actor.origin,
    )


def _check(row: Model) -> None:
    """Raise InvalidValue for the first field that is out of its range or form."""
    try:
        row.full_clean(validate_unique=False, validate_constraints=False)
    except ValidationError as error:
        field, messages = next(iter(error.message_dict.items()))
        raise InvalidValue(field, f"{field}: {messages[0]}") from None


@transaction.atomic
def create_tenant(*, slug: str, name: str = "", max_connections: int = 10, actor: Actor) -> Tenant:
    """A new tenant with its quota.  Raises InvalidValue, AlreadyThere."""
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
    _check(quota)
    quota.save()
    record(
        tenant=tenant,
        actor=actor,
        action="tenant.created",
        target=slug,
        after={"name": name, "max_connections": max_connections},
    )
    return tenant


@transaction.atomic
def create_user(
    *,
    name: str,
    password: str,
    tenant: Tenant | None = None,
    role: Role | None = None,
    staff: bool = False,
    actor: Actor,
) -> User:
    """A new person, a member of `tenant` when given (role: viewer unless said); `staff` see and
    set everything (they are superusers of the admin).  Raises InvalidValue, AlreadyThere."""
    if role is not None and tenant is None:
        raise InvalidValue("role", "role: a role needs a tenant.")
    model = get_user_model()
    user = model(username=name, is_staff=staff, is_superuser=staff)
    try:
        user.clean_fields(exclude={"password"})
        validate_password(password, user)
    except ValidationError as error:
        field = "name" if hasattr(error, "error_dict") else "password"
        raise InvalidValue(field, f"{field}: {error.messages[0]}") from None
    if model.objects.filter(username=name).exists():
        raise AlreadyThere(f"The user {name} is there already.", user=name)
    user.set_password(password)
    user.save()
    record(tenant=None, actor=actor, action="user.created", target=name, after={"staff": staff})
    if tenant is not None:
        set_member(tenant=tenant, user=user, role=role or Role.VIEWER, actor=actor)
    return user


@transaction.atomic
def set_member(*, tenant: Tenant, user: User, role: Role, actor: Actor) -> Membership:
    """Make `user` a member of `tenant` with `role`, or change the role that they have."""
    member = Membership.objects.select_for_update().filter(tenant=tenant, user=user).first()
    before = {"role": member.role} if member else None
    if member is None:
        member = Membership(tenant=tenant, user=user)
    member.role = Role(role)
    member.save()
    record(
        tenant=tenant,
        actor=actor,
        action="member.set",
        target=user.get_username(),
        before=before,
        after={"role": member.role},
    )
    return member


@transaction.atomic
def remove_member(*, member: Membership, actor: Actor) -> None:
    """End a membership."""
    before = {"role": member.role}
    record(
        tenant=member.tenant,
        actor=actor,
        action="member.removed",
        target=member.user.get_username(),
        before=before,
    )
    member.delete()


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

    Raises InvalidValue for an unknown scope."""
    wanted = keys.SCOPES if scopes is None else tuple(dict.fromkeys(scopes))
    for scope in wanted:
        if scope not in keys.SCOPES:
            raise InvalidValue(
                "scopes", f"scopes: {scope!r} is not a scope; there are {', '.join(keys.SCOPES)}."
            )
    if not wanted:
        raise InvalidValue("scopes", "scopes: name at least one scope.")
    raw, prefix, digest = keys.make()
    key = ApiKey.objects.create(
        tenant=tenant,
        name=name,
        prefix=prefix,
        digest=digest,
        scopes=list(wanted),
        expires_at=expires_at,
    )
    record(
        tenant=tenant,
        actor=actor,
        action="api_key.created",
        target=prefix,
        after={
            "name": name,
            "scopes": list(wanted),
            "expires_at": expires_at.isoformat() if expires_at else None,
        },
    )
    return key, raw


@transaction.atomic
def revoke_api_key(*, key: ApiKey, actor: Actor) -> bool:
    """End a key, at once here and within 1 s elsewhere; False where it was revoked before."""
    changed = ApiKey.objects.filter(pk=key.pk, revoked_at__isnull=True).update(revoked_at=Now())
    if changed:
        record(tenant=key.tenant, actor=actor, action="api_key.revoked", target=key.prefix)
        transaction.on_commit(keys.forget)
    return bool(changed)


@transaction.atomic
def set_quota(
    *, tenant: Tenant, actor: Actor, reason: str = "", **changes: Unpack[QuotaChanges]
) -> Quota:
    """Set limits of `tenant`; running workers read them at their next claim.

    Raises InvalidValue, naming the limit.  What does not change writes nothing."""
    quota = Quota.objects.select_for_update().get(tenant=tenant)
    before: dict[str, object] = {}
    after: dict[str, object] = {}
    for name, value in changes.items():
        if name not in QuotaChanges.__annotations__:
            raise InvalidValue(name, f"{name}: there is no such limit.")
        old = getattr(quota, name)
        if old != value:
            before[name], after[name] = old, value
            setattr(quota, name, value)
    _check(quota)
    if after:
        Quota.objects.filter(pk=quota.pk).update(**after, updated_at=Now())
        record(
            tenant=tenant,
            actor=actor,
            action="quota.set",
            target=tenant.slug,
            before=before,
            after=after | ({"reason": reason} if reason else {}),
        )
    return quota


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
