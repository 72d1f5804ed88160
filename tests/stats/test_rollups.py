"""Events become buckets, each exactly once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connections
from fastdigest import TDigest

from orchestrator.models import Rollup, RollupCursor, Run, TenantLoad
from orchestrator.services import rollups
from orchestrator.store import rollups as statements
from tests.stats.conftest import Shop


def roll_all(limit: int = 50_000) -> int:
    moved = 0
    while count := rollups.roll(limit):
        moved += count
    return moved


def test_runs_through_the_engine_are_counted(shop: Shop) -> None:
    shop.submit(5)
    claimed = shop.claim()
    shop.complete(claimed[:3])
    shop.complete(claimed[3:4], "failed", error='{"code":"error","message":"no","type":"X"}')
    assert roll_all() == TenantLoad.objects.get(tenant_id=shop.tenant.pk).seq
    totals = RollupCursor.objects.get(tenant_id=shop.tenant.pk)
    assert (totals.submitted, totals.attempts) == (5, 5)
    assert (totals.runs_succeeded, totals.runs_failed) == (3, 1)
    assert (totals.steps_succeeded, totals.steps_failed) == (3, 1)
    assert totals.worker_s > 0
    for workflow in (0, shop.workflow.pk):
        for width in rollups.WIDTHS:
            rows = Rollup.objects.filter(
                tenant_id=shop.tenant.pk, workflow_id=workflow, width_s=width
            )
            assert sum(row.runs_succeeded for row in rows) == 3
            assert (
                sum(TDigest.from_bytes(bytes(r.run_sketch)).n_values for r in rows if r.run_sketch)
                == 4
            )
            assert (
                sum(
                    TDigest.from_bytes(bytes(r.queue_sketch)).n_values
                    for r in rows
                    if r.queue_sketch
                )
                == 5
            )


def test_nothing_new_costs_nothing(shop: Shop, django_assert_max_num_queries: Any) -> None:
    shop.submit(1)
    assert roll_all() > 0
    before = list(Rollup.objects.order_by("pk").values())
    assert rollups.roll() == 0
    assert list(Rollup.objects.order_by("pk").values()) == before


def test_small_bites_come_to_the_same(
    shop: Shop, open_shop: Callable[[str], Shop], noon: datetime
) -> None:
    other = open_shop("other")
    events = [("step.succeeded", 0.1 + number / 100) for number in range(50)]
    for one in (shop, other):
        run = one.run_row(noon)
        for part in range(5):
            one.tell(noon + timedelta(seconds=7 * part), events[part * 10 : part * 10 + 10], run)
    assert rollups.roll(4) == 4
    roll_all(7)
    for one in (shop, other):
        rows = Rollup.objects.filter(tenant_id=one.tenant.pk, workflow_id=0, width_s=10).order_by(
            "at"
        )
        assert [row.steps_succeeded for row in rows] == [20, 10, 20]
        hour = Rollup.objects.get(
            tenant_id=one.tenant.pk, workflow_id=one.workflow.pk, width_s=3600
        )
        assert hour.steps_succeeded == 50
        sketch = TDigest.from_bytes(bytes(hour.attempt_sketch))  # type: ignore[arg-type]
        assert sketch.quantile(0.5) == pytest.approx(0.345, abs=0.02)
        assert hour.worker_s == pytest.approx(sum(value for _, value in events))
        assert RollupCursor.objects.get(tenant_id=one.tenant.pk).steps_succeeded == 50


def test_each_type_has_its_count(shop: Shop, noon: datetime) -> None:
    shop.tell(
        noon,
        [
            ("run.queued", None), ("run.running", 0.1), ("run.cancelled", 5.0), ("step.ready", None),
            ("step.running", 0.2), ("step.retrying", 1.0), ("step.lost", 2.0), ("step.failed", None),
            ("step.skipped", None), ("step.cancelled", 3.0), ("step.waiting", 4.0), ("step.ready", 0.5),
        ],
        shop.run_row(noon),
    )  # fmt: skip
    roll_all()
    row = Rollup.objects.get(workflow_id=0, width_s=10)
    counts = {name: getattr(row, name) for name in rollups.COUNT_OF.values()}
    expected = dict.fromkeys(rollups.COUNT_OF.values(), 0) | {
        "submitted": 1, "runs_cancelled": 1, "attempts": 1, "retries": 1, "losses": 1,
        "steps_failed": 1, "steps_skipped": 1, "steps_cancelled": 1,
    }  # fmt: skip
    assert counts == expected
    assert row.worker_s == pytest.approx(1 + 2 + 3 + 4 + 0.5)
    assert row.run_sketch is None
    assert TDigest.from_bytes(bytes(row.attempt_sketch)).n_values == 1  # type: ignore[arg-type]


def test_a_bucket_without_work_is_written_beside_one_with_work(shop: Shop, noon: datetime) -> None:
    run = shop.run_row(noon)
    shop.tell(noon, [("run.queued", None)], run)
    shop.tell(noon + timedelta(seconds=10), [("step.succeeded", 1.5)], run)
    roll_all()
    rows = Rollup.objects.filter(workflow_id=0, width_s=10).order_by("at")
    assert [row.worker_s for row in rows] == [0.0, 1.5]


def test_events_of_a_run_that_is_gone_still_count_for_the_tenant(
    shop: Shop, noon: datetime
) -> None:
    run = shop.run_row(noon)
    shop.tell(noon, [("run.succeeded", 1.0)], run)
    Run.objects.filter(pk=run).delete()
    roll_all()
    assert Rollup.objects.get(width_s=10).workflow_id == 0


def test_events_that_were_dropped_do_not_stop_it(shop: Shop, noon: datetime) -> None:
    TenantLoad.objects.create(tenant_id=shop.tenant.pk, seq=1000)
    shop.tell(noon, [("run.succeeded", 1.0)])
    assert roll_all() == 1001
    assert RollupCursor.objects.get().runs_succeeded == 1


def test_a_failure_changes_nothing(
    shop: Shop, noon: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.tell(noon, [("run.succeeded", 1.0)], shop.run_row(noon))

    def fail(*_: object, **__: object) -> None:
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(statements, "move", fail)
        with pytest.raises(ConnectionError):
            rollups.roll()
    assert not Rollup.objects.exists()
    roll_all()
    assert Rollup.objects.get(workflow_id=0, width_s=10).runs_succeeded == 1


def test_racing_processes_count_each_event_once(shop: Shop, noon: datetime) -> None:
    run = shop.run_row(noon)
    shop.tell(noon, [("step.succeeded", 0.1)] * 400, run)
    barrier = threading.Barrier(4)
    moved: list[int] = []

    def race() -> None:
        try:
            barrier.wait(10)
            moved.extend(rollups.roll(17) for _ in range(50))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=race) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    moved.append(roll_all())
    assert sum(moved) == 400
    assert Rollup.objects.get(workflow_id=0, width_s=10).steps_succeeded == 400
    assert RollupCursor.objects.get().steps_succeeded == 400


def test_old_buckets_are_pruned_by_width(shop: Shop, noon: datetime) -> None:
    for days in (0, 3, 20):
        shop.tell(noon - timedelta(days=days), [("run.queued", None)])
    roll_all()
    assert rollups.prune() == 3
    left = sorted((row.width_s, row.at) for row in Rollup.objects.all())
    assert [width for width, _ in left] == [10, 300, 300, 3600, 3600, 3600]
    assert rollups.prune() == 0
