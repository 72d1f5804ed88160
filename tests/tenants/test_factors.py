"""The second factor: codes are taken once, guesses are bounded, recovery codes work once."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db.models import F
from django.test import override_settings

from tenants import services
from tenants.actors import COMMAND
from tenants.models import AuditEntry, RecoveryCode, Totp
from tenants.services import factors
from tests.tenants.people import code_of, person, with_totp

pytestmark = pytest.mark.django_db


def check(user: User, code: str) -> bool:
    return services.check_code(user=user, code=code, actor=COMMAND)


def test_it_counts_when_a_code_was_entered() -> None:
    ann = person("ann")
    assert not check(ann, "000000")
    key = factors.key_of(services.begin_totp(user=ann))
    assert not factors.has_totp(ann)
    assert services.confirm_totp(user=ann, code="12 34", actor=COMMAND) is None
    assert not factors.has_totp(ann)
    codes = services.confirm_totp(user=ann, code=code_of(key), actor=COMMAND)
    assert factors.has_totp(ann)
    assert codes is not None
    assert len(set(codes)) == factors.RECOVERY_CODES
    kept = str(list(Totp.objects.values()) + list(RecoveryCode.objects.values()))
    assert key not in kept
    assert codes[0] not in kept
    assert services.begin_totp(user=ann).confirmed_at is not None  # what counts is not replaced
    assert services.confirm_totp(user=ann, code=code_of(key, steps=1), actor=COMMAND) is None


def test_the_address_for_an_authenticator() -> None:
    totp = services.begin_totp(user=person("ann"))
    address = factors.address_of(totp)
    assert address.startswith("otpauth://totp/Millrace:ann?")
    assert f"secret={factors.key_of(totp)}" in address


def test_a_code_is_taken_once_and_only_near_its_time() -> None:
    ann = person("ann")
    key, _ = with_totp(ann)
    assert not check(ann, code_of(key, steps=-1))  # it was used when the factor was set up
    assert not check(ann, code_of(key, steps=-4))
    assert not check(ann, code_of(key, steps=4))
    code = code_of(key)
    assert check(ann, f"{code[:3]} {code[3:]}")
    assert not check(ann, code)
    assert check(ann, code_of(key, steps=1))  # a clock that is ahead
    assert not check(person("bob"), code_of(key, steps=1))


def test_a_recovery_code_works_once() -> None:
    ann = person("ann")
    _, codes = with_totp(ann)
    assert check(ann, f" {codes[0].upper()} ")
    assert not check(ann, codes[0])
    assert check(ann, codes[1].replace("-", ""))
    renewed = services.renew_recovery_codes(user=ann, actor=COMMAND)
    assert not check(ann, codes[2])
    assert check(ann, renewed[0])
    assert AuditEntry.objects.filter(action="recovery_code.used").count() == 3


def test_guesses_are_bounded_from_wherever_they_come() -> None:
    ann = person("ann")
    key, codes = with_totp(ann)
    for _ in range(factors.MOST_FAILURES):
        assert not check(ann, "nonsense")
    assert not check(ann, code_of(key))
    assert not check(ann, codes[0])
    Totp.objects.update(failed_at=F("failed_at") - factors.LOCKED_FOR + timedelta(seconds=30))
    assert not check(ann, code_of(key))
    Totp.objects.update(failed_at=F("failed_at") - timedelta(seconds=31))
    assert check(ann, code_of(key))
    assert Totp.objects.get().failure_count == 0


def test_under_another_secret_key_recovery_codes_still_work() -> None:
    ann = person("ann")
    key, codes = with_totp(ann)
    with override_settings(SECRET_KEY="another", SECRET_KEY_FALLBACKS=[]):
        assert not check(ann, code_of(key))
        assert check(ann, codes[0])
    with override_settings(SECRET_KEY="another", SECRET_KEY_FALLBACKS=[settings.SECRET_KEY]):
        assert check(ann, code_of(key))


def test_it_can_be_taken_away() -> None:
    ann = person("ann")
    assert not services.remove_totp(user=ann, actor=COMMAND)
    with_totp(ann)
    assert services.remove_totp(user=ann, actor=COMMAND)
    assert not factors.has_totp(ann)
    assert not RecoveryCode.objects.exists()
    assert AuditEntry.objects.filter(action="totp.removed", target="ann").count() == 1
