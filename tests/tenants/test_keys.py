"""API keys: made once, kept as a digest, refused when revoked or expired."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from tenants import keys, services
from tenants.actors import COMMAND
from tenants.errors import InvalidValue
from tenants.models import ApiKey, AuditEntry, Tenant

pytestmark = pytest.mark.django_db


@pytest.fixture
def tenant() -> Tenant:
    keys.forget()
    return services.create_tenant(slug="acme", actor=COMMAND)


def test_a_key_is_shown_once_and_kept_as_a_digest(tenant: Tenant) -> None:
    key, raw = services.create_api_key(tenant=tenant, name="ci", actor=COMMAND)
    assert raw.startswith(f"{key.prefix}_")
    assert len(raw) == len(key.prefix) + 1 + 43
    assert raw not in str(list(ApiKey.objects.values()) + list(AuditEntry.objects.values()))
    assert key.scopes == list(keys.SCOPES)
    found = keys.authenticate(raw)
    assert found is not None
    assert found.tenant == tenant


def test_scopes_are_those_named(tenant: Tenant) -> None:
    key, _ = services.create_api_key(
        tenant=tenant, scopes=["runs:read", "runs:read"], actor=COMMAND
    )
    assert key.scopes == ["runs:read"]
    for scopes in (["runs:red"], []):
        with pytest.raises(InvalidValue, match="scope"):
            services.create_api_key(tenant=tenant, scopes=scopes, actor=COMMAND)


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw[:-1] + ("A" if raw[-1] != "A" else "B"),
        lambda raw: raw[:-1],
        lambda raw: raw + "x",
        lambda raw: raw.upper(),
        lambda raw: raw[3:],
        lambda raw: "",
        lambda raw: "mr_",
        lambda raw: "mr_é" + raw,
        lambda raw: raw + "x" * 300,
        lambda raw: raw[:5] + "\0" + raw[5:],
    ],
)
def test_anything_else_is_refused(tenant: Tenant, change: Any) -> None:
    _, raw = services.create_api_key(tenant=tenant, actor=COMMAND)
    assert keys.authenticate(change(raw)) is None


def test_an_expired_key_is_refused_even_when_it_is_remembered(tenant: Tenant) -> None:
    soon = timezone.now() + timedelta(milliseconds=150)
    key, raw = services.create_api_key(tenant=tenant, actor=COMMAND, expires_at=soon)
    assert keys.authenticate(raw) is not None
    remembered = keys.authenticate(raw)
    assert remembered is not None
    remembered.expires_at = timezone.now() - timedelta(seconds=1)
    assert keys.authenticate(raw) is None
    ApiKey.objects.filter(pk=key.pk).update(expires_at=remembered.expires_at)
    keys.forget()
    assert keys.authenticate(raw) is None


def test_a_revoked_key_is_refused_at_once_here(
    tenant: Tenant, django_capture_on_commit_callbacks: Any
) -> None:
    key, raw = services.create_api_key(tenant=tenant, actor=COMMAND)
    assert keys.authenticate(raw) is not None
    with django_capture_on_commit_callbacks(execute=True):
        assert services.revoke_api_key(key=key, actor=COMMAND)
        assert not services.revoke_api_key(key=key, actor=COMMAND)
    assert keys.authenticate(raw) is None
    assert AuditEntry.objects.filter(action="api_key.revoked").count() == 1


def test_a_flood_asks_the_database_once(tenant: Tenant, django_assert_num_queries: Any) -> None:
    _, raw = services.create_api_key(tenant=tenant, actor=COMMAND)
    with django_assert_num_queries(2):  # the key with its tenant, and the mark of its use
        for _ in range(5):
            assert keys.authenticate(raw) is not None


def test_use_is_written_at_most_once_a_minute(
    tenant: Tenant, django_assert_num_queries: Any
) -> None:
    key, raw = services.create_api_key(tenant=tenant, actor=COMMAND)
    keys.authenticate(raw)
    key.refresh_from_db()
    assert key.last_used_at is not None
    keys.forget()
    with django_assert_num_queries(1):
        keys.authenticate(raw)
    ApiKey.objects.filter(pk=key.pk).update(last_used_at=timezone.now() - timedelta(minutes=2))
    keys.forget()
    with django_assert_num_queries(2):
        keys.authenticate(raw)


def test_what_is_remembered_is_bounded(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "CACHE_MAX", 2)
    for _ in range(4):
        _, raw = services.create_api_key(tenant=tenant, actor=COMMAND)
        assert keys.authenticate(raw) is not None
    assert len(keys._cache._kept) == 2
