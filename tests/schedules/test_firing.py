"""What the clock does with schedules that are due."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta

import psycopg
import pytest

from orchestrator import store
from orchestrator.domain.times import format_time
from orchestrator.models import Run, Schedule, ScheduleFire, Workflow
from orchestrator.services import firing
from orchestrator.services.firing import Firing
from orchestrator.services.schedules import backfill_schedule, pause_schedule, resume_schedule
from orchestrator.services.workflows import archive_workflow, publish_workflow
from orchestrator.store import connect, schedules
from orchestrator.store.submit import submit
from tenants.actors import SYSTEM
from tenants.models import Tenant
from tenants.services import create_tenant, resume, suspend
from tests.engine import Engine
from tests.schedules.shop import (
    MINUTE,
    STEPS,
    again,
    away,
    fresh,
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


@pytest.mark.parametrize("kind", ["suspended", "archived", "paused"])
def test_what_cannot_start_has_its_outcome(tenant: Tenant, kind: str) -> None:
    row = make(tenant)
    if kind == "suspended":
        suspend(tenant=tenant, reason="unpaid", actor=SYSTEM)
    elif kind == "archived":
        archive_workflow(tenant=tenant, name="import", actor=SYSTEM)
    else:
        Workflow.objects.update(paused_at=schedules.now(store.connection()))
    away(row, for_=MINUTE, late=timedelta(seconds=1))
    look()
    fire = ScheduleFire.objects.get()
    reason = {"suspended": "tenant_suspended"}.get(kind, f"workflow_{kind}")
    assert (fire.outcome, fire.reason) == ("skipped", reason)
    assert fire.detail
    assert not Run.objects.exists()
    row.refresh_from_db()
    assert row.next_at == fire.nominal_at + MINUTE


def test_an_input_that_no_longer_fits(tenant: Tenant) -> None:
    row = make(tenant, input={"n": "x"})
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    document = {"steps": STEPS, "input_schema": schema}
    publish_workflow(tenant=tenant, name="import", document=document, actor=SYSTEM)
    away(row, for_=MINUTE, late=timedelta(seconds=1))
    look()
    fire = ScheduleFire.objects.get()
    assert (fire.outcome, fire.reason) == ("failed", "invalid_input")
    assert fire.detail is not None
    assert fire.detail.startswith("/input/n: ")
    assert not Run.objects.exists()


def test_schemas_are_kept_and_the_oldest_go(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(firing, "MOST_FACTS", 1)
    for number in range(3):
        name = f"w{number}"
        publish_workflow(tenant=tenant, name=name, document={"steps": STEPS}, actor=SYSTEM)
        make(tenant, name, workflow=name)
    duty = Firing()
    for number in range(3):
        away(fresh(tenant, f"w{number}"), for_=MINUTE, late=timedelta(seconds=1))
        assert duty(store.connection()) == 1
    assert len(duty._facts) == 1


def test_a_zone_that_is_gone_pauses_the_schedule_with_the_reason(tenant: Tenant) -> None:
    row = make(tenant, cron="* * * * *", timezone="Europe/Berlin")
    other = make(tenant, "other")
    Schedule.objects.filter(pk=row.pk).update(zone="Europe/Atlantis")
    for one in (row, other):
        away(one, for_=MINUTE, late=timedelta(seconds=1))
    look()
    row.refresh_from_db()
    assert row.paused_at is not None
    assert "Atlantis" in row.paused_reason
    assert outcomes(other) == ["started"]
    assert look() == 0


def test_one_that_fails_hinders_no_other(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = make(tenant, "bad", input={"poison": 1}), make(tenant, "good")
    for one in (bad, good):
        away(one, for_=MINUTE, late=timedelta(seconds=1))

    def refuse(connection: store.Connection, **more: object) -> object:
        if "poison" in str(more["runs"]):
            raise psycopg.DataError("no good")
        return submit(connection, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(firing, "submit", refuse)
    with caplog.at_level(logging.CRITICAL):
        look()
    assert (outcomes(bad), outcomes(good)) == (["failed"], ["started"])
    fire = ScheduleFire.objects.get(outcome="failed")
    assert (fire.reason, fire.detail) == ("internal_error", "DataError: no good")
    assert look() == 0


def test_one_whose_failure_cannot_be_written_down_is_paused(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    row = make(tenant)
    away(row, for_=MINUTE, late=timedelta(seconds=1))

    def refuse(*_: object, **__: object) -> object:
        raise psycopg.DataError("no good")

    monkeypatch.setattr(schedules, "record_fires", refuse)
    with caplog.at_level(logging.CRITICAL):
        assert look() == 0
    row.refresh_from_db()
    assert row.paused_reason == "It cannot be carried out: DataError: no good"
    assert look() == 0


def test_a_schema_that_is_not_understood_any_more_pauses_its_schedules(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = {"type": "object"}
    document = {"steps": STEPS, "input_schema": schema}
    publish_workflow(tenant=tenant, name="strict", document=document, actor=SYSTEM)
    bad, good = make(tenant, "bad", workflow="strict"), make(tenant, "good")
    for row in (bad, good):
        away(row, for_=MINUTE, late=timedelta(seconds=1))

    def refuse(_: object) -> object:
        raise ValueError("a schema of another age")

    monkeypatch.setattr(firing, "compile_schema", refuse)
    look()
    bad.refresh_from_db()
    assert "another age" in bad.paused_reason
    assert outcomes(good) == ["started"]


@pytest.mark.parametrize("alone", [False, True])
def test_a_database_that_is_away_is_the_clocks_matter(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch, alone: bool
) -> None:
    row = make(tenant)
    away(row, for_=MINUTE, late=timedelta(seconds=1))
    errors: list[Exception] = [psycopg.OperationalError("gone")]
    if alone:
        errors.insert(0, psycopg.DataError("first"))

    def fail(*_: object, **__: object) -> object:
        raise errors.pop(0)

    monkeypatch.setattr(firing, "submit", fail)
    with pytest.raises(psycopg.OperationalError, match="gone"):
        look()
    assert outcomes(row) == []


def test_what_was_planned_for_an_edited_schedule_is_not_carried_out(tenant: Tenant) -> None:
    row = make(tenant)
    away(row, for_=MINUTE, late=timedelta(seconds=1))
    duty = Firing()
    connection = store.connection()
    read = schedules.due_schedules(connection, tenant_id=tenant.pk, limit=10)
    duty._read_facts(connection, read)
    plans = [duty._plan(one) for one in read]
    pause_schedule(tenant=tenant, name="often", reason="x", actor=SYSTEM)
    assert duty._carry_out(connection, tenant.pk, plans) == 0
    assert outcomes(row) == []


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
    publish_workflow(
        tenant=tenant,
        name="import",
        document={"steps": STEPS, "concurrency": {"key": "${{ input.customer }}", "limit": 1}},
        actor=SYSTEM,
    )
    row = make(tenant, input={})
    away(row, for_=MINUTE, late=timedelta(seconds=1))
    look()
    fire = ScheduleFire.objects.get()
    assert (fire.outcome, fire.reason, fire.run_id) == ("failed", "invalid_input", None)
    assert "concurrency.key" in (fire.detail or "")
    assert not Run.objects.exists()
