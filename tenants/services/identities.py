"""Who people are to an OpenID Connect provider."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db import transaction

from tenants.actors import Actor
from tenants.errors import AlreadyThere, NotConfirmed
from tenants.models import Identity
from tenants.services.audit import record


@dataclass(frozen=True, slots=True)
class Claims:
    """What a provider has signed about a person.  `email` is empty unless it was verified there."""

    issuer: str
    subject: str
    name: str
    email: str


def user_of(claims: Claims) -> User | None:
    """The active person whom this is, by the provider's own number for them alone."""
    found = (
        Identity.objects.select_related("user")
        .filter(issuer=claims.issuer, subject=claims.subject, user__is_active=True)
        .first()
    )
    return found.user if found else None


@transaction.atomic
def connect(*, user: User, claims: Claims, actor: Actor) -> Identity:
    """Let `user` sign in as this person of the provider.  Raises AlreadyThere where somebody does."""
    made, is_new = Identity.objects.get_or_create(
        issuer=claims.issuer,
        subject=claims.subject,
        defaults={"user": user, "shown": claims.email or claims.name},
    )
    if made.user_id != user.pk:
        raise AlreadyThere("This sign-in is connected to another account.")
    if is_new:
        record(
            tenant=None,
            actor=actor,
            action="identity.connected",
            target=user.get_username(),
            after={"issuer": claims.issuer, "subject": claims.subject},
        )
    return made


@transaction.atomic
def disconnect(*, user: User, actor: Actor) -> bool:
    """End every sign-in of `user` through a provider; False where there was none.

    Raises NotConfirmed for one who has no password: nothing would be left to sign in with."""
    found = Identity.objects.select_for_update().filter(user=user)
    facts = [{"issuer": one.issuer, "subject": one.subject} for one in found]
    if facts and not user.has_usable_password():
        raise NotConfirmed("Set a password first: there would be nothing left to sign in with.")
    found.delete()
    if facts:
        record(
            tenant=None,
            actor=actor,
            action="identity.disconnected",
            target=user.get_username(),
            before=facts,
        )
    return bool(facts)
