"""A key that takes another's place: both count for a while, then one."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from tenants import keys, services
from tenants.actors import COMMAND
from tenants.errors import ApiKeyEnded, QuotaUsedUp
from tenants.models import ApiKey, AuditEntry, Tenant

pytestmark = pytest.mark.django_db


@pytest.fixture
def tenant() -> Tenant:
    keys.forget()
    return services.create_tenant(slug="acme", actor=COMMAND)


def test_both_count_for_the_overlap(tenant: Tenant) -> None:
    key, old = services.create_api_key(
        tenant=tenant, name="ci", scopes=["runs:read"], actor=COMMAND
    )
    made, new = services.rotate_api_key(key=key, overlap=timedelta(hours=1), actor=COMMAND)
    assert (made.name, made.scopes, made.expires_at) == ("ci", ["runs:read"], None)
    for raw in (old, new):
        assert keys.authenticate(raw) is not None
    ApiKey.objects.filter(pk=key.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    keys.forget()
    assert keys.authenticate(old) is None
    assert keys.authenticate(new) is not None
    entry = AuditEntry.objects.get(action="api_key.rotated")
    assert entry.target == key.prefix
    assert isinstance(entry.after, dict)
    assert entry.after["rotated_to"] == made.prefix


def test_without_an_overlap_the_old_one_ends(tenant: Tenant) -> None:
    key, old = services.create_api_key(tenant=tenant, actor=COMMAND)
    services.rotate_api_key(key=key, overlap=timedelta(0), actor=COMMAND)
    keys.forget()
    assert keys.authenticate(old) is None


def test_a_life_is_as_long_as_the_one_before(tenant: Tenant) -> None:
    month = timedelta(days=30)
    key, _ = services.create_api_key(
        tenant=tenant, expires_at=timezone.now() + month, actor=COMMAND
    )
    ApiKey.objects.filter(pk=key.pk).update(
        created_at=timezone.now() - timedelta(days=29),
        expires_at=timezone.now() + timedelta(days=1),
    )
    made, _ = services.rotate_api_key(key=key, overlap=timedelta(days=7), actor=COMMAND)
    assert made.expires_at is not None
    assert abs(made.expires_at - timezone.now() - month) < timedelta(minutes=1)
    key.refresh_from_db()
    assert key.expires_at is not None  # never later than it was to end
    assert key.expires_at < timezone.now() + timedelta(days=1, minutes=1)
    end = timezone.now() + timedelta(hours=2)
    assert services.rotate_api_key(key=made, expires_at=end, actor=COMMAND)[0].expires_at == end


def test_what_has_ended_or_was_rotated_is_not_rotated(tenant: Tenant) -> None:
    key, _ = services.create_api_key(tenant=tenant, actor=COMMAND)
    services.rotate_api_key(key=key, actor=COMMAND)
    with pytest.raises(ApiKeyEnded, match="before"):
        services.rotate_api_key(key=key, actor=COMMAND)
    ended, _ = services.create_api_key(tenant=tenant, actor=COMMAND)
    services.revoke_api_key(key=ended, actor=COMMAND)
    with pytest.raises(ApiKeyEnded, match="ended"):
        services.rotate_api_key(key=ended, actor=COMMAND)


def test_rotations_do_not_pile_keys_up_beyond_the_quota(tenant: Tenant) -> None:
    first, second = (services.create_api_key(tenant=tenant, actor=COMMAND)[0] for _ in range(2))
    services.set_quota(tenant=tenant, max_api_keys=2, actor=COMMAND)
    year = timedelta(days=366)
    made, _ = services.rotate_api_key(
        key=first, overlap=year, actor=COMMAND
    )  # one more for a while
    for key in (made, second):
        with pytest.raises(QuotaUsedUp) as caught:
            services.rotate_api_key(key=key, overlap=year, actor=COMMAND)
        assert caught.value.facts["quota"] == "max_api_keys"
    assert keys.in_force(tenant).count() == 3
    services.set_quota(tenant=tenant, max_api_keys=0, actor=COMMAND)
    last, _ = services.rotate_api_key(key=made, overlap=timedelta(0), actor=COMMAND)
    assert set(keys.in_force(tenant)) == {first, second, last}
    services.set_quota(tenant=tenant, max_api_keys=2, actor=COMMAND)
    services.revoke_api_key(key=first, actor=COMMAND)
    services.rotate_api_key(key=last, actor=COMMAND)
