"""Windows are read from buckets: totals, quantiles, no holes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from orchestrator.conf import Conf
from orchestrator.domain.errors import WorkflowNotFound
from orchestrator.models import Workflow
from orchestrator.selectors import stats
from orchestrator.selectors.ranking import workflow_ranking
from orchestrator.services import rollups
from tests.stats.conftest import Shop


def roll() -> None:
    while rollups.roll():
        pass


@pytest.mark.parametrize("name", list(stats.WINDOWS))
def test_every_window_has_at_most_120_buckets_without_holes(
    shop: Shop, noon: datetime, name: str, django_assert_num_queries: Any
) -> None:
    run = shop.run_row(noon)
    shop.tell(noon, [("run.succeeded", 2.0)] * 3 + [("run.failed", 4.0)], run)
    roll()
    now = noon + timedelta(seconds=95)
    with django_assert_num_queries(1):
        seen = stats.window_stats(tenant=shop.tenant, window_s=stats.WINDOWS[name], now=now)
    assert len(seen.buckets) <= stats.MAX_BUCKETS
    assert len(seen.buckets) * seen.width_s == pytest.approx(stats.WINDOWS[name], abs=seen.width_s)
    times = [bucket.at for bucket in seen.buckets]
    assert {b - a for a, b in itertools.pairwise(times)} == {timedelta(seconds=seen.width_s)}
    assert times[-1] <= now < times[-1] + timedelta(seconds=seen.width_s)
    assert (seen.totals.runs_succeeded, seen.totals.runs_failed) == (3, 1)
    assert sum(bucket.counts.runs_finished for bucket in seen.buckets) == 4
    assert seen.error_rate == 0.25
    assert seen.run.p50_s == pytest.approx(2.0, abs=0.5)
    assert seen.run.p99_s == pytest.approx(4.0, abs=0.2)
    assert seen.runs_per_s == pytest.approx(4 / (now - seen.since).total_seconds())


def test_what_lies_before_the_window_does_not_count(shop: Shop, noon: datetime) -> None:
    run = shop.run_row(noon)
    shop.tell(noon - timedelta(minutes=16), [("run.failed", 1.0)], run)
    shop.tell(noon - timedelta(minutes=2), [("run.succeeded", 1.0)], run)
    shop.tell(noon + timedelta(minutes=1), [("run.failed", 1.0)], run)
    roll()
    seen = stats.window_stats(tenant=shop.tenant, window_s=900, now=noon)
    assert (seen.totals.runs_succeeded, seen.totals.runs_failed) == (1, 0)


def test_an_empty_window(shop: Shop) -> None:
    seen = stats.window_stats(tenant=shop.tenant, window_s=900)
    assert len(seen.buckets) == 90
    assert seen.totals == stats.Counts()
    assert (seen.error_rate, seen.run, seen.runs_per_s) == (None, stats.Quantiles(), 0.0)


def test_one_workflow_and_another_tenant(
    shop: Shop, open_shop: Callable[[str], Shop], noon: datetime
) -> None:
    stranger = open_shop("stranger")
    shop.tell(noon, [("run.succeeded", 1.0)], shop.run_row(noon))
    first = shop.workflow
    shop.workflow = Workflow.objects.create(tenant=shop.tenant, name="cubes")
    shop.version = shop._version(shop.workflow)
    shop.tell(noon, [("run.failed", 9.0)] * 2, shop.run_row(noon))
    roll()
    now = noon + timedelta(minutes=1)

    def totals(one: Shop, workflow: str | None) -> tuple[int, int]:
        counts = stats.window_stats(
            tenant=one.tenant, window_s=3600, workflows=[workflow] if workflow else [], now=now
        ).totals
        return counts.runs_succeeded, counts.runs_failed

    assert totals(shop, None) == (1, 2)
    assert totals(shop, first.name) == (1, 0)
    assert totals(shop, "cubes") == (0, 2)
    assert totals(stranger, None) == (0, 0)
    with pytest.raises(WorkflowNotFound):
        totals(stranger, "cubes")
    ranked = stats.workflow_stats(tenant=shop.tenant, window_s=3600, now=now)
    assert [(one.name, one.totals.runs_finished) for one in ranked] == [
        ("cubes", 2),
        ("squares", 1),
    ]
    assert ranked[0].run.p95_s == pytest.approx(9.0)
    assert stats.workflow_stats(tenant=stranger.tenant, window_s=86_400, now=now) == []


def test_workflows_that_stand_out(
    shop: Shop, open_shop: Callable[[str], Shop], noon: datetime
) -> None:
    def told(name: str, ends: Sequence[tuple[str, float | None]]) -> None:
        shop.workflow = Workflow.objects.create(tenant=shop.tenant, name=name)
        shop.version = shop._version(shop.workflow)
        shop.tell(noon, ends, shop.run_row(noon))

    told("busy", [("run.succeeded", 1.0)] * 9 + [("run.failed", 1.0)])
    told("ill", [("run.failed", 2.0)] * 3)
    told("slow", [("run.succeeded", 60.0)])
    told("idle", [])
    roll()
    now = noon + timedelta(minutes=1)

    def names(one: Shop, **asked: int) -> list[list[str]]:
        found = workflow_ranking(tenant=one.tenant, now=now, **{"limit": 2, **asked})
        return [
            [row.name for row in rows] for rows in (found.busiest, found.slowest, found.failing)
        ]

    for window_s in (900, 3600, 604_800):
        expected = [["busy", "ill"], ["slow", "ill"], ["ill", "busy"]]
        assert names(shop, window_s=window_s) == expected
    assert names(shop, window_s=3600, limit=1) == [["busy"], ["slow"], ["ill"]]
    assert names(open_shop("stranger"), window_s=3600) == [[], [], []]


@pytest.mark.parametrize("window_s", [0, -1, stats.MAX_WINDOW_S + 1])
def test_a_window_out_of_range(shop: Shop, window_s: int) -> None:
    with pytest.raises(ValueError, match="a window is"):
        stats.window_stats(tenant=shop.tenant, window_s=window_s)


def test_quantiles_of_many_buckets_are_close(shop: Shop, noon: datetime) -> None:
    run = shop.run_row(noon)
    for part in range(20):
        values = [part + number / 100 for number in range(100)]
        shop.tell(
            noon + timedelta(seconds=15 * part), [("step.running", value) for value in values], run
        )
    roll()
    for window in (900, 3600, 86_400):
        seen = stats.window_stats(
            tenant=shop.tenant, window_s=window, now=noon + timedelta(minutes=6)
        )
        assert seen.queue.p50_s == pytest.approx(10.0, abs=0.3)
        assert seen.queue.p95_s == pytest.approx(19.0, abs=0.3)
        assert seen.totals.attempts == 2000


def test_a_stretch_of_the_past_ends_where_it_was_told_to(shop: Shop, noon: datetime) -> None:
    run = shop.run_row(noon)
    for seconds in (-1, 0, 59, 60):
        shop.tell(noon + timedelta(seconds=seconds), [("run.succeeded", 1.0)], run)
    roll()
    until = noon + timedelta(seconds=60)
    seen = stats.window_stats(tenant=shop.tenant, window_s=60, now=until)
    assert (seen.since, seen.buckets[-1].at) == (noon, until - timedelta(seconds=10))
    assert seen.totals.runs_succeeded == 2
    ranked = stats.workflow_stats(tenant=shop.tenant, window_s=60, now=until)
    assert [(one.name, one.totals.runs_succeeded) for one in ranked] == [("squares", 2)]


@pytest.mark.parametrize(("days", "width"), [(1, 10), (4, 60), (20, 3600)])
def test_of_long_ago_it_takes_the_buckets_that_are_kept(
    shop: Shop, noon: datetime, days: int, width: int
) -> None:
    then = noon - timedelta(days=days)
    shop.tell(then, [("run.succeeded", 1.0)], shop.run_row(then))
    roll()
    rollups.prune(Conf())
    seen = stats.window_stats(tenant=shop.tenant, window_s=600, now=then + timedelta(seconds=590))
    assert seen.width_s == width
    assert seen.totals.runs_succeeded == 1
    found = stats.workflow_stats(
        tenant=shop.tenant, window_s=600, now=then + timedelta(seconds=590)
    )
    assert [one.totals.runs_succeeded for one in found] == [1]
