"""What people change of their own accounts."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction

from tenants.actors import Actor
from tenants.errors import InvalidValue
from tenants.services.audit import record
from tenants.services.people import check_password
from tenants.services.sessions import end_sessions


@transaction.atomic
def set_password(
    *, user: User, password: str, keep_session: str | None = None, actor: Actor
) -> None:
    """A new password; every session but the one with this key ends.  Raises InvalidValue."""
    check_password(password, user)
    user.set_password(password)
    user.save(update_fields=["password"])
    record(tenant=None, actor=actor, action="password.set", target=user.get_username())
    end_sessions(user=user, but=keep_session, actor=actor)


@transaction.atomic
def set_email(*, user: User, email: str, actor: Actor) -> None:
    """Where a forgotten password is asked back; empty: nowhere.  Raises InvalidValue."""
    if email:
        try:
            validate_email(email)
        except ValidationError:
            raise InvalidValue("email", "email: that is no e-mail address.") from None
    before = user.email
    if before == email:
        return
    user.email = email
    user.save(update_fields=["email"])
    record(
        tenant=None,
        actor=actor,
        action="email.set",
        target=user.get_username(),
        before={"email": before},
        after={"email": email},
    )
