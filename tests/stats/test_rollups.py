"""Events become buckets, each exactly once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connections
from django.db.models import F
from fastdigest import TDigest

from orchestrator.conf import Conf
from orchestrator.models import Event, Rollup, RollupCursor, Run, StepRun, TenantLoad
from orchestrator.models.metrics import HISTOGRAM_BOUNDS_S, WIDTHS
from orchestrator.services import rollups
from orchestrator.store import rollups as statements
from orchestrator.store.work import Completion, exchange
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
        for width in WIDTHS:
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


def test_readiness_is_from_the_codes_end_to_the_written_end(shop: Shop) -> None:
    shop.submit(4)
    claimed = shop.claim()
    now = time.monotonic()
    for one, ended in zip(claimed, (now - 2.0, now - 30.0, now, None), strict=True):
        exchange(
            shop.engine,
            shop.worker.pk,
            [Completion(one, "succeeded", 0.1, ended=ended)],
            [],
            None,
        )
    roll_all()
    totals = RollupCursor.objects.get(tenant_id=shop.tenant.pk)
    assert totals.ready_histogram[-1] == 3  # of one nobody knows when its code ended
    assert totals.ready_histogram[HISTOGRAM_BOUNDS_S.index(1800.0)] == 3
    assert totals.ready_histogram[HISTOGRAM_BOUNDS_S.index(10.0)] <= 2
    assert 32 <= totals.ready_sum_s < 32 + 3 * 60
    row = Rollup.objects.filter(workflow_id=0, width_s=3600).first()
    assert row is not None
    assert TDigest.from_bytes(bytes(row.ready_sketch or b"")).max() >= 30


def test_what_took_too_long_is_counted(shop: Shop, noon: datetime) -> None:
    run = shop.run_row(noon)
    late = '{"code":"timeout","message":"the attempt took longer than 1 s","type":null}'
    silent = '{"code": "heartbeat_timeout","message":"no heartbeat for 1 s","type":null}'
    wrong = '{"code":"error","message":"timeout","type":"timeout"}'
    waited = '{"code":"timeout","message":"no signal","type":null}'
    for events, data, worker in (
        ([("step.retrying", 1.0), ("step.failed", 1.0), ("step.succeeded", 1.0)], late, 1),
        ([("step.failed", 1.0)], silent, 1),
        ([("step.failed", 1.0)], wrong, 1),
        ([("step.failed", None)], waited, None),  # a signal's: no attempt
        ([("run.failed", 1.0)], '{"code" : "run_timeout", "message" : "x"}', None),
        ([("run.failed", 1.0)], '{"code" : "deadline", "message" : "x"}', None),
        ([("run.failed", 1.0)], '{"code" : "step_failed", "cause" : {"code" : "timeout"}}', None),
    ):
        shop.tell(noon, events, run)
        last = TenantLoad.objects.get(tenant_id=shop.tenant.pk).seq
        Event.objects.filter(tenant_id=shop.tenant.pk, seq__gt=last - len(events)).update(
            data=data, worker_id=worker
        )
    roll_all()
    row = Rollup.objects.get(workflow_id=0, width_s=60)
    assert (row.timeouts, row.runs_timed_out, row.runs_failed, row.events) == (4, 2, 3, 9)


def test_a_run_that_is_resumed_or_retried_was_submitted_before(shop: Shop, noon: datetime) -> None:
    shop.tell(noon, [("run.queued", None)] * 3, shop.run_row(noon))
    for seq, data in ((2, '{"resumed":true}'), (3, '{"retried":true}')):
        Event.objects.filter(tenant_id=shop.tenant.pk, seq=seq).update(data=data)
    roll_all()
    row = Rollup.objects.get(workflow_id=0, width_s=10)
    assert (row.submitted, row.events) == (1, 3)


def test_the_seconds_of_a_lost_attempt_are_counted_once(shop: Shop) -> None:
    shop.submit(1)
    for _ in range(3):
        claimed = shop.claim(alone=True)
        StepRun.objects.update(started_at=F("started_at") - timedelta(seconds=100))
        shop.complete(claimed, "lost", error='{"code":"lost","message":"x","type":null}')
    roll_all()
    totals = RollupCursor.objects.get(tenant_id=shop.tenant.pk)
    assert (totals.losses, totals.steps_failed) == (3, 1)
    assert 300 <= totals.worker_s < 400
    assert totals.attempt_histogram in ([], [0] * (len(HISTOGRAM_BOUNDS_S) + 1)), (
        "none was an attempt"
    )
    told = Event.objects.filter(type__in=("step.ready", "step.failed"), seq__gt=2)
    assert set(told.values_list("value_s", "lag_s", "worker_id")) == {(None, None, None)}


def test_late_events_land_where_they_happened(shop: Shop, noon: datetime) -> None:
    run = shop.run_row(noon)
    shop.tell(noon, [("run.succeeded", 1.0)], run)
    roll_all()
    rollups.prune(Conf(rollup_fine_days=1))
    shop.tell(noon + timedelta(hours=1), [("run.succeeded", 1.0)], run)
    shop.tell(noon + timedelta(seconds=5), [("run.succeeded", 3.0)] * 2, run)
    long_ago = noon - timedelta(days=30)
    shop.tell(long_ago, [("run.failed", 9.0)], run)
    roll_all()
    for width in WIDTHS:
        row = Rollup.objects.get(workflow_id=0, width_s=width, at=noon)
        assert row.runs_succeeded == 3
        assert TDigest.from_bytes(bytes(row.run_sketch or b"")).n_values == 3
    assert rollups.prune(Conf()) == 6  # of the month's: all but the hour, of tenant and workflow
    assert Rollup.objects.get(workflow_id=0, at__lt=noon - timedelta(days=2)).width_s == 3600


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
    assert RollupCursor.objects.get(tenant_id=shop.tenant.pk).runs_succeeded == 1


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
    assert RollupCursor.objects.get(tenant_id=shop.tenant.pk).steps_succeeded == 400


def test_old_buckets_are_pruned_by_width(shop: Shop, noon: datetime) -> None:
    conf = Conf(rollup_fine_days=1, rollup_minute_days=9)
    for days in (0, 3, 20):
        shop.tell(noon - timedelta(days=days), [("run.queued", None)])
    roll_all()
    assert rollups.prune(conf, limit=1) == 4, "in portions, until nothing is left"
    left = sorted((row.width_s, row.at) for row in Rollup.objects.all())
    assert [width for width, _ in left] == [10, 60, 60, 300, 300, 3600, 3600, 3600]
    assert rollups.prune(conf) == 0
