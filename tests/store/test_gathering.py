"""Submissions at once are made together, and each gets what is its own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import psycopg
import pytest
from uuid_utils.compat import uuid7

from orchestrator.models import Run, WorkflowVersion
from orchestrator.services.workflows import publish_workflow
from orchestrator.store import Connection, connect, gathering
from orchestrator.store.gathering import submit_gathered
from orchestrator.store.submit import NewRun, Submitted
from tenants.actors import SYSTEM
from tenants.models import Tenant
from tenants.services import create_tenant

LOCK = "INSERT INTO tenant_load (tenant_id) VALUES (%s) ON CONFLICT (tenant_id) DO UPDATE SET seq = tenant_load.seq"
CONNECTED = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'millrace test'"
BLOCKED = "SELECT pid FROM pg_stat_activity WHERE application_name = 'millrace test' AND wait_event_type = 'Lock'"
WAITING = f"{CONNECTED} AND wait_event_type = 'Lock'"


@pytest.fixture
def tenant(transactional_db: None) -> Tenant:
    return create_tenant(slug="t", actor=SYSTEM)


@pytest.fixture
def version_id(tenant: Tenant) -> int:
    step = {"name": "a", "handler": "core.echo", "args": {}}
    publish_workflow(tenant=tenant, name="w", document={"steps": [step]}, actor=SYSTEM)
    return WorkflowVersion.objects.get().pk


def submit_at_once(
    tenant: Tenant, runs: Sequence[NewRun], *, killed: int = 0
) -> list[Future[Submitted]]:
    """Submit each from a thread of its own, while the tenant's mutex is held; the first is at it
    before the others come.  So many times the database ends the connection of whoever is at it."""

    def one(run: NewRun) -> Submitted:
        with connect(name="test") as connection:
            return submit_gathered(connection, tenant_id=tenant.pk, run=run, origin="", actor="me")

    with connect(name="holder") as holder, ThreadPoolExecutor(len(runs)) as threads:
        with holder.transaction():
            holder.execute(LOCK, (tenant.pk,))
            futures = [threads.submit(one, runs[0])]
            with connect(name="watcher") as watcher:
                until(watcher, WAITING, 1)
                futures += [threads.submit(one, run) for run in runs[1:]]
                until(watcher, CONNECTED, len(runs))
                until_in_line(len(runs) - 1)
                until(watcher, WAITING, 1)  # the others wait outside
                for _ in range(killed):
                    until(watcher, WAITING, 1)
                    (pid,) = watcher.execute(BLOCKED).fetchone() or (0,)
                    watcher.execute("SELECT pg_terminate_backend(%s)", (pid,))
                    until(watcher, f"SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}", 0)
        return futures


def until(watcher: Connection, question: str, count: int) -> None:
    """Wait for the answer; fails when it does not come."""
    end = time.monotonic() + 10
    while (found := watcher.execute(question).fetchone()) != (count,):
        assert time.monotonic() < end, found
        time.sleep(0.01)


def until_in_line(count: int) -> None:
    """Wait until so many stand behind the one that is at it."""
    end = time.monotonic() + 10
    while (found := sum(map(len, gathering._lines.values()))) != count:
        assert time.monotonic() < end, found
        time.sleep(0.01)


def new(version_id: int, key: str | None = None) -> NewRun:
    """A run to submit."""
    return NewRun(id=uuid7(), version_id=version_id, key=key, fingerprint=key and "same")


def test_many_become_one_statement(tenant: Tenant, version_id: int) -> None:
    runs = [new(version_id) for _ in range(20)]
    futures = submit_at_once(tenant, runs)
    assert [future.result().results[0].run_id for future in futures] == [run.id for run in runs]
    assert Run.objects.count() == 20
    assert Run.objects.values("created_at").distinct().count() <= 3, "each statement has its time"
    assert sum(bool(future.result().wake) for future in futures) <= 2


def test_one_key_makes_one_run(tenant: Tenant, version_id: int) -> None:
    runs = [new(version_id, "k") for _ in range(8)]
    results = [future.result().results[0] for future in submit_at_once(tenant, runs)]
    assert Run.objects.count() == 1
    assert len({result.run_id for result in results}) == 1
    assert [result.replayed for result in results].count(False) == 1


def test_a_bad_one_harms_no_other(tenant: Tenant, version_id: int) -> None:
    runs = [new(version_id) for _ in range(6)]
    runs.append(runs[0])
    *good, bad = submit_at_once(tenant, runs)
    assert [future.result().results[0].run_id for future in good] == [run.id for run in runs[:6]]
    assert isinstance(bad.exception(), psycopg.IntegrityError)
    assert Run.objects.count() == 6


def test_a_lost_connection_fails_those_that_went_with_it(tenant: Tenant, version_id: int) -> None:
    runs = [new(version_id) for _ in range(6)]
    futures = submit_at_once(tenant, runs, killed=1)
    errors = [future.exception() for future in futures]
    assert isinstance(errors[0], psycopg.OperationalError)
    assert errors[1:] == [None] * 5, "the next one goes ahead with the others"
    assert Run.objects.count() == 5


def test_whoever_went_with_a_lost_connection_is_told(tenant: Tenant, version_id: int) -> None:
    futures = submit_at_once(tenant, [new(version_id) for _ in range(6)], killed=2)
    errors = [future.exception() for future in futures]
    assert all(isinstance(error, psycopg.OperationalError) for error in errors)
    assert len({id(error) for error in errors}) == 6, "each has an error of its own to raise"
    assert Run.objects.count() == 0
