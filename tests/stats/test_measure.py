"""Any stretch of time, of any workflows, against the events themselves."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from orchestrator.models import Event, Rollup, Workflow
from orchestrator.selectors import stats
from orchestrator.selectors.stats import measure, measure_each
from orchestrator.services import rollups
from tests.stats.conftest import Shop


@pytest.fixture
def busy(shop: Shop, noon: datetime) -> Shop:
    """Two hours of runs of two workflows, the second one slow and often failing."""
    rng = Random(3)
    for slow in (0, 1):
        if slow:
            shop.workflow = Workflow.objects.create(tenant=shop.tenant, name="slow")
            shop.version = shop._version(shop.workflow)
        events: list[tuple[datetime, str, float | None]] = []
        for passed in range(0, 7200, 37):
            failed = rng.random() < (0.4 if slow else 0.02)
            took = rng.expovariate(0.2 if slow else 2.0)
            at = noon + timedelta(seconds=passed)
            events += [
                (at, "run.failed" if failed else "run.succeeded", took),
                (at, "step.running", 0.01),
            ]
        shop.tell_all(events, shop.run_row(noon))
    while rollups.roll():
        pass
    return shop


def exact(shop: Shop, since: datetime, until: datetime) -> list[float]:
    rows = Event.objects.filter(
        tenant_id=shop.tenant.pk, at__gte=since, at__lt=until, type__in=("run.succeeded", "run.failed")
    )  # fmt: skip
    return sorted(value or 0.0 for value in rows.values_list("value_s", flat=True))


def test_any_stretch_is_what_its_events_say(
    busy: Shop, noon: datetime, django_assert_max_num_queries: Any
) -> None:
    for first, length in (
        (0, 10), (30, 90), (50, 3600), (0, 7200), (3590, 20), (70, 7000), (600, 0), (900, -60)
    ):  # fmt: skip
        since = noon + timedelta(seconds=first)
        until = since + timedelta(seconds=length)
        with django_assert_max_num_queries(1):
            seen = measure(tenant_id=busy.tenant.pk, workflow_ids=None, since=since, until=until)
        values = exact(busy, since, until)
        assert seen.since == since
        assert seen.counts.runs_finished == len(values)
        assert seen.run.count == len(values)
        assert seen.queue.count == seen.counts.attempts == len(values)
        assert (seen.attempt.count, seen.ready.quantile(0.5)) == (0, None)
        if values:
            below = seen.run.share_below(1.0)
            true = sum(value < 1.0 for value in values) / len(values)
            assert below == pytest.approx(true, abs=0.02 + 1 / len(values))


def test_of_workflows_together_and_of_strangers(
    busy: Shop, open_shop: Callable[[str], Shop], noon: datetime
) -> None:
    stranger = open_shop("stranger")
    ids = list(Workflow.objects.filter(tenant=busy.tenant).values_list("pk", flat=True))
    until = noon + timedelta(hours=2)

    def finished(shop: Shop, workflows: list[int] | None) -> int:
        found = measure(tenant_id=shop.tenant.pk, workflow_ids=workflows, since=noon, until=until)
        return found.counts.runs_finished

    both = [finished(busy, [pk]) for pk in ids]
    assert sum(both) == finished(busy, ids) == finished(busy, None) == 2 * 195
    assert finished(busy, []) == finished(busy, [0]) == 0
    assert finished(stranger, ids) == finished(stranger, None) == 0
    only = measure(
        tenant_id=busy.tenant.pk, workflow_ids=None, of=("queue",), since=noon, until=until
    )
    assert (only.run.count, only.queue.count) == (0, 390)


def test_bucket_by_bucket(busy: Shop, noon: datetime, django_assert_num_queries: Any) -> None:
    tenant = busy.tenant.pk
    for width in (10, 120, 900, 3600):
        with django_assert_num_queries(1):
            found = measure_each(
                tenant_id=tenant, workflow_ids=None, width_s=width,
                since=noon, until=noon + timedelta(hours=2),
            )  # fmt: skip
        assert sum(one.counts.runs_finished for one in found) == 390
        for one in found:
            assert one.until - one.since == timedelta(seconds=width)
            assert one.since.timestamp() % width == 0
            assert one.run.count == len(exact(busy, one.since, one.until)) > 0
    with pytest.raises(ValueError, match="multiple of 10"):
        measure_each(tenant_id=tenant, workflow_ids=None, since=noon, until=noon, width_s=15)


@pytest.mark.parametrize(
    ("days", "width"), [(0.1, 10), (1.9, 10), (2.1, 60), (14.9, 60), (15.1, 3600), (300, 3600)]
)
def test_where_narrow_buckets_are_gone_it_takes_wider_ones(
    shop: Shop, days: float, width: int
) -> None:
    now = datetime.now(UTC)
    since = now - timedelta(days=days)
    seen = measure(tenant_id=shop.tenant.pk, workflow_ids=None, since=since, until=now)
    assert seen.since.timestamp() == int(since.timestamp()) // width * width
    assert seen.until.timestamp() == int(now.timestamp()) // 10 * 10
    spans = list(stats._cover(int(seen.since.timestamp()), int(seen.until.timestamp())))
    assert (
        sum(last - first for _, first, last in spans) == (seen.until - seen.since).total_seconds()
    )
    assert sum((last - first) // one for one, first, last in spans) <= days * 24 + 100


def test_the_busiest_workflows_alone(busy: Shop, noon: datetime) -> None:
    now = noon + timedelta(hours=2)
    busy.tell(noon, [("run.succeeded", 1.0)], busy.run_row(noon))
    while rollups.roll():
        pass

    def names(**asked: Any) -> list[str]:
        found = stats.workflow_stats(tenant=busy.tenant, window_s=10_000, now=now, **asked)
        return [one.name for one in found]

    assert names() == ["slow", "squares"]
    assert names(limit=1) == ["slow"]
    assert names(names=["squares", "unknown"]) == ["squares"]
    assert names(names=[]) == []


def test_other_tenants_buckets_are_not_read_for_them(busy: Shop, noon: datetime) -> None:
    Rollup.objects.bulk_create(
        Rollup(tenant_id=tenant, workflow_id=tenant * 100 + workflow, width_s=3600, at=noon)
        for tenant in range(1000, 1100)
        for workflow in range(20)
    )
    with connection.cursor() as cursor, CaptureQueriesContext(connection) as seen:
        cursor.execute("ANALYZE rollup")
        stats.workflow_stats(tenant=busy.tenant, window_s=604_800, now=noon + timedelta(hours=2))
        summed = next(one["sql"] for one in seen.captured_queries if "SUM" in one["sql"])
        cursor.execute(f"EXPLAIN {summed}")
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "rollup_busiest" in plan, plan
