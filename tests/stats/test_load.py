"""Use against limits."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator.selectors import load
from orchestrator.services import limits
from tenants import services
from tenants.actors import COMMAND
from tenants.errors import InvalidValue
from tenants.models import AuditEntry
from tests.stats.conftest import Shop


def test_load_follows_the_engine(shop: Shop, open_shop: Callable[[str], Shop]) -> None:
    other = open_shop("other")
    assert load.tenant_load(shop.tenant) == load.Load(0, 10, 0, 0, 100, 0)
    shop.submit(5)
    claimed = shop.claim(want=3)
    seen = load.tenant_load(shop.tenant)
    assert seen == load.Load(
        in_use=3, max_connections=10, ready=2, total_in_use=3, total_max=100, active_runs=5
    )
    assert load.tenant_load(other.tenant) == load.Load(0, 10, 0, 3, 100, 0)
    shop.complete(claimed)
    assert load.tenant_load(shop.tenant).in_use == 0
    assert load.server_use() == load.ServerUse(0, 100)


def test_all_tenants(shop: Shop, open_shop: Callable[[str], Shop]) -> None:
    open_shop("zeta")
    services.suspend(tenant=shop.tenant, reason="unpaid", actor=COMMAND)
    shop.submit(2)
    rows, after = load.list_tenants_load()
    assert [(row.slug, row.in_use, row.max_connections, row.ready) for row in rows] == [
        ("acme", 0, 10, 2),
        ("zeta", 0, 10, 0),
    ]
    assert rows[0].suspended_reason == "unpaid"
    assert after is None
    first, after = load.list_tenants_load(limit=1)
    second, end = load.list_tenants_load(limit=1, cursor=after)
    assert [row.slug for row in first + second] == ["acme", "zeta"]
    assert (end, [row.slug for row in load.list_tenants_load(text="ZE")[0]]) == (None, ["zeta"])


def test_a_quota_acts_at_the_next_claim(shop: Shop) -> None:
    limits.change_quota(tenant=shop.tenant, actor=COMMAND, max_connections=2)
    shop.submit(10)
    assert len(shop.claim()) == 2
    limits.change_quota(tenant=shop.tenant, actor=COMMAND, reason="more", max_connections=6)
    assert len(shop.claim()) == 4
    limits.change_quota(tenant=shop.tenant, actor=COMMAND, max_connections=1)
    assert len(shop.claim()) == 0


def test_the_servers_total_acts_at_the_next_claim(shop: Shop) -> None:
    shop.submit(10)
    limits.change_total(max_connections=3, actor=COMMAND, reason="small")
    assert len(shop.claim()) == 3
    limits.change_total(max_connections=5, actor=COMMAND)
    assert len(shop.claim()) == 2
    entries = AuditEntry.objects.filter(action="server.max_connections_set").order_by("id")
    assert [entry.after for entry in entries] == [
        {"max_connections": 3, "reason": "small"},
        {"max_connections": 5},
    ]
    limits.change_total(max_connections=5, actor=COMMAND)
    assert entries.count() == 2
    for wrong in (-1, 100_001):
        with pytest.raises(InvalidValue):
            limits.change_total(max_connections=wrong, actor=COMMAND)


def test_a_suspended_tenant_starts_nothing_until_it_is_resumed(shop: Shop) -> None:
    shop.submit(2)
    services.suspend(tenant=shop.tenant, reason="unpaid", actor=COMMAND)
    assert len(shop.claim()) == 0
    assert limits.resume_tenant(tenant=shop.tenant, actor=COMMAND)
    assert len(shop.claim()) == 2
