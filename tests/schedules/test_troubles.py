"""Schedules whose times cannot start a run: each has its outcome, and hinders no other."""

from __future__ import annotations

import logging
from datetime import timedelta

import psycopg
import pytest

from orchestrator import store
from orchestrator.models import Run, Schedule, ScheduleFire, Workflow
from orchestrator.services import firing, schedule_runs
from orchestrator.services.firing import Firing
from orchestrator.services.schedules import pause_schedule
from orchestrator.services.workflows import archive_workflow, publish_workflow
from orchestrator.store import schedules
from orchestrator.store.submit import submit
from tenants.actors import SYSTEM
from tenants.models import Tenant
from tenants.services import suspend
from tests.schedules.shop import (
    MINUTE,
    STEPS,
    away,
    fresh,
    look,
    make,
    outcomes,
)


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

    monkeypatch.setattr(schedule_runs, "compile_schema", refuse)
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
