"""Invitations: made, withdrawn, accepted once."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable
from datetime import timedelta

from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.mail import EmailMessage
from django.core.validators import validate_email
from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone

from tenants import fence, mail
from tenants.access import RANK
from tenants.actors import Actor
from tenants.errors import AlreadyThere, InvalidValue, InvitationNotFound, TooManyOpen
from tenants.models import Invitation, Membership, Role, Tenant
from tenants.services.audit import record
from tenants.services.identities import Claims, connect
from tenants.services.people import create_user, set_member

LIFETIME = timedelta(days=7)
LONGEST_LIFETIME = timedelta(days=30)
MOST_OPEN = 100
MOST_ATTEMPTS = 5
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
_NOT_IN_NAMES = re.compile(r"[^\w.@+-]")


def is_open() -> Q:
    """What holds for an invitation that can be accepted."""
    return Q(
        accepted_at=None,
        revoked_at=None,
        expires_at__gt=Now(),
        attempt_count__lt=MOST_ATTEMPTS,
    )


def digest(token: str) -> bytes:
    """What is kept of a link's token."""
    return hashlib.sha256(token.encode()).digest()


@transaction.atomic
def invite(
    *,
    tenant: Tenant,
    role: Role,
    email: str = "",
    lifetime: timedelta = LIFETIME,
    link: Callable[[str], str],
    actor: Actor,
) -> tuple[Invitation, str]:
    """An invitation and its link, which is shown this once, and sent to `email` where one is given
    and mail is sent at all.  `link` makes an address of a token.  Whether anybody has that address
    is not looked at.  Raises InvalidValue, TooManyOpen."""
    if email:
        try:
            validate_email(email)
        except ValidationError:
            raise InvalidValue("email", "email: that is no e-mail address.") from None
    if not timedelta() < lifetime <= LONGEST_LIFETIME:
        raise InvalidValue("lifetime", f"lifetime: at most {LONGEST_LIFETIME.days} days.")
    Tenant.objects.select_for_update(no_key=True).get(pk=tenant.pk)
    if Invitation.objects.filter(is_open(), tenant=tenant).count() >= MOST_OPEN:
        raise TooManyOpen(
            f"{MOST_OPEN} invitations are open: withdraw some first.", limit=MOST_OPEN
        )
    token = secrets.token_urlsafe(32)
    made = Invitation(
        tenant=tenant,
        digest=digest(token),
        role=Role(role),
        email=email,
        created_by=str(actor),
        expires_at=timezone.now() + lifetime,
    )
    made.save()
    record(
        tenant=tenant,
        actor=actor,
        action="invitation.created",
        target=email,
        after={"id": made.pk, "role": made.role, "expires_at": made.expires_at.isoformat()},
    )
    address = link(token)
    if email:
        transaction.on_commit(lambda: mail.send(lambda: _letter(made, address, actor), to=email))
    return made, address


def _letter(made: Invitation, address: str, actor: Actor) -> EmailMessage:
    days = max(1, round((made.expires_at - timezone.now()) / timedelta(days=1)))
    return EmailMessage(
        subject=mail.header(f"Join {made.tenant.slug} on Millrace"),
        body=(
            f"{actor.name or 'An admin'} invites you to the tenant {made.tenant.slug} on Millrace,"
            f" as {made.role}.\n\nAccept here, once, within {days} days:\n\n{address}\n\n"
            "If you do not know what this is about, leave it alone.\n"
        ),
        to=[made.email],
    )


@transaction.atomic
def revoke_invitation(*, tenant: Tenant, invitation_id: int, actor: Actor) -> None:
    """Withdraw an invitation: its link leads nowhere.  Raises InvitationNotFound."""
    found = (
        Invitation.objects.select_for_update()
        .filter(is_open(), tenant=tenant, pk=invitation_id)
        .first()
    )
    if found is None:
        raise InvitationNotFound
    Invitation.objects.filter(pk=found.pk).update(revoked_at=Now())
    record(
        tenant=tenant,
        actor=actor,
        action="invitation.revoked",
        target=found.email,
        before={"id": found.pk, "role": found.role},
    )


def access_invitation(*, token: str, lock: bool = False) -> Invitation:
    """The open invitation that this link stands for, with its tenant.  Raises InvitationNotFound."""
    rows = Invitation.objects.select_for_update(of=("self",)) if lock else Invitation.objects.all()
    found = None
    if _TOKEN.fullmatch(token):
        with fence.through(fence.INVITES, digest(token).hex()):
            found = rows.select_related("tenant").filter(is_open(), digest=digest(token)).first()
    if found is None:
        raise InvitationNotFound
    return found


@transaction.atomic
def accept(*, token: str, user: User, actor: Actor) -> Invitation:
    """Make `user` a member as invited; one who is a member already never loses rights by it.

    Raises InvitationNotFound; of several who try at once, one succeeds."""
    invitation = access_invitation(token=token, lock=True)
    with fence.within(invitation.tenant_id):
        _take(invitation, user, actor)
        member = Membership.objects.filter(tenant=invitation.tenant, user=user).first()
        role = Role(invitation.role)
        if member is None or RANK[Role(member.role)] < RANK[role]:
            set_member(tenant=invitation.tenant, user=user, role=role, actor=actor)
    return invitation


def join(
    *, token: str, name: str, password: str, email: str = "", origin: str
) -> tuple[User, Invitation]:
    """A new person, a member as invited.  Raises InvitationNotFound, InvalidValue, AlreadyThere.

    `email` is what they say themselves: a forgotten password is mended there, so that the invitation's
    address, which somebody else has chosen, would be a way into the account.
    A name that is taken has to be told; so that nobody learns all of them, an invitation ends with
    the fifth."""
    actor = Actor("user", name, origin)
    try:
        with transaction.atomic():
            invitation = access_invitation(token=token, lock=True)
            user = create_user(name=name, password=password, email=email, actor=actor)
            _join(invitation, user, actor)
    except AlreadyThere:
        with fence.through(fence.INVITES, digest(token).hex()):
            Invitation.objects.filter(digest=digest(token)).update(
                attempt_count=F("attempt_count") + 1
            )
        raise
    return user, invitation


@transaction.atomic
def join_through(*, token: str, claims: Claims, origin: str) -> tuple[User, Invitation]:
    """The same for somebody whom a provider knows; they get a name like the one they have there.

    Raises InvitationNotFound, InvalidValue."""
    invitation = access_invitation(token=token, lock=True)
    name = free_name(claims.name)
    actor = Actor("user", name, origin)
    user = create_user(name=name, password=None, email=claims.email, actor=actor)
    connect(user=user, claims=claims, actor=actor)
    _join(invitation, user, actor)
    return user, invitation


def _join(invitation: Invitation, user: User, actor: Actor) -> None:
    """Make a new person a member as invited."""
    with fence.within(invitation.tenant_id):
        _take(invitation, user, actor)
        set_member(tenant=invitation.tenant, user=user, role=Role(invitation.role), actor=actor)


def free_name(wanted: str) -> str:
    """`wanted` as a user's name, with something behind it where it is taken."""
    base = _NOT_IN_NAMES.sub("-", wanted).strip("-")[:140] or "user"
    if get_user_model().objects.filter(username=base).exists():
        return f"{base}-{secrets.token_hex(3)}"
    return base


def _take(invitation: Invitation, user: User, actor: Actor) -> None:
    """Use the invitation up.  Its row is locked."""
    Invitation.objects.filter(pk=invitation.pk).update(accepted_at=Now(), accepted_by=user)
    record(
        tenant=invitation.tenant,
        actor=actor,
        action="invitation.accepted",
        target=invitation.email,
        after={"id": invitation.pk, "role": invitation.role, "by": user.get_username()},
    )
