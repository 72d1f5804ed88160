"""Limits are set for good or for a time, with their history, and counts of schedules and keys keep to them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from orchestrator import store
from orchestrator.services import usage
from orchestrator.store import quotas
from tenants.actors import COMMAND
from tenants.errors import InvalidValue, QuotaUsedUp
from tenants.models import AuditEntry, Quota, QuotaChange, QuotaOverride, Tenant
from tenants.services import (
    create_api_key,
    create_tenant,
    end_override,
    keep_override,
    revoke_api_key,
    set_quota,
)

pytestmark = pytest.mark.django_db
LATER = timedelta(hours=2)


@pytest.fixture
def tenant() -> Tenant:
    return create_tenant(slug="acme", actor=COMMAND)


def put(tenant: Tenant, **changes: Any) -> Quota:
    return set_quota(tenant=tenant, actor=COMMAND, **changes)


def now(tenant: Tenant) -> Quota:
    return Quota.objects.get(tenant=tenant)


def expire() -> int:
    QuotaOverride.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    return quotas.end_due(store.connection())


def test_what_is_set_for_a_time_comes_back(tenant: Tenant) -> None:
    until = timezone.now() + LATER
    put(tenant, max_connections=20)
    put(tenant, max_connections=50, max_active_runs=7, weight=2.5, until=until, reason="sale")
    put(tenant, max_connections=60, until=until + LATER, reason="more")
    assert (now(tenant).max_connections, now(tenant).max_active_runs) == (60, 7)
    row = QuotaOverride.objects.get(name="max_connections")
    assert (row.base, row.value, row.reason) == (20, 60, "more")
    assert quotas.end_due(store.connection()) == 0
    assert expire() == 3
    quota = now(tenant)
    assert (quota.max_connections, quota.max_active_runs, quota.weight) == (20, None, 1.0)
    assert not QuotaOverride.objects.exists()
    history = QuotaChange.objects.filter(name="max_connections").order_by("id")
    assert [(one.kind, one.before, one.after, one.reason) for one in history] == [
        ("base", 10, 20, ""),
        ("override", 20, 50, "sale"),
        ("override", 50, 60, "more"),
        ("expired", 60, 20, "more"),
    ]
    ended = AuditEntry.objects.filter(action="quota.override_expired")
    assert {"max_connections": 20} in [entry.after for entry in ended]
    assert usage.end_overrides(store.connection(), lease_s=15) == 0


def test_ended_before_its_time_or_by_what_is_set_for_good(tenant: Tenant) -> None:
    until = timezone.now() + LATER
    put(tenant, max_schedules=3, until=until)
    assert end_override(tenant=tenant, name="max_schedules", actor=COMMAND, reason="over")
    assert not end_override(tenant=tenant, name="max_schedules", actor=COMMAND)
    assert now(tenant).max_schedules is None
    put(tenant, max_schedules=3, until=until)
    put(tenant, max_schedules=5)
    assert expire() == 0
    assert now(tenant).max_schedules == 5
    kinds = QuotaChange.objects.order_by("id").values_list("kind", flat=True)
    assert list(kinds) == ["override", "ended", "override", "base"]
    assert AuditEntry.objects.filter(action="quota.override_ended").count() == 1


def test_the_value_of_an_override_is_kept_for_good(tenant: Tenant) -> None:
    until = timezone.now() + LATER
    put(tenant, max_connections=50, weight=3.0, max_schedules=4, until=until)
    put(tenant, max_connections=50, reason="for good")
    put(tenant, max_connections=50, reason="nothing is left to change")
    assert keep_override(tenant=tenant, name="weight", actor=COMMAND, reason="it went well")
    assert not keep_override(tenant=tenant, name="weight", actor=COMMAND)
    assert expire() == 1
    quota = now(tenant)
    assert (quota.max_connections, quota.weight, quota.max_schedules) == (50, 3.0, None)
    kept = QuotaChange.objects.filter(kind="base").order_by("id")
    assert [(one.name, one.before, one.after, one.reason) for one in kept] == [
        ("max_connections", 50, 50, "for good"),
        ("weight", 3.0, 3.0, "it went well"),
    ]


def test_digits_are_kept(tenant: Tenant) -> None:
    large = 2**53 - 1
    put(tenant, max_storage_bytes=large)
    put(tenant, max_storage_bytes=5, until=timezone.now() + LATER)
    assert expire() == 1
    assert now(tenant).max_storage_bytes == large


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"submissions_per_minute": 0}, "submissions_per_minute"),
        ({"max_active_runs": -1}, "max_active_runs"),
        ({"max_connections": None}, "max_connections"),
        ({"retention_days": 0}, "retention_days"),
        ({"max_storage_bytes": 2**60}, "max_storage_bytes"),
        ({"max_stepz": 1}, "max_stepz"),
        ({"weight": 2, "until": timezone.now() - LATER}, "until"),
        ({"weight": 2, "until": timezone.now() + timedelta(days=400)}, "until"),
        ({"keep_outputs": False, "until": timezone.now() + LATER}, "until"),
    ],
)
def test_nonsense_is_refused(tenant: Tenant, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        put(tenant, **changes)
    assert refused.value.facts["field"] == field
    assert not QuotaChange.objects.exists()


def test_keys_in_force_are_counted(tenant: Tenant) -> None:
    put(tenant, max_api_keys=2)
    key, _ = create_api_key(tenant=tenant, actor=COMMAND)
    create_api_key(tenant=tenant, actor=COMMAND, expires_at=timezone.now() + LATER)
    with pytest.raises(QuotaUsedUp) as refused:
        create_api_key(tenant=tenant, actor=COMMAND)
    facts = {"quota": "max_api_keys", "value": 2, "use": 2, "retry_after": 60}
    assert refused.value.facts == facts
    revoke_api_key(key=key, actor=COMMAND)
    create_api_key(tenant=tenant, actor=COMMAND)
    put(tenant, max_api_keys=0)
    with pytest.raises(QuotaUsedUp):
        create_api_key(tenant=tenant, actor=COMMAND)
