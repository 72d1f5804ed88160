"""The second factor: set up, asked for, taken away."""

from __future__ import annotations

import base64
import hashlib
import logging
import secrets
import time
from datetime import timedelta

from cryptography.hazmat.primitives.constant_time import bytes_eq
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from tenants.actors import Actor
from tenants.models import RecoveryCode, Totp
from tenants.sealing import Unreadable, seal, unseal
from tenants.services.audit import record

logger = logging.getLogger(__name__)

PURPOSE = "totp"
ISSUER = "Millrace"
STEP_S = 30
DIGITS = 6
SECRET_BYTES = 20
RECOVERY_CODES = 10
MOST_FAILURES = 10
LOCKED_FOR = timedelta(minutes=15)
"""So many wrong codes of a person, from wherever they come, and none is looked at for so long: a
stolen password gives 40 guesses an hour among a million codes."""
_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"


def has_totp(user: User) -> bool:
    """Whether signing in asks for a code."""
    return Totp.objects.filter(user=user, confirmed_at__isnull=False).exists()


def begin_totp(*, user: User) -> Totp:
    """A new secret, which counts once a code of it was entered; one that counts already stays."""
    found = Totp.objects.filter(user=user).first()
    if found is not None and found.confirmed_at is not None:
        return found
    secret = base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
    made, _ = Totp.objects.update_or_create(
        user=user, defaults={"secret": seal(secret, purpose=PURPOSE), "last_step": 0}
    )
    return made


def pending_totp(user: User) -> Totp | None:
    """The secret that was begun and not confirmed."""
    return Totp.objects.filter(user=user, confirmed_at=None).first()


def key_of(totp: Totp) -> str:
    """The secret as an authenticator takes it typed (Base32).  Raises sealing.Unreadable."""
    return base64.b32encode(_secret(totp)).decode().rstrip("=")


def address_of(totp: Totp) -> str:
    """The secret as an authenticator scans it (otpauth://…).  Raises sealing.Unreadable."""
    return _codes(totp).get_provisioning_uri(totp.user.get_username(), ISSUER)


@transaction.atomic
def confirm_totp(*, user: User, code: str, actor: Actor) -> list[str] | None:
    """Let the secret that was begun count, when `code` is one of its; answers the recovery codes,
    shown this once, and None where the code was not right."""
    totp = Totp.objects.select_for_update().filter(user=user, confirmed_at=None).first()
    if totp is None or not _take_code(totp, code):
        return None
    Totp.objects.filter(pk=totp.pk).update(confirmed_at=Now())
    record(tenant=None, actor=actor, action="totp.added", target=user.get_username())
    return _new_codes(user)


@transaction.atomic
def renew_recovery_codes(*, user: User, actor: Actor) -> list[str]:
    """New recovery codes, shown this once; those before count no longer."""
    record(tenant=None, actor=actor, action="recovery_codes.renewed", target=user.get_username())
    return _new_codes(user)


@transaction.atomic
def remove_totp(*, user: User, actor: Actor) -> bool:
    """Take the second factor away; False where there was none."""
    count, _ = Totp.objects.filter(user=user, confirmed_at__isnull=False).delete()
    RecoveryCode.objects.filter(user=user).delete()
    if count:
        record(tenant=None, actor=actor, action="totp.removed", target=user.get_username())
    return bool(count)


@transaction.atomic
def check_code(*, user: User, code: str, actor: Actor) -> bool:
    """Whether `code` is the authenticator's of now, or one of the person's recovery codes, which it
    uses up; each is taken once.  After ten wrong ones none is right for a quarter of an hour."""
    totp = Totp.objects.select_for_update().filter(user=user, confirmed_at__isnull=False).first()
    if totp is None:
        return False
    now = timezone.now()
    if totp.failed_at is not None and now - totp.failed_at >= LOCKED_FOR:
        totp.failure_count = 0
    if totp.failure_count >= MOST_FAILURES:
        return False
    if _take_code(totp, code) or _take_recovery(user, code, actor):
        Totp.objects.filter(pk=totp.pk).update(failure_count=0, failed_at=None)
        return True
    Totp.objects.filter(pk=totp.pk).update(failure_count=totp.failure_count + 1, failed_at=now)
    return False


def _secret(totp: Totp) -> bytes:
    return base64.b64decode(unseal(bytes(totp.secret), purpose=PURPOSE))


def _codes(totp: Totp) -> TOTP:
    # SHA-1 as every authenticator has it; RFC 6238 needs of it what HMAC keeps
    return TOTP(_secret(totp), DIGITS, SHA1(), STEP_S)  # noqa: S303


def _take_code(totp: Totp, code: str) -> bool:
    """Whether this is the code of now, or of a clock that is up to 30 s off; it is taken once."""
    given = "".join(code.split()).encode()
    try:
        codes = _codes(totp)
    except Unreadable:
        logger.error("a second factor cannot be read: SECRET_KEY has changed")
        return False
    present = int(time.time()) // STEP_S
    for step in (present, present - 1, present + 1):
        if bytes_eq(codes.generate(step * STEP_S), given) and step > totp.last_step:
            Totp.objects.filter(pk=totp.pk).update(last_step=step)
            return True
    return False


def _take_recovery(user: User, code: str, actor: Actor) -> bool:
    count, _ = RecoveryCode.objects.filter(user=user, digest=_digest(code)).delete()
    if count:
        record(tenant=None, actor=actor, action="recovery_code.used", target=user.get_username())
    return bool(count)


def _new_codes(user: User) -> list[str]:
    codes = [_code() for _ in range(RECOVERY_CODES)]
    RecoveryCode.objects.filter(user=user).delete()
    RecoveryCode.objects.bulk_create(RecoveryCode(user=user, digest=_digest(one)) for one in codes)
    return codes


def _code() -> str:
    """80 bits, in four parts that can be read out."""
    return "-".join("".join(secrets.choice(_ALPHABET) for _ in range(4)) for _ in range(4))


def _digest(code: str) -> bytes:
    plain = "".join(code.lower().split()).replace("-", "")
    return hashlib.sha256(plain.encode()).digest()
