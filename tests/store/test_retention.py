"""What is old goes, and only that."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection as django_connection
from django.db import transaction

from orchestrator import store
from orchestrator.domain.errors import RunNotFound
from orchestrator.models import IdempotencyKey, Run, StepRun
from orchestrator.services.repairs import retry_run, retry_step, skip_step
from orchestrator.services.runs import cancel_run, submit_run
from orchestrator.services.undoing import undo_run
from orchestrator.services.workflows import publish_workflow
from orchestrator.store import clock, connect
from orchestrator.store.connect import for_a_moment
from tenants.actors import SYSTEM
from tenants.models import Tenant
from tenants.services import create_tenant, set_quota
from tests.engine import Engine

BLOCKED = """
SELECT 1 FROM pg_stat_activity
 WHERE datname = current_database() AND wait_event_type = 'Lock' AND state = 'active'
"""
HELD = """
SELECT l.relation::regclass::text, l.mode, l.granted, a.backend_type, a.application_name, a.state, a.query
  FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
 WHERE l.relation::regclass::text LIKE 'event%' AND l.pid <> pg_backend_pid()
"""


def age(run: Run, days: int) -> None:
    """Let a run be older."""
    with django_connection.cursor() as cursor:
        cursor.execute(
            "UPDATE run SET created_at = created_at - make_interval(days => %s),"
            " started_at = started_at - make_interval(days => %s),"
            " finished_at = finished_at - make_interval(days => %s) WHERE id = %s",
            [days, days, days, run.pk],
        )


@pytest.mark.django_db
def test_old_ended_runs_go_with_their_steps_and_keys_and_young_or_open_ones_stay() -> None:
    tenant = create_tenant(slug="t", actor=SYSTEM)
    document = {"steps": [{"name": "a", "handler": "core.echo", "args": {}}]}
    publish_workflow(tenant=tenant, name="w", document=document, actor=SYSTEM)
    runs = {}
    for key in ("old", "young", "open"):
        made = submit_run(tenant=tenant, workflow="w", body={}, key=key, actor=SYSTEM)
        runs[key] = Run.objects.get(pk=made.run_id)
        if key != "open":
            Engine().run_all()
    age(runs["old"], 40)
    age(runs["open"], 41)
    assert clock.forget_runs(store.connection(), days=30, limit=1) == 1, "the open one is older"
    assert clock.forget_runs(store.connection(), days=30, limit=10) == 0
    left = {runs["young"].pk, runs["open"].pk}
    assert set(Run.objects.values_list("pk", flat=True)) == left
    assert set(StepRun.objects.values_list("run_id", flat=True)) == left
    assert set(IdempotencyKey.objects.values_list("key", flat=True)) == {"young", "open"}


@pytest.mark.django_db
def test_events_have_partitions_ahead_and_old_ones_are_dropped() -> None:
    connection = store.connection()
    clock.make_partitions(connection, days_ahead=3)
    assert clock.make_partitions(connection, days_ahead=3) == 0
    assert clock.make_partitions(connection, days_ahead=5) == 2
    assert clock.drop_partitions(connection, days=14) == 0
    connection.execute(
        "CREATE TABLE event_20200101 PARTITION OF event FOR VALUES FROM ('2020-01-01') TO ('2020-01-02')"
    )
    assert clock.drop_partitions(connection, days=14) == 1


@pytest.mark.django_db(transaction=True)
def test_who_reads_events_for_long_stops_no_writer() -> None:
    def moved(connection: store.Connection) -> tuple[int, int]:
        with connection.transaction(force_rollback=True):
            connection.execute("SET LOCAL statement_timeout = '60s'")
            return (
                clock.make_partitions(connection, days_ahead=9),
                clock.drop_partitions(connection, days=14),
            )

    with store.connect(name="a dump") as reader, store.connect(name="test clock") as connection:
        connection.execute(
            "CREATE TABLE event_20200101 PARTITION OF event FOR VALUES FROM ('2020-01-01') TO ('2020-01-02')"
        )
        try:
            with reader.transaction():
                reader.execute("SELECT count(*) FROM event")
                assert moved(connection) == (0, 0)
            made, dropped = moved(connection)
            assert (made > 0, dropped) == (True, 1), connection.execute(HELD).fetchall()
        finally:
            connection.execute("DROP TABLE event_20200101")


@pytest.mark.django_db
def test_old_runs_are_forgotten_with_their_undos_but_not_while_these_run() -> None:
    tenant = create_tenant(slug="t", actor=SYSTEM)
    undo = {"handler": "core.echo", "args": {}}
    document = {"steps": [{"name": "a", "handler": "core.echo", "args": {}, "undo": undo}]}
    publish_workflow(tenant=tenant, name="w", document=document, actor=SYSTEM)
    made = submit_run(tenant=tenant, workflow="w", body={}, actor=SYSTEM)
    run = Run.objects.get(pk=made.run_id)
    engine = Engine()
    engine.run_all()
    undo_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    Run.objects.filter(pk=run.pk).update(
        created_at="2020-01-01T00:00:00Z", finished_at="2020-01-01T00:00:00Z"
    )
    assert clock.forget_runs(store.connection(), days=30, limit=10) == 0
    engine.succeed(engine.claim())
    assert clock.forget_runs(store.connection(), days=30, limit=10) == 1
    assert not StepRun.objects.exists()


@pytest.mark.django_db
def test_a_tenants_own_retention_counts() -> None:
    left = {}
    for slug, days in (("short", 2), ("long", 90), ("plain", None)):
        tenant = create_tenant(slug=slug, actor=SYSTEM)
        set_quota(tenant=tenant, actor=SYSTEM, retention_days=days)
        document = {"steps": [{"name": "a", "handler": "core.echo", "args": {}}]}
        publish_workflow(tenant=tenant, name="w", document=document, actor=SYSTEM)
        for old in (1, 3, 40, 100):
            made = submit_run(tenant=tenant, workflow="w", body={}, actor=SYSTEM)
            left[made.run_id] = (slug, old)
    Engine().run_all()
    for run in Run.objects.all():
        age(run, left[run.pk][1])
    assert clock.forget_runs(store.connection(), days=30, limit=100) == 6
    kept = sorted(left[pk] for pk in Run.objects.values_list("pk", flat=True))
    assert kept == [
        ("long", 1),
        ("long", 3),
        ("long", 40),
        ("plain", 1),
        ("plain", 3),
        ("short", 1),
    ]


def old_run(slug: str) -> Run:
    """A run of a tenant that was cancelled long ago, whose first step can be undone."""
    tenant = create_tenant(slug=slug, actor=SYSTEM)
    undo = {"handler": "core.echo", "args": {}}
    first = {"name": "a", "handler": "core.echo", "undo": undo}
    after = {"name": "b", "handler": "core.echo", "depends_on": ["a"]}
    publish_workflow(tenant=tenant, name="w", document={"steps": [first, after]}, actor=SYSTEM)
    made = submit_run(tenant=tenant, workflow="w", body={}, actor=SYSTEM)
    run = Run.objects.get(pk=made.run_id)
    engine = Engine()
    engine.succeed(engine.claim())
    cancel_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    age(run, 40)
    return run


REPAIRS: dict[str, Callable[[Tenant, Run], object]] = {
    "retry": lambda tenant, run: retry_run(tenant=tenant, run_id=run.pk, body={}, actor=SYSTEM),
    "retry step": lambda tenant, run: retry_step(
        tenant=tenant, run_id=run.pk, name="b", actor=SYSTEM
    ),
    "skip": lambda tenant, run: skip_step(tenant=tenant, run_id=run.pk, name="b", actor=SYSTEM),
    "undo": lambda tenant, run: undo_run(tenant=tenant, run_id=run.pk, actor=SYSTEM),
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("repair", REPAIRS)
def test_an_old_run_that_is_deleted_cannot_be_repaired(repair: str) -> None:
    """Who comes while it is being deleted waits, and finds it gone."""
    run = old_run("t")
    tenant = Tenant.objects.get()

    def later() -> object:
        with for_a_moment():
            return REPAIRS[repair](tenant, run)

    with connect(name="deleter") as deleter, ThreadPoolExecutor(1) as threads:
        with deleter.transaction():
            assert clock.forget_runs(deleter, days=30, limit=10) == 1
            answer = threads.submit(later)
            with connect(name="watcher") as watcher:
                until_blocked(watcher)
        with pytest.raises(RunNotFound):
            answer.result(30)
    assert not StepRun.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_an_old_run_that_is_repaired_is_not_deleted() -> None:
    run = old_run("t")
    with connect(name="deleter") as deleter:
        deleter.execute("SET lock_timeout = '2s'")
        with transaction.atomic():
            retry_run(tenant=Tenant.objects.get(), run_id=run.pk, body={}, actor=SYSTEM)
            assert clock.forget_runs(deleter, days=30, limit=10) == 0
        assert clock.forget_runs(deleter, days=30, limit=10) == 0
    run.refresh_from_db()
    assert run.state == "running"
    assert StepRun.objects.filter(run=run).count() == 2


def until_blocked(watcher: store.Connection) -> None:
    """Wait until somebody waits for a row."""
    end = time.monotonic() + 30
    while not watcher.execute(BLOCKED).fetchone():
        assert time.monotonic() < end
        time.sleep(0.01)
