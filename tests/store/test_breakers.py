"""Circuit breakers, statement by statement."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from orchestrator import store
from orchestrator.conf import Conf
from orchestrator.domain.masking import NO_MASK, Mask
from orchestrator.executor.breakers import Breakers
from orchestrator.executor.flights import Flight
from orchestrator.executor.gates import host_of
from orchestrator.executor.invoke import Fault, Reported
from orchestrator.executor.items import ItemCalls
from orchestrator.models import Breaker, StepRun
from orchestrator.selectors.attempts import attempts_page
from orchestrator.selectors.steps import steps_view
from orchestrator.services.runs import submit_run
from orchestrator.services.workflows import publish_workflow
from orchestrator.store import breakers
from orchestrator.store.work import Claimed, Completion
from tenants.actors import SYSTEM
from tenants.models import Tenant
from tenants.services import create_tenant
from tests.engine import Engine

URL = {"url": "http://host.example/x"}


@pytest.fixture
def tenant(db: None) -> Tenant:
    return create_tenant(slug="t", actor=SYSTEM)


def fail(tenant: Tenant, host: str = "h", *, tried: bool = False) -> bool:
    return breakers.failed(
        store.connection(), tenant.pk, host, tried=tried, failures=3, pause_s=60.0
    )


def may(tenant: Tenant, host: str = "h") -> float:
    return breakers.try_host(store.connection(), tenant.pk, host, pause_s=60.0)


def pass_pause() -> None:
    """The pause is over."""
    store.connection().execute("UPDATE breaker SET retry_at = clock_timestamp()")


def test_opens_after_failures_in_a_row_and_one_tries(tenant: Tenant) -> None:
    other = create_tenant(slug="u", actor=SYSTEM)
    connection = store.connection()
    assert [fail(tenant) for _ in range(2)] == [False, False]
    assert may(tenant) == 0
    breakers.answered(connection, tenant.pk, "h", tried=False)
    assert not Breaker.objects.exists(), "they were not in a row"
    assert [fail(tenant) for _ in range(3)] == [False, False, True]
    assert 59 < may(tenant) <= 60
    assert (may(tenant, "other"), may(other)) == (0, 0)
    breakers.answered(connection, tenant.pk, "h", tried=False)
    assert may(tenant) > 0, "one that was under way before changes nothing"
    pass_pause()
    assert may(tenant) == -1
    assert may(tenant) > 0, "one at a time"
    assert Breaker.objects.get().state == "half_open"
    assert fail(tenant, tried=True) is True
    assert Breaker.objects.get().state == "open"
    pass_pause()
    assert may(tenant) == -1
    pass_pause()
    assert may(tenant) == -1, "the one that tried was lost"
    breakers.answered(connection, tenant.pk, "h", tried=True)
    assert may(tenant) == 0
    assert breakers.troubled_hosts(connection, tenant.pk) == set()


def test_closing_frees_the_steps_that_wait(tenant: Tenant) -> None:
    step = {"name": "a", "handler": "core.http", "args": URL}
    publish_workflow(tenant=tenant, name="w", document={"steps": [step]}, actor=SYSTEM)
    run_id = submit_run(tenant=tenant, workflow="w", body={}, actor=SYSTEM).run_id
    engine = Engine()
    (claim,) = engine.claim()
    waits = Completion(
        claim, "waiting", 0.0, reason="breaker", args=json.dumps(URL), delay_s=50.0, counts=False
    )
    engine.complete(waits)
    rows: Any = steps_view(tenant=tenant, run_id=run_id)
    assert (rows[0]["state"], rows[0]["attempt"]) == ("waiting", 0)
    assert rows[0]["waiting"]["reason"] == "breaker"
    assert "host.example" in rows[0]["waiting"]["detail"]
    assert attempts_page(tenant=tenant, run_id=run_id, name="a").items == []
    before = StepRun.objects.get().due_at
    assert before is not None
    breakers.answered(store.connection(), tenant.pk, "host.example", tried=True)
    after = StepRun.objects.get().due_at
    assert after is not None
    assert after < before


class Spec:
    """A plan's step, as far as breakers look at it."""

    handler = "core.http"


class Plan:
    step = Spec


def claimed(tenant: Tenant, batch: int = 0) -> Claimed:
    return Claimed("step", tenant.pk, uuid4(), 0, batch, 1, 1, 0, 0, False, None, None, "{}",
                   None, None, None, None, False)  # fmt: skip


def flight(claim: Claimed, args: dict[str, object]) -> Flight:
    return Flight(claim, Plan, None, None, args)  # type: ignore[arg-type]


class Names(Exception):
    """An exception by another name."""


@pytest.mark.parametrize(
    ("result", "ending", "failures"),
    [
        ({"status": 200}, None, 0),
        (Fault("timeout", "", retry=True), "timeout", 1),
        (Fault("cancelled", "", retry=False), "cancel", 0),
        (TimeoutError(), None, 1),
        (ConnectionRefusedError(), None, 1),
        (Reported("ServerFailed", "", ("ServerFailed", "HttpFailed"), ""), None, 1),
        (Reported("HttpFailed", "", ("HttpFailed",), ""), None, 0),
        (Names(), None, 0),
    ],
)
def test_what_a_process_writes_down(
    tenant: Tenant, result: object, ending: str | None, failures: int
) -> None:
    board = Breakers(Conf())
    one = flight(claimed(tenant), dict(URL))
    one.ending = ending
    assert board.wait_s(store.connection(), one.claimed, one.args) == 0
    board.observe(one, result)
    board.tell(store.connection())
    rows = list(Breaker.objects.values_list("host", "failures"))
    assert rows == ([("host.example", failures)] if failures else [])


def test_a_process_waits_tries_and_closes(tenant: Tenant) -> None:
    board = Breakers(Conf(breaker_failures=1, breaker_pause_s=60.0))
    connection = store.connection()
    first = flight(claimed(tenant), dict(URL))
    assert board.wait_s(connection, first.claimed, first.args) == 0
    board.observe(first, TimeoutError())
    board.tell(connection)
    second = flight(claimed(tenant), dict(URL))
    assert board.wait_s(connection, second.claimed, second.args) > 50
    pass_pause()
    assert board.wait_s(connection, second.claimed, second.args) == 0
    third = flight(claimed(tenant), dict(URL))
    assert board.wait_s(connection, third.claimed, third.args) > 50
    board.observe(second, {"status": 200})
    board.tell(connection)
    assert not Breaker.objects.exists()
    assert board.wait_s(connection, third.claimed, third.args) == 0


def batch(tenant: Tenant, *urls: str) -> tuple[Flight, ItemCalls]:
    """A batch of a map in flight, with its items' calls."""
    calls = ItemCalls(
        first=0, places=range(len(urls)), arguments=lambda at: {"url": urls[at]},
        stop_at_failure=False, is_final=lambda _place, _error: False,
    )  # fmt: skip
    one = flight(claimed(tenant, batch=1), {})
    one.work = calls
    return one, calls


def test_batches_of_a_map_have_a_gate_that_knows_what_is_known(tenant: Tenant) -> None:
    connection, board = store.connection(), Breakers(Conf(breaker_failures=2))
    one, calls = batch(tenant, "http://open/", "http://due/", "http://fine/")
    for host in ("open", "due", "elsewhere"):
        for _ in range(3):
            fail(tenant, host)
    Breaker.objects.exclude(host="open").update(retry_at="2026-01-01T00:00:00Z")
    assert board.held(connection, one) is None
    gate = calls.gate
    assert gate is not None
    first, tried, fine = [gate.enter(args) for args in calls.each_arguments()]
    assert first.held is not None
    assert 59 < first.held.left_s() <= 60
    assert (tried.held, tried.tried) == (None, True)
    assert Breaker.objects.get(host="due").state == "half_open"
    assert Breaker.objects.get(host="elsewhere").state == "open", "no item calls it"
    # two failures elsewhere, and the gate hears of it
    for _ in range(3):
        fail(tenant, "fine")
    assert gate.enter({"url": "http://fine/"}).held is None
    board.refresh(connection, [one, flight(claimed(tenant), {})])
    assert gate.enter({"url": "http://fine/"}).held is not None
    gate.leave(tried, "well")
    gate.leave(fine, TimeoutError())
    board.observe(one, None)
    board.tell(connection)
    assert set(Breaker.objects.values_list("host", flat=True)) == {"open", "elsewhere", "fine"}


def test_what_a_helper_process_made_of_items_and_what_took_too_long_is_told(tenant: Tenant) -> None:
    connection, board = store.connection(), Breakers(Conf(breaker_failures=9))
    one, calls = batch(tenant, "http://bad/", "http://late/", "http://well/")
    board.held(connection, one)
    calls.message()
    calls.results |= {0: TimeoutError(), 2: "well"}
    one.ending = "timeout"
    board.observe(one, None)
    board.tell(connection)
    assert set(Breaker.objects.values_list("host", flat=True)) == {"bad", "late"}


def test_calls_without_a_host_pass(tenant: Tenant) -> None:
    board = Breakers(Conf(breaker_failures=1))
    for one in (
        flight(claimed(tenant), {"url": 5}),
        flight(claimed(tenant), {"url": "http://["}),
    ):
        assert board.wait_s(store.connection(), one.claimed, one.args) == 0
        board.observe(one, TimeoutError())
    board.tell(store.connection())
    assert not Breaker.objects.exists()


def test_a_database_that_is_away_holds_no_call_up(tenant: Tenant) -> None:
    class Away:
        def execute(self, *_: object) -> None:
            raise psycopg.OperationalError("away")

    away: Any = Away()
    assert Breakers(Conf()).wait_s(away, claimed(tenant), dict(URL)) == 0


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://API.Example.org:8443/x", "api.example.org"),
        ("http://example.org./", "example.org"),
        ("http://[::1]:80/", "::1"),
        ("nothing", None),
        (None, None),
    ],
)
def test_hosts(url: object, host: str | None) -> None:
    assert host_of({"url": url}, NO_MASK) == host


def test_a_secret_in_a_hosts_name_is_hidden() -> None:
    assert host_of({"url": "http://a-secret.example/"}, Mask(["a-secret"])) == "***.example"
