"""What tenants use is measured: connections held and due, peaks, requests, storage; and old rows go."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from uuid import uuid4

import psycopg
import pytest
from django.utils import timezone

from orchestrator import store
from orchestrator.models import Payload, ServerLoad, Storage, Usage
from orchestrator.services import limits, usage
from orchestrator.services.usage import RequestMeter, Sampler, StorageCount
from tenants.actors import COMMAND
from tenants.services import suspend
from tests.stats.conftest import Shop


@pytest.fixture(autouse=True)
def _server(transactional_db: None) -> None:
    ServerLoad.objects.all().delete()
    ServerLoad.objects.bulk_create(ServerLoad(slot=slot) for slot in range(-1, 16))


@pytest.fixture
def passing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sampler, float], int]:
    """Let seconds pass, then look."""
    clock = [1000.0]
    monkeypatch.setattr("orchestrator.services.usage.time.monotonic", lambda: clock[0])

    def look(sampler: Sampler, seconds: float) -> int:
        clock[0] += seconds
        return sampler(store.connection())

    return look


def test_connections_held_and_due_by_weight(
    shop: Shop,
    open_shop: Callable[[str], Shop],
    passing: Callable[[Sampler, float], int],
) -> None:
    other, idle = open_shop("other"), open_shop("idle")
    limits.change_total(max_connections=8, actor=COMMAND)
    limits.change_quota(tenant=shop.tenant, actor=COMMAND, weight=3)
    shop.submit(20)
    shop.claim(5)
    other.submit(20)
    sampler = Sampler()
    assert passing(sampler, 0) == 0  # before the first look nothing is known
    assert passing(sampler, 1) == 0
    assert passing(sampler, 1) == 2
    for width in (60, 300, 3600):
        rows = {row.tenant_id: row for row in Usage.objects.filter(width_s=width)}
        assert idle.tenant.pk not in rows
        mine, theirs = rows[shop.tenant.pk], rows[other.tenant.pk]
        assert (mine.received_s, theirs.received_s) == (5 * 2, 0)
        assert (mine.entitled_s, theirs.entitled_s) == (6 * 2, 2 * 2)
        assert (mine.peak_connections, mine.peak_active_runs, mine.peak_waiting_steps) == (
            5,
            20,
            15,
        )
    passing(sampler, 100)  # how a long pause was spent is not known
    passing(sampler, 2)
    assert sum(row.received_s for row in Usage.objects.filter(width_s=60)) == 5 * 6


def test_a_suspended_tenant_is_due_what_still_runs(
    shop: Shop, passing: Callable[[Sampler, float], int]
) -> None:
    shop.submit(6)
    shop.claim(2)
    suspend(tenant=shop.tenant, reason="unpaid", actor=COMMAND)
    sampler = Sampler()
    for seconds in (0, 2):
        passing(sampler, seconds)
    assert Usage.objects.get(width_s=3600).entitled_s == 4


def test_requests_are_added_up_and_kept_while_the_database_is_away(shop: Shop) -> None:
    meter = RequestMeter()
    for size in (100, 50):
        meter.count(shop.tenant.pk, size)
    with store.connect(name="test") as closed:
        pass
    with pytest.raises(psycopg.Error):
        meter.write(closed)
    meter.count(shop.tenant.pk, 7, requests=0)
    assert meter.write(store.connection()) >= 1
    assert meter.write(store.connection()) == 0
    for width in (60, 300, 3600):
        rows = Usage.objects.filter(width_s=width)
        assert sum(row.requests for row in rows) == 2
        assert sum(row.bytes for row in rows) == 157


def test_the_meters_thread_writes_at_its_end(shop: Shop) -> None:
    meter = RequestMeter()
    meter.begin()
    meter.begin()
    meter.count(shop.tenant.pk, 1)
    meter.end()
    assert Usage.objects.filter(requests=1).count() == 3


def test_storage_is_counted_and_forgotten(shop: Shop, open_shop: Callable[[str], Shop]) -> None:
    other = open_shop("other")
    now = timezone.now()
    for one, size in ((shop, 10_000), (shop, 20_000), (other, 7)):
        facts = {"tenant_id": one.tenant.pk, "run_id": one.run_row(now)}
        Payload.objects.create(**facts, size=size, data=b"x", id=uuid4())
    count = StorageCount()
    assert count(store.connection()) == 2
    assert count(store.connection()) == 0  # not again at once
    assert dict(Storage.objects.values_list("tenant_id", "bytes")) == {
        shop.tenant.pk: 30_000,
        other.tenant.pk: 7,
    }
    Payload.objects.filter(tenant_id=other.tenant.pk).delete()
    assert StorageCount()(store.connection()) == 1
    assert list(Storage.objects.values_list("tenant_id", flat=True)) == [shop.tenant.pk]


def test_old_buckets_go_by_their_width(shop: Shop) -> None:
    now = timezone.now()
    for width, days in ((60, 0.05), (60, 0.1), (300, 7), (300, 9), (3600, 399), (3600, 401)):
        Usage.objects.create(
            tenant_id=shop.tenant.pk, width_s=width, at=now - timedelta(days=days), requests=1
        )
    for days in (3, 4, 5):
        Usage.objects.create(
            tenant_id=shop.tenant.pk, width_s=60, at=now - timedelta(days=days), requests=1
        )
    assert usage.prune(store.connection(), limit=2) == 6, "in portions, until nothing is left"
    assert usage.prune(store.connection()) == 0
    assert Usage.objects.count() == 3
