"""The circuit breaker of `core.http`, with real workers and a server that fails on request."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from tests.system.running_system import System, TestTenant, start_system

pytestmark = pytest.mark.system

FAILURES = 3
PAUSE_S = 5.0
"""Long enough to look around on a busy machine."""


class Target:
    """A server whose answers the test chooses, and which counts what it is asked."""

    def __init__(self) -> None:
        self.status = 200
        self.asked = 0
        target = self

        class Answers(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                target.asked += 1
                self.send_response(target.status)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """Silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def breaking() -> Iterator[System]:
    """A system that may call this host, with a breaker that opens soon."""
    with start_system(
        ORCHESTRATOR_HTTP_ALLOW_PRIVATE="true",
        ORCHESTRATOR_BREAKER_FAILURES=str(FAILURES),
        ORCHESTRATOR_BREAKER_PAUSE_S=str(PAUSE_S),
    ) as running:
        yield running


@pytest.fixture
def target() -> Iterator[Target]:
    found = Target()
    yield found
    found.close()


def publish(tenant: TestTenant, target: Target, **more: Any) -> None:
    """A workflow of one call."""
    step = {"name": "a", "handler": "core.http", "args": {"url": target.url}, **more}
    tenant.publish("call", [step])


def breaker(tenant: TestTenant) -> dict[str, Any] | None:
    """The tenant's only breaker, if there is one."""
    items = tenant.http.get("/breakers").json()["items"]
    return dict(items[0]) if items else None


def opened(tenant: TestTenant, target: Target) -> None:
    """Let calls fail until the breaker is open."""
    target.status = 503
    publish(tenant, target, retry={"max_attempts": FAILURES, "delay": 0})
    assert tenant.run("call")["state"] == "failed"
    assert target.asked == FAILURES
    row = breaker(tenant)
    assert row is not None
    assert (row["host"], row["state"], row["failures"]) == ("127.0.0.1", "open", FAILURES)


def all_wait(tenant: TestTenant, runs: list[str]) -> bool:
    """Whether each run's step waits for the breaker."""
    waiting = [tenant.steps(run)["a"]["waiting"] for run in runs]
    return all(one is not None and one["reason"] == "breaker" for one in waiting)


def test_open_steps_wait_without_attempts_and_one_tries(breaking: System, target: Target) -> None:
    tenant, other = breaking.tenant(), breaking.tenant()
    opened(tenant, target)
    runs = [tenant.submit("call")["id"] for _ in range(6)]
    breaking.until(lambda: all_wait(tenant, runs), PAUSE_S, every_s=0.05)
    asked = target.asked
    assert asked <= FAILURES + 1
    rows = [tenant.steps(run)["a"] for run in runs]
    assert {(row["state"], row["attempt"]) for row in rows} == {("waiting", 0)}
    assert all("127.0.0.1" in row["waiting"]["detail"] for row in rows)
    assert all(row["waiting"]["until"] for row in rows)
    in_use = "SELECT in_use FROM tenant_load WHERE tenant_id = %s"
    assert breaking.sql(in_use, tenant.id) == [(0,)]
    metric = f'millrace_breakers_open{{tenant="{tenant.slug}"}} 1.0'
    breaking.until(lambda: metric in httpx.get(f"{breaking.url}/metrics").text)
    me = {"Authorization": f"Bearer {tenant.key}"}

    def held_off() -> bool:
        text = httpx.get(f"{breaking.url}/health", headers=me).text
        return "held off" in text.replace("No host is held off", "")

    breaking.until(held_off)
    # another tenant's breaker is another one
    publish(other, target)
    assert other.run("call")["state"] == "failed"
    assert breaker(other)["failures"] == 1  # type: ignore[index]
    # one of the six tries, fails, and the others go on waiting
    breaking.until(lambda: target.asked > asked + 1, 3 * PAUSE_S)
    tried = [run for run in runs if tenant.steps(run)["a"]["attempt"]]
    assert len(tried) == 1
    breaking.until(lambda: (breaker(tenant) or {}).get("state") == "open")
    target.status = 200
    for run in runs:
        assert tenant.wait(run)["state"] == "succeeded"
        assert len(tenant.http.get(f"/runs/{run}/steps/a/attempts").json()["items"]) <= 2
    assert breaker(tenant) is None
    assert tenant.run("call")["state"] == "succeeded"


def test_it_survives_kill_9_of_every_worker_process(breaking: System, target: Target) -> None:
    tenant = breaking.tenant()
    opened(tenant, target)
    run = tenant.submit("call")["id"]
    breaking.until(lambda: all_wait(tenant, [run]), PAUSE_S, every_s=0.02)
    asked = target.asked
    breaking.kill_children()
    assert breaker(tenant)["state"] == "open"  # type: ignore[index]
    target.status = 200
    assert tenant.wait(run)["state"] == "succeeded"
    assert target.asked == asked + 1
    assert breaker(tenant) is None


def test_what_counts_as_a_failure(breaking: System, target: Target) -> None:
    tenant = breaking.tenant()
    publish(tenant, target)
    target.status = 404
    for _ in range(FAILURES + 1):
        assert tenant.run("call")["state"] == "failed"
    assert breaker(tenant) is None, "it answers"
    target.status = 500
    assert tenant.run("call")["state"] == "failed"
    assert breaker(tenant)["failures"] == 1  # type: ignore[index]
    target.status = 200
    breaking.until(lambda: tenant.run("call")["state"] == "succeeded" and breaker(tenant) is None)
    target.close()
    for _ in range(FAILURES):
        assert tenant.run("call")["state"] == "failed"
    assert breaker(tenant)["state"] == "open", "no connection counts too"  # type: ignore[index]


def test_items_of_a_map_wait_without_attempts_and_none_is_done_twice(
    breaking: System, target: Target
) -> None:
    tenant = breaking.tenant()
    opened(tenant, target)
    other = Target()
    try:
        well = [other.url.replace("127.0.0.1", "localhost")] * 5
        step = {
            "name": "a",
            "handler": "core.http",
            "args": {"url": "${{ item }}"},
            "map": {"over": "${{ input.urls }}", "batch_size": 10},
        }
        tenant.publish("many", [step])
        run = tenant.submit("many", {"urls": [target.url, *well, target.url, target.url]})["id"]

        def batch() -> dict[str, Any]:
            page = tenant.http.get(f"/runs/{run}/steps", params={"step": "a"}).json()
            return dict(page["items"][0]) if page["items"] else {}

        def waits() -> bool:
            waiting = batch().get("waiting")
            return waiting is not None and waiting["reason"] == "breaker"

        breaking.until(waits, PAUSE_S, every_s=0.05)
        assert (batch()["state"], batch()["attempt"]) == ("waiting", 0)
        assert (target.asked, other.asked) == (FAILURES, 5)
        target.status = 200
        ended = tenant.wait(run)
        assert (ended["state"], len(ended["output"])) == ("succeeded", 8)
        assert (target.asked, other.asked) == (FAILURES + 3, 5)
        assert batch()["attempt"] == 1
        assert breaker(tenant) is None
    finally:
        other.close()
