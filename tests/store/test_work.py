"""The doors to the workers' statements, where a running system seldom passes."""

from __future__ import annotations

import json
from uuid import uuid4

import psycopg
import pytest
from django.db import connection as django_connection
from psycopg.conninfo import make_conninfo

from orchestrator import store
from orchestrator.models import Run, ServerLoad, StepRun
from orchestrator.services.runs import submit_run
from orchestrator.services.workflows import publish_workflow
from orchestrator.store import clock, connect, for_a_moment, work, workers
from orchestrator.store.connect import alone
from orchestrator.store.functions import install_functions
from orchestrator.store.settling import Settled
from orchestrator.store.work import PIPELINED_CHARS, Verdict
from tenants.actors import SYSTEM
from tenants.models import Tenant
from tenants.services import create_tenant
from tests.engine import Engine


@pytest.fixture
def tenant(db: None) -> Tenant:
    return create_tenant(slug="t", actor=SYSTEM)


def start(tenant: Tenant, document: dict[str, object]) -> Run:
    """A run of this workflow."""
    publish_workflow(tenant=tenant, name="w", document=document, actor=SYSTEM)
    made = submit_run(tenant=tenant, workflow="w", body={}, actor=SYSTEM)
    return Run.objects.get(pk=made.run_id)


def test_a_verdict_too_large_for_the_pipeline_is_written_too(tenant: Tenant) -> None:
    step = {"name": "a", "handler": "core.echo", "args": {}}
    run = start(tenant, {"steps": [step], "output": "${{ steps.a.output }}"})
    engine = Engine()
    engine.succeed(engine.claim(), output=1)
    (asked,) = engine.claim()
    assert asked.kind == "output"
    value = json.dumps("x" * (PIPELINED_CHARS + 1))
    assert engine.worker is not None
    verdict = Verdict(asked, "output", value)
    assert work.exchange(store.connection(), engine.worker.pk, [], [verdict], None) == ([], [])
    run.refresh_from_db()
    assert (run.state, run.output) == ("succeeded", value)


def test_waits_too_large_for_the_pipeline_are_written_too(tenant: Tenant) -> None:
    start(tenant, {"steps": [{"name": "a", "sleep": "1h"}]})
    engine = Engine()
    (asked,) = engine.claim()
    assert engine.worker is not None
    wait = Settled(asked, "succeeded", value=json.dumps("x" * (PIPELINED_CHARS + 1)))
    assert work.exchange(store.connection(), engine.worker.pk, [], [wait], None) == ([], [])
    assert StepRun.objects.get().state == "succeeded"


def test_what_one_does_alone_another_waits_for(transactional_db: None) -> None:
    key = "hashtext('millrace tests')"
    with connect(name="other") as other:
        with alone("tests"):
            (taken,) = other.execute(f"SELECT pg_try_advisory_lock({key})").fetchall()
            assert taken == (False,)
        other.execute("SET statement_timeout = '60s'")
        other.execute(f"SELECT pg_advisory_lock({key})")


def test_a_connection_whose_role_is_not_there_is_closed(db: None) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="role"):
        connect(name="x", role="nobody")


def test_a_moment_within_a_transaction_keeps_the_connection(db: None) -> None:
    with for_a_moment():
        used = store.connection()
    assert store.connection() is used
    assert not used.closed


def test_a_flush_finds_the_counters_again(db: None) -> None:
    ServerLoad.objects.all().delete()
    install_functions()
    assert ServerLoad.objects.filter(slot=-1).exists()


def test_inputs_of_a_run_that_is_gone_are_not_found(tenant: Tenant) -> None:
    start(tenant, {"steps": [{"name": "a", "handler": "core.echo", "args": {}}]})
    (claimed,) = Engine().claim()
    gone = claimed._replace(run_id=uuid4(), lazy=True)
    assert work.fetch_inputs(store.connection(), gone, [0]) is gone
    found = work.fetch_inputs(store.connection(), claimed._replace(lazy=True), [0])
    assert (found.input, found.refs, found.states) == ("{}", [0], ["running"])
    assert StepRun.objects.get().state == "running"


def test_direct_connections_go_past_a_pooler(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters = django_connection.get_connection_params()
    where = {
        name: parameters[name]
        for name in ("dbname", "host", "port", "user", "password", "passfile")
        if parameters.get(name)
    }
    monkeypatch.setenv("DATABASE_DIRECT_URL", make_conninfo("", **where))
    with connect(name="test", direct=True) as direct, connect(name="test") as usual:
        for one in (direct, usual):
            assert one.execute("SHOW application_name").fetchone() == ("millrace test",)
    monkeypatch.setenv("DATABASE_DIRECT_URL", "postgresql:///nowhere?host=/nowhere")
    with pytest.raises(psycopg.OperationalError, match="nowhere"):
        connect(name="test", direct=True)


def test_a_database_without_tables_gets_no_functions(db: None) -> None:
    with django_connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA bare; SET LOCAL search_path = bare")
        install_functions(plan=())
        cursor.execute("SELECT count(*) FROM pg_proc WHERE pronamespace = 'bare'::regnamespace")
        assert cursor.fetchone() == (0,)


def test_what_a_drained_process_hands_back_waits_for_its_end(tenant: Tenant) -> None:
    start(tenant, {"steps": [{"name": "a", "handler": "core.echo", "args": {}}]})
    engine, other = Engine(), Engine()
    (claim,) = engine.claim()
    back = work.Completion(
        claim, "waiting", 0.1, reason="retry", delay_s=0.0, counts=False, held=True
    )
    engine.complete(back)
    clock.due(store.connection())
    assert other.claim() == []
    assert engine.worker is not None
    workers.reap(store.connection(), engine.worker.pk)
    clock.due(store.connection())
    (again,) = other.claim()
    assert (again.attempts, again.losses, again.suspect) == (0, 0, False)
    assert clock.reconcile(store.connection()) == 0
