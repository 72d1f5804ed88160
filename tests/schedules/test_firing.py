"""What the clock does with schedules that are due."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from orchestrator import store
from orchestrator.domain.times import format_time
from orchestrator.models import Run, Schedule, ScheduleFire
from orchestrator.services import firing
from orchestrator.services.firing import Firing
from orchestrator.services.schedules import pause_schedule, resume_schedule
from orchestrator.services.workflows import publish_workflow
from orchestrator.store import connect, schedules
from tenants.actors import SYSTEM
from tenants.models import Tenant
from tenants.services import create_tenant
from tests.engine import Engine
from tests.schedules.shop import (
    MINUTE,
    STEPS,
    again,
    away,
    labels,
    look,
    make,
    outcomes,
    runs,
)


def test_nothing_is_due_before_its_time(tenant: Tenant) -> None:
    row = make(tenant)
    assert look() == 0  # it was looked at, and waits for its time
    row.refresh_from_db()
    assert row.look_at == row.next_at
    assert not Run.objects.exists()
    assert look() == 0


def test_a_time_starts_a_run_that_says_whose_it_is(tenant: Tenant) -> None:
    row = make(tenant, input={"n": 2**64}, labels={"region": "eu"}, priority=7)
    at = away(row, for_=MINUTE, late=timedelta(seconds=1))
    assert look() == 1
    (run,) = runs(row)
    assert (run.input, run.priority, run.state) == ('{"n":18446744073709551616}', 7, "queued")
    assert labels(run) == {
        "region": "eu", "schedule": "often", "scheduled_at": format_time(at),
    }  # fmt: skip
    row.refresh_from_db()
    assert row.next_at == row.look_at == at + MINUTE
    fire = ScheduleFire.objects.get()
    assert (fire.outcome, fire.made_up, fire.nominal_at) == ("started", False, at)
    assert fire.run_id == run.pk


@pytest.mark.parametrize(
    ("missed", "started", "given_up"),
    [("skip", 0, 5), ("one", 1, 4), ({"all": 100}, 5, 0), ({"all": 2}, 2, 3), ("all(3)", 3, 2)],
)
def test_five_missed_minutes(
    tenant: Tenant, engine: Engine, missed: object, started: int, given_up: int
) -> None:
    row = make(tenant, missed=missed, cron="* * * * *")
    first = away(row)
    Schedule.objects.filter(pk=row.pk).update(cron=None, interval=MINUTE)
    look()
    for _ in range(10):
        engine.run_all()
        again(row)
    assert len(runs(row)) == started
    lost = ScheduleFire.objects.filter(outcome="missed")
    assert [one.missed_count for one in lost] == ([given_up] if given_up else [])
    assert [one.since_at for one in lost] == ([first] if given_up else [])
    assert {run.state for run in runs(row)} <= {"succeeded"}
    row.refresh_from_db()
    assert row.next_at == first + 5 * MINUTE
    newest = [labels(run)["scheduled_at"] for run in runs(row)]
    assert newest == [format_time(first + n * MINUTE) for n in range(5 - started, 5)]


def test_a_time_that_is_missed_beside_one_that_is_not(tenant: Tenant) -> None:
    row = make(tenant, missed="skip")
    away(row, late=timedelta(seconds=1))
    look()
    assert outcomes(row) == ["missed", "started"]


def test_overlap_skip(tenant: Tenant, engine: Engine) -> None:
    row = make(tenant)
    for expected in (["started"], ["started", "skipped"]):
        away(row, for_=MINUTE, late=timedelta(seconds=1))
        look()
        assert outcomes(row) == expected
    skipped = ScheduleFire.objects.get(outcome="skipped")
    assert (skipped.reason, skipped.detail) == ("overlap", "An earlier run has not ended.")
    engine.run_all()
    away(row, for_=MINUTE, late=timedelta(0))
    look()
    assert outcomes(row) == ["started", "skipped", "started"]


def test_overlap_queue(tenant: Tenant, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.domain.overlap.MOST_QUEUED", 2)
    row = make(tenant, overlap="queue")
    for _ in range(4):
        away(row, for_=MINUTE, late=timedelta(seconds=1))
        look()
    assert outcomes(row) == ["started", "waiting", "waiting", "skipped"]
    assert ScheduleFire.objects.get(outcome="skipped").reason == "queue_full"
    row.refresh_from_db()
    assert row.look_at is not None
    assert row.next_at is not None
    assert row.look_at < row.next_at  # sooner: times wait
    engine.run_all()
    again(row)
    assert outcomes(row) == ["started", "started", "waiting", "skipped"]
    again(row)
    assert outcomes(row)[2] == "waiting"
    engine.run_all()
    again(row)
    assert len(runs(row)) == 3


def test_overlap_allow(tenant: Tenant) -> None:
    row = make(tenant, overlap={"allow": 2})
    for _ in range(3):
        away(row, for_=MINUTE, late=timedelta(seconds=1))
        look()
    assert outcomes(row) == ["started", "started", "skipped"]
    assert ScheduleFire.objects.get(outcome="skipped").detail == "2 earlier runs have not ended."


def test_overlap_cancel_previous(tenant: Tenant) -> None:
    row = make(tenant, overlap="cancel_previous")
    for _ in range(3):
        away(row, for_=MINUTE, late=timedelta(seconds=1))
        look()
    assert outcomes(row) == ["started"] * 3
    assert [run.state for run in runs(row)] == ["cancelled", "cancelled", "queued"]


def test_cancel_previous_of_times_in_one_look(tenant: Tenant) -> None:
    row = make(tenant, interval="1s", overlap="cancel_previous")
    now = schedules.now(store.connection())
    first = now - timedelta(seconds=2.5)
    Schedule.objects.filter(pk=row.pk).update(next_at=first, look_at=first, anchor_at=first)
    look()
    assert [run.state for run in runs(row)] == ["cancelled", "cancelled", "queued"]


def test_jitter_puts_a_time_later_and_never_past_the_next(tenant: Tenant) -> None:
    row = make(tenant, jitter="1h")
    away(row, for_=MINUTE, late=timedelta(seconds=0))
    look()
    row.refresh_from_db()
    assert row.next_at is not None
    assert row.look_at is not None
    assert row.next_at <= row.look_at < row.next_at + MINUTE


def test_paused_schedules_rest_and_go_on_with_the_next_time(tenant: Tenant) -> None:
    row = make(tenant)
    pause_schedule(tenant=tenant, name="often", reason="holidays", actor=SYSTEM)
    assert look() == 0
    row = resume_schedule(tenant=tenant, name="often", actor=SYSTEM)
    assert look() == 0
    row.refresh_from_db()
    assert row.next_at is not None
    assert row.next_at > schedules.now(store.connection())


def test_every_tenant_has_its_turn(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firing, "AT_ONCE", 2)
    monkeypatch.setattr(firing, "BUSY_S", -1.0)  # one round
    other = create_tenant(slug="small", actor=SYSTEM)
    publish_workflow(tenant=other, name="import", document={"steps": STEPS}, actor=SYSTEM)
    flood = [make(tenant, f"s{n}") for n in range(5)]
    one = make(other)
    for row in (*flood, one):
        away(row, for_=MINUTE, late=timedelta(seconds=1))
    assert look() == 3
    assert outcomes(one) == ["started"]


def test_old_outcomes_are_forgotten_but_not_what_still_matters(tenant: Tenant) -> None:
    row = make(tenant, overlap="queue")
    for _ in range(2):
        away(row, for_=MINUTE, late=timedelta(seconds=1))
        look()
    ScheduleFire.objects.update(decided_at=schedules.now(store.connection()) - timedelta(days=40))
    connection = store.connection()
    assert schedules.forget_fires(connection, days=30, limit=10) == 0
    ScheduleFire.objects.update(is_active=False)
    assert schedules.forget_fires(connection, days=30, limit=10) == 1
    assert outcomes(row) == ["waiting"]


def test_two_clocks_fire_each_time_once(transactional_db: None) -> None:
    owner = create_tenant(slug="pair", actor=SYSTEM)
    publish_workflow(tenant=owner, name="import", document={"steps": STEPS}, actor=SYSTEM)
    rows = [make(owner, f"s{n}", missed={"all": 100}, overlap={"allow": 100}) for n in range(10)]
    for row in rows:
        away(row, for_=20 * MINUTE)
    barrier = threading.Barrier(2)
    errors: list[Exception] = []

    def clock() -> None:
        try:
            with connect(name="clock") as connection:
                duty = Firing()
                barrier.wait(10)
                for _ in range(20):
                    duty(connection)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=clock) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert Run.objects.count() == 200
    assert ScheduleFire.objects.filter(outcome="started").count() == 200
    times = [(labels(run)["schedule"], labels(run)["scheduled_at"]) for run in Run.objects.all()]
    assert len(set(times)) == 200


@pytest.mark.parametrize(("on_conflict", "state"), [("reject", "failed"), ("queue", "started")])
def test_a_workflow_s_concurrency_holds_for_schedules_too(
    tenant: Tenant, on_conflict: str, state: str
) -> None:
    concurrency = {"key": "${{ input.customer }}", "limit": 1, "on_conflict": on_conflict}
    publish_workflow(
        tenant=tenant,
        name="import",
        document={"steps": STEPS, "concurrency": concurrency},
        actor=SYSTEM,
    )
    row = make(tenant, input={"customer": 7}, overlap="allow(5)")
    away(row, for_=MINUTE, late=timedelta(seconds=1))
    look()
    away(row, for_=MINUTE, late=timedelta(milliseconds=500))
    look()
    assert outcomes(row) == ["started", state]
    newest = ScheduleFire.objects.latest("nominal_at")
    if state == "failed":
        assert (newest.reason, newest.run_id, newest.is_active) == ("concurrency", None, False)
    else:
        assert runs(row)[-1].held == "concurrency"


def test_a_key_of_concurrency_without_a_value_is_an_outcome(tenant: Tenant) -> None:
    publish_workflow(tenant=tenant, name="import", document={"steps": STEPS}, actor=SYSTEM)
    row = make(tenant, input={})
    publish_workflow(
        tenant=tenant,
        name="import",
        document={"steps": STEPS, "concurrency": {"key": "${{ input.customer }}", "limit": 1}},
        actor=SYSTEM,
    )
    away(row, for_=MINUTE, late=timedelta(seconds=1))
    look()
    fire = ScheduleFire.objects.get()
    assert (fire.outcome, fire.reason, fire.run_id) == ("failed", "invalid_input", None)
    assert "concurrency.key" in (fire.detail or "")
    assert not Run.objects.exists()
