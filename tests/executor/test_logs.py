"""`ctx.log` in a process that runs steps: its lines are kept before the attempt's end is."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import psycopg
import pytest

from orchestrator import store
from orchestrator.conf import conf
from orchestrator.executor.child import Child
from orchestrator.handlers import Retry, StepContext, handler, registry
from orchestrator.models import AttemptLog, Run, StepRun
from orchestrator.services.runs import submit_run
from orchestrator.services.workflows import publish_workflow
from orchestrator.store import clock
from orchestrator.store import logs as store_logs
from tenants.actors import SYSTEM
from tenants.models import Tenant
from tenants.services import create_tenant

pytestmark = pytest.mark.thorough

holding = threading.Event()


@handler("logs.speak")
async def speak(ctx: StepContext) -> int:
    """Log, also by Python's own logging, and fail once."""
    ctx.log.info("begun %s", ctx.attempt, extra={"n": 2**70})
    ctx.log.debug("too low")
    logging.getLogger("a.library").warning("not the step's")
    if ctx.attempt == 1:
        raise Retry("again", after=0)
    return 1


@handler("logs.block")
def block(ctx: StepContext) -> None:
    """Log in a thread, and wait until the test has seen it."""
    ctx.log.warning("in a thread")
    assert holding.wait(30)
    ctx.log.warning("the last word")


@handler("logs.compute", queue="cpu")
def compute(ctx: StepContext) -> None:
    """Log in a process of its own."""
    for number in range(5):
        ctx.log.info("number %s", number)


@handler("logs.many")
def many(ctx: StepContext) -> None:
    """Log in a thread."""
    for number in range(5):
        ctx.log.info("number %s", number)


@handler("logs.each")
def each(ctx: StepContext, *, item: int) -> int:
    """Log for an item."""
    ctx.log.info("item %s", item)
    return item


@pytest.fixture
def tenant(transactional_db: None) -> Tenant:
    return create_tenant(slug="t", actor=SYSTEM)


@pytest.fixture
def child(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> Iterator[Child]:
    monkeypatch.setenv("ORCHESTRATOR_HANDLERS", __name__)
    registry.load()
    child = Child(
        conf=replace(conf(), renew_s=0.5, grace_s=5.0), queues=["io", "cpu"], registry=registry
    )
    child.start()
    yield child
    child.retire()
    child.helpers.stop()
    for thread in threading.enumerate():
        if thread.name in ("lease", "fallback"):
            thread.join(10)
    child.drop_connection()


def run(tenant: Tenant, steps: list[dict[str, Any]]) -> UUID:
    """A new run of these steps."""
    publish_workflow(tenant=tenant, name="w", document={"steps": steps}, actor=SYSTEM)
    return submit_run(tenant=tenant, workflow="w", body={}, actor=SYSTEM).run_id


def ended(run_id: UUID) -> None:
    def is_over() -> bool:
        clock.due(store.connection())  # no clock runs here
        return Run.objects.get(pk=run_id).finished_at is not None

    until(is_over)
    states = set(StepRun.objects.filter(run_id=run_id).values_list("state", flat=True))
    assert states == {"succeeded"}, StepRun.objects.filter(run_id=run_id).values()


def until(condition: Any) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def told(run_id: UUID) -> list[tuple[int, int, int, str]]:
    rows = AttemptLog.objects.filter(run_id=run_id).order_by("id")
    return [(row.ordinal, row.attempt, row.line, row.message) for row in rows]


def test_lines_of_every_kind_of_handler_are_kept(child: Child, tenant: Tenant) -> None:
    run_id = run(
        tenant,
        [
            {"name": "a", "handler": "logs.speak", "retry": {"max_attempts": 2}},
            {"name": "b", "handler": "logs.compute", "depends_on": ["a"]},
            {"name": "c", "handler": "logs.each", "map": {"over": "${{ [7, 8] }}", "batch_size": 2},
             "depends_on": ["b"]},
            {"name": "d", "handler": "core.echo", "depends_on": ["c"]},
        ],
    )  # fmt: skip
    ended(run_id)
    assert told(run_id) == [
        (0, 1, 1, "begun 1"), (0, 2, 1, "begun 2"),
        *((1, 1, n + 1, f"number {n}") for n in range(5)),
        (2, 1, 1, "item 7"), (2, 1, 2, "item 8"),
    ]  # fmt: skip
    rows = list(AttemptLog.objects.filter(run_id=run_id).order_by("id"))
    assert rows[0].fields == '{"n":1180591620717411303424}'
    assert [row.fields for row in rows[-2:]] == ['{"item_index":0}', '{"item_index":1}']
    assert [row.batch for row in rows[-2:]] == [1, 1]
    assert len({row.epoch for row in rows[:2]}) == 2


def test_lines_are_there_while_the_attempt_runs_and_all_of_them_before_its_end(
    child: Child, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    holding.clear()
    states = []
    written = store_logs.write

    def watched(connection: Any, *args: Any, **named: Any) -> None:
        written(connection, *args, **named)
        states.append(connection.execute("SELECT state FROM step_run").fetchone()[0])

    monkeypatch.setattr(store_logs, "write", watched)
    run_id = run(tenant, [{"name": "a", "handler": "logs.block"}])
    until(lambda: told(run_id))
    assert StepRun.objects.get().state == "running"
    holding.set()
    ended(run_id)
    assert [row[-1] for row in told(run_id)] == ["in a thread", "the last word"]
    assert set(states) == {"running"}


def test_lines_wait_for_the_database_and_the_attempts_end_waits_with_them(
    child: Child, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = []
    written = store_logs.write

    def unsure(*args: Any, **named: Any) -> None:
        written(*args, **named)
        again.append(named["again"])
        if len(again) == 1:
            raise psycopg.OperationalError("the answer was lost")

    monkeypatch.setattr(store_logs, "write", unsure)
    run_id = run(tenant, [{"name": "a", "handler": "logs.many"}])
    ended(run_id)
    assert [row[-1] for row in told(run_id)] == [f"number {n}" for n in range(5)]
    assert again[:2] == [False, True]


def test_a_log_that_cannot_be_kept_stops_no_step(
    child: Child, tenant: Tenant, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(*args: Any, **named: Any) -> None:
        raise psycopg.errors.InsufficientPrivilege("no")

    monkeypatch.setattr(store_logs, "write", refused)
    ended(run(tenant, [{"name": "a", "handler": "logs.many"}]))
    assert "lines of handlers are lost" in caplog.text


def test_a_line_that_is_refused_is_lost_alone(
    child: Child, tenant: Tenant, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    written = store_logs.write

    def picky(connection: Any, lines: Any, **named: Any) -> None:
        if any(one.line.message == "number 3" for one in lines):
            raise psycopg.errors.UntranslatableCharacter("no")
        written(connection, lines, **named)

    monkeypatch.setattr(store_logs, "write", picky)
    run_id = run(tenant, [{"name": "a", "handler": "logs.many"}])
    ended(run_id)
    assert [row[-1] for row in told(run_id)] == [f"number {n}" for n in (0, 1, 2, 4)]
    assert "1 lines of handlers are lost" in caplog.text


def test_a_statement_holds_so_many_lines(
    child: Child, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.executor.logs.AT_ONCE", 2)
    sizes = []
    written = store_logs.write

    def counted(connection: Any, lines: Any, **named: Any) -> None:
        sizes.append(len(lines))
        written(connection, lines, **named)

    monkeypatch.setattr(store_logs, "write", counted)
    run_id = run(tenant, [{"name": "a", "handler": "logs.many"}])
    ended(run_id)
    assert len(told(run_id)) == 5
    assert max(sizes) <= 2
