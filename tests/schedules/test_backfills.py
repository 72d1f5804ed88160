"""Times that are filled in, and times that wait."""

from __future__ import annotations

from datetime import timedelta

from orchestrator.domain.overlap import MOST_QUEUED
from orchestrator.domain.times import format_time
from orchestrator.models import Run, ScheduleFire
from orchestrator.services.schedules import backfill_schedule
from orchestrator.services.workflows import archive_workflow
from tenants.actors import SYSTEM
from tenants.models import Tenant
from tenants.services import resume, suspend
from tests.engine import Engine
from tests.schedules.shop import (
    MINUTE,
    again,
    away,
    labels,
    look,
    make,
    outcomes,
    runs,
)


def test_backfill_runs_what_had_no_run_one_after_the_other(tenant: Tenant, engine: Engine) -> None:
    row = make(tenant, missed="skip")
    first = away(row)
    look()
    assert outcomes(row) == ["missed"]
    span = {"from": format_time(first), "to": format_time(first + 4 * MINUTE)}
    made = backfill_schedule(tenant=tenant, name="often", body=span, actor=SYSTEM)
    assert (made.count, made.accepted) == (5, 5)
    assert outcomes(row) == ["waiting"] * 5
    look()
    assert outcomes(row) == ["started"] + ["waiting"] * 4
    for _ in range(5):
        engine.run_all()
        again(row)
    assert outcomes(row) == ["started"] * 5
    assert labels(runs(row)[0])["backfill"] == str(made.id)
    assert labels(runs(row)[0])["scheduled_at"] == format_time(first)
    once_more = backfill_schedule(tenant=tenant, name="often", body=span, actor=SYSTEM)
    assert (once_more.count, once_more.accepted) == (5, 0)
    earlier = {"from": format_time(first - 3 * MINUTE), "to": format_time(first - MINUTE)}
    before = backfill_schedule(tenant=tenant, name="often", body=earlier, actor=SYSTEM)
    assert (before.count, before.accepted) == (3, 3)


def test_a_long_backfill_leaves_regular_times_their_queue(tenant: Tenant) -> None:
    """It waits besides: however long it is, as many regular times may wait as without it."""
    row = make(tenant, overlap="queue")
    first = away(row, for_=MINUTE, late=timedelta(seconds=1))
    span = {
        "from": format_time(first - 120 * MINUTE),
        "to": format_time(first - MINUTE),
    }
    made = backfill_schedule(tenant=tenant, name="often", body=span, actor=SYSTEM)
    assert made.accepted == 120
    for _ in range(MOST_QUEUED + 1):
        away(row, for_=MINUTE, late=timedelta(seconds=1))
        look()
    regular = ScheduleFire.objects.filter(schedule=row, backfill_id=None).order_by("nominal_at")
    found = list(regular.values_list("outcome", flat=True))
    assert found == ["waiting"] * MOST_QUEUED + ["skipped"]


def test_times_that_wait_go_on_waiting_while_the_tenant_is_suspended(
    tenant: Tenant, engine: Engine
) -> None:
    row = make(tenant, overlap="queue")
    for _ in range(2):
        away(row, for_=MINUTE, late=timedelta(seconds=1))
        look()
    suspend(tenant=tenant, reason="x", actor=SYSTEM)
    again(row)
    assert outcomes(row) == ["started", "waiting"]
    tenant.refresh_from_db()
    resume(tenant=tenant, actor=SYSTEM)
    engine.run_all()
    again(row)
    assert outcomes(row) == ["started", "started"]


def test_times_that_wait_are_given_up_with_the_workflow(tenant: Tenant) -> None:
    row = make(tenant, overlap="queue")
    for _ in range(2):
        away(row, for_=MINUTE, late=timedelta(seconds=1))
        look()
    archive_workflow(tenant=tenant, name="import", actor=SYSTEM)
    again(row)
    assert outcomes(row) == ["started", "skipped"]
    assert ScheduleFire.objects.get(outcome="skipped").reason == "workflow_archived"


def test_a_time_that_a_backfill_has_is_not_fired_again(tenant: Tenant) -> None:
    row = make(tenant)
    first = away(row, for_=2 * MINUTE, late=timedelta(seconds=1))
    span = {"from": format_time(first), "to": format_time(first + MINUTE)}
    backfill_schedule(tenant=tenant, name="often", body=span, actor=SYSTEM)
    look()
    assert outcomes(row) == ["started", "waiting"]
    assert Run.objects.count() == 1
