"""People and their memberships."""

from __future__ import annotations

from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction

from tenants.actors import Actor
from tenants.errors import AlreadyThere, InvalidValue, LastAdmin
from tenants.models import Membership, Role, Tenant
from tenants.services.audit import record


@transaction.atomic
def create_user(
    *,
    name: str,
    password: str | None,
    email: str = "",
    tenant: Tenant | None = None,
    role: Role | None = None,
    staff: bool = False,
    actor: Actor,
) -> User:
    """A new person, a member of `tenant` when given (role: viewer unless said); `staff` see and
    set everything (they are superusers of the admin).  `password` None: they sign in through a
    provider alone.  Raises InvalidValue, AlreadyThere."""
    if role is not None and tenant is None:
        raise InvalidValue("role", "role: a role needs a tenant.")
    model = get_user_model()
    user = model(username=name, email=email, is_staff=staff, is_superuser=staff)
    try:
        user.clean_fields(exclude={"password"})
    except ValidationError as error:
        field = "email" if "email" in error.message_dict else "name"
        raise InvalidValue(field, f"{field}: {error.messages[0]}") from None
    if password is not None:
        check_password(password, user)
    if model.objects.filter(username=name).exists():
        raise AlreadyThere(f"The user {name} is there already.", user=name)
    if password is None:
        user.set_unusable_password()
    else:
        user.set_password(password)
    user.save()
    record(tenant=None, actor=actor, action="user.created", target=name, after={"staff": staff})
    if tenant is not None:
        set_member(tenant=tenant, user=user, role=role or Role.VIEWER, actor=actor)
    return user


def check_password(password: str, user: User) -> None:
    """Raise InvalidValue for a password that is easily guessed."""
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise InvalidValue("password", f"password: {error.messages[0]}") from None


@transaction.atomic
def set_member(*, tenant: Tenant, user: User, role: Role, actor: Actor) -> Membership:
    """Make `user` a member of `tenant` with `role`, or change the role that they have.

    Raises LastAdmin."""
    admins = _lock_admins(tenant)
    member = Membership.objects.select_for_update().filter(tenant=tenant, user=user).first()
    before = {"role": member.role} if member else None
    if member is None:
        member = Membership(tenant=tenant, user=user)
    elif role != Role.ADMIN:
        _keep_one(admins, member)
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
    """End a membership: their pages and sockets of the tenant close.  Raises LastAdmin."""
    _keep_one(_lock_admins(member.tenant), member)
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
def delete_user(*, user: User, actor: Actor) -> None:
    """Delete a person: they leave each of their tenants first.  Raises LastAdmin."""
    members = Membership.objects.filter(user=user).select_related("tenant", "user")
    for member in members.order_by("tenant_id"):
        remove_member(member=member, actor=actor)
    record(
        tenant=None,
        actor=actor,
        action="user.deleted",
        target=user.get_username(),
        before=user_facts(user),
    )
    user.delete()


def user_facts(user: User) -> dict[str, object]:
    """What the audit log tells of a person."""
    return {
        "name": user.get_username(),
        "email": user.email,
        "staff": user.is_staff,
        "superuser": user.is_superuser,
        "active": user.is_active,
    }


def _lock_admins(tenant: Tenant) -> set[int]:
    """The memberships of those who can act as the tenant's admins, with one change at a time: two
    admins who remove each other must not both succeed."""
    Tenant.objects.select_for_update(no_key=True).get(pk=tenant.pk)
    admins = Membership.objects.filter(tenant=tenant, role=Role.ADMIN, user__is_active=True)
    return set(admins.values_list("pk", flat=True))


def _keep_one(admins: set[int], member: Membership) -> None:
    if admins == {member.pk}:
        raise LastAdmin(name=member.user.get_username(), tenant=member.tenant.slug)
