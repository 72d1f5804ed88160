"""The hot path's price: how many statements and round trips an amount of work costs."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import pytest
from psycopg import Connection
from psycopg.pq import Trace
from uuid_utils.compat import uuid7

from orchestrator import store
from orchestrator.models import WorkflowVersion
from orchestrator.services.workflows import publish_workflow
from orchestrator.store import connect, work
from orchestrator.store.submit import NewRun, submit
from orchestrator.store.work import Completion, Wanted
from tenants.actors import SYSTEM
from tenants.models import Tenant
from tenants.services import create_tenant
from tests.engine import Engine


@dataclass
class Traffic:
    """What went over a connection: statements executed, and how often an answer was waited for."""

    statements: int = 0
    round_trips: int = 0


@contextmanager
def traffic(connection: Connection[tuple[object, ...]]) -> Iterator[Traffic]:
    """Count by libpq's own trace."""
    counted = Traffic()
    with tempfile.TemporaryFile("w+") as file:
        connection.pgconn.trace(file.fileno())
        connection.pgconn.set_trace_flags(Trace.SUPPRESS_TIMESTAMPS)
        try:
            yield counted
        finally:
            connection.pgconn.untrace()
        file.seek(0)
        messages = re.findall(r"^([FB])\t\d+\t(\w+)", file.read(), re.MULTILINE)
    counted.statements = messages.count(("F", "Execute")) + messages.count(("F", "Query"))
    counted.round_trips = [(a, b) for (a, _), (b, _) in pairwise(messages)].count(("F", "B"))


def version(tenant: Tenant, steps: list[dict[str, object]]) -> int:
    """A published version of these steps."""
    publish_workflow(tenant=tenant, name="w", document={"steps": steps}, actor=SYSTEM)
    return WorkflowVersion.objects.get(tenant=tenant).pk


def new_runs(version_id: int, count: int) -> list[NewRun]:
    """Runs to submit."""
    return [NewRun(id=uuid7(), version_id=version_id) for _ in range(count)]


def noop(name: str, *parents: str) -> dict[str, object]:
    """A step that does nothing."""
    return {"name": name, "handler": "core.echo", "args": {}, "depends_on": list(parents)}


@pytest.fixture
def tenant(transactional_db: None) -> Tenant:
    """A tenant with room for everything."""
    return create_tenant(slug="t", max_connections=1_000, actor=SYSTEM)


@pytest.mark.parametrize("count", [1, 1_000])
def test_submitting_is_one_statement_and_one_round_trip(tenant: Tenant, count: int) -> None:
    version_id = version(tenant, [noop("a"), noop("b", "a")])
    connection = store.connection()
    submit(connection, tenant_id=tenant.pk, runs=new_runs(version_id, 1), actor=None)  # prepares
    with traffic(connection) as counted:
        made = submit(connection, tenant_id=tenant.pk, runs=new_runs(version_id, count), actor=None)
    assert len(made.results) == count
    assert (counted.statements, counted.round_trips) == (1, 1)


@pytest.mark.parametrize("count", [2, 40])
def test_completing_and_claiming_are_two_statements_in_one_round_trip(
    tenant: Tenant, count: int
) -> None:
    names = [f"s{i}" for i in range(count)]
    steps = [noop("first"), *(noop(name, "first") for name in names), noop("last", *names)]
    runs = new_runs(version(tenant, steps), 2)
    submit(store.connection(), tenant_id=tenant.pk, runs=runs, actor=None)
    worker = Engine().join()
    wanted = Wanted(worker.queues, worker.handler_ids, [0.01] * len(worker.handler_ids),
                    want=200, want_cpu=0, alone=True, outputs_bytes=1_000_000)  # fmt: skip
    with connect(name="worker") as connection:
        _, claimed = work.exchange(connection, worker.pk, [], [], wanted)
        one, other = ([Completion(c, "succeeded", 0.01, output="1")] for c in claimed)
        _, fanned = work.exchange(connection, worker.pk, one, [], wanted)  # prepares both
        assert len(fanned) == count
        with traffic(connection) as counted:
            refused, next_ones = work.exchange(connection, worker.pk, other, [], wanted)
        assert (refused, len(next_ones)) == ([], count)
        assert (counted.statements, counted.round_trips) == (2, 1)
        with traffic(connection) as counted:
            refused, next_ones = work.exchange(
                connection, worker.pk,
                [Completion(c, "succeeded", 0.01, output="1") for c in fanned + next_ones], [], wanted,
            )  # fmt: skip
        assert (refused, len(next_ones)) == ([], 2)
        assert (counted.statements, counted.round_trips) == (2, 1)
