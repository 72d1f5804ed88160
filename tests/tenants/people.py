"""People for tests, and the codes of an authenticator."""

from __future__ import annotations

import base64
import time

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from django.contrib.auth.models import User

from tenants import services
from tenants.actors import COMMAND
from tenants.models import Role, Tenant, Totp
from tenants.services.factors import key_of

PASSWORD = "a long enough passphrase"


def person(
    name: str, tenant: Tenant | None = None, role: Role | None = None, email: str = ""
) -> User:
    """Somebody with the usual password."""
    return services.create_user(
        name=name, password=PASSWORD, tenant=tenant, role=role, actor=COMMAND, email=email
    )


def code_of(key: str, *, steps: int = 0) -> str:
    """What an authenticator with this key (Base32) shows now, or so many times 30 s from now."""
    plain = key.replace(" ", "")
    secret = base64.b32decode(plain + "=" * (-len(plain) % 8))
    return TOTP(secret, 6, SHA1(), 30).generate(time.time() + 30 * steps).decode()


def with_totp(user: User) -> tuple[str, list[str]]:
    """Give `user` a second factor; its key and the recovery codes.  The code of 30 s ago is used."""
    key = key_of(services.begin_totp(user=user))
    codes = services.confirm_totp(user=user, code=code_of(key, steps=-1), actor=COMMAND)
    assert codes is not None
    assert Totp.objects.get(user=user).confirmed_at is not None
    return key, codes
