"""Secrets as services: sealed, versioned, audited, refused where they could not be hidden."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import connection
from django.test import override_settings

from tenants.actors import COMMAND
from tenants.errors import AlreadyThere, InvalidValue, SecretNotFound
from tenants.models import AuditEntry, Secret, SecretVersion, Tenant
from tenants.sealing import Unreadable, unseal
from tenants.services import create_secret, create_tenant, delete_secret, set_secret
from tenants.services.secrets import PURPOSE

VALUE = "correct horse battery"


@pytest.fixture
def tenant(db: None) -> Tenant:
    return create_tenant(slug="t", actor=COMMAND)


def test_a_value_is_kept_sealed_with_its_versions(tenant: Tenant) -> None:
    create_secret(tenant=tenant, name="TOKEN", value=VALUE, actor=COMMAND)
    row, created = set_secret(tenant=tenant, name="TOKEN", value=VALUE + "!", actor=COMMAND)
    assert (row.version, created) == (2, False)
    assert VALUE.encode() not in bytes(row.sealed)
    assert unseal(bytes(row.sealed), purpose=PURPOSE) == VALUE + "!"
    versions = SecretVersion.objects.filter(secret=row).order_by("version")
    assert [(one.version, one.created_by) for one in versions] == [(1, "command"), (2, "command")]
    entries = AuditEntry.objects.filter(tenant=tenant, target="TOKEN").order_by("id")
    assert [(one.action, one.before, one.after) for one in entries] == [
        ("secret.created", None, {"version": 1}),
        ("secret.changed", {"version": 1}, {"version": 2}),
    ]
    delete_secret(tenant=tenant, name="TOKEN", actor=COMMAND)
    assert not Secret.objects.exists()
    with pytest.raises(SecretNotFound):
        delete_secret(tenant=tenant, name="TOKEN", actor=COMMAND)


def test_a_name_is_one_of_a_tenants_alone(tenant: Tenant) -> None:
    other = create_tenant(slug="o", actor=COMMAND)
    create_secret(tenant=tenant, name="TOKEN", value=VALUE, actor=COMMAND)
    create_secret(tenant=other, name="TOKEN", value=VALUE, actor=COMMAND)
    with pytest.raises(AlreadyThere):
        create_secret(tenant=tenant, name="TOKEN", value=VALUE, actor=COMMAND)


@pytest.mark.parametrize("value", ["", "abc", "  abc \n", "a\0bcd", "x" * 65_537])
def test_what_cannot_be_kept_or_hidden_is_refused(tenant: Tenant, value: str) -> None:
    with pytest.raises(InvalidValue, match="value"):
        create_secret(tenant=tenant, name="TOKEN", value=value, actor=COMMAND)
    assert not Secret.objects.exists()


@pytest.mark.parametrize("name", ["", "1a", "a-b", "a.b", "ä", "a" * 64, "a\n"])
def test_a_name_must_fit_an_expression(tenant: Tenant, name: str) -> None:
    with pytest.raises(InvalidValue, match="name"):
        create_secret(tenant=tenant, name=name, value=VALUE, actor=COMMAND)


def test_another_key_does_not_open_it(tenant: Tenant) -> None:
    row = create_secret(tenant=tenant, name="TOKEN", value=VALUE, actor=COMMAND)
    with (
        override_settings(SECRET_KEY="another", SECRET_KEY_FALLBACKS=[]),
        pytest.raises(Unreadable),
    ):
        unseal(bytes(row.sealed), purpose=PURPOSE)


def test_two_at_once_make_one(transactional_db: None) -> None:
    tenant = create_tenant(slug="t", actor=COMMAND)
    barrier = Barrier(4)

    def set_one(number: int) -> tuple[int, bool]:
        try:
            barrier.wait()
            row, created = set_secret(
                tenant=tenant, name="TOKEN", value=f"{VALUE} {number}", actor=COMMAND
            )
            return row.version, created
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as threads:
        found = sorted(threads.map(set_one, range(4)))
    assert found == [(1, True), (2, False), (3, False), (4, False)]
