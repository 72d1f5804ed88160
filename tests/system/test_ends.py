"""Runs that end early: cancel, timeout, deadline."""

from __future__ import annotations

import time

import pytest

from tests.system.running_system import TestTenant
from tests.system.shapes import call

pytestmark = [pytest.mark.system, pytest.mark.any_servers]


def started(tenant: TestTenant, name: str, **more: object) -> str:
    """Submit, and wait until a step runs."""
    run_id = str(tenant.submit(name, **more)["id"])
    tenant.system.until(lambda: tenant.http.get(f"/runs/{run_id}").json()["steps"]["running"])
    return run_id


def test_cancel_ends_async_steps_at_once_and_keeps_finished_ones(tenant: TestTenant) -> None:
    tenant.publish(
        "cancel",
        [
            call("done", "echo", args={"value": 1}),
            call("slow", "sleep", "done", args={"ms": 30_000}),
            call("next", "noop", "slow"),
            call("clean", "noop", "slow", trigger_rule="always"),
        ],
    )
    run_id = started(tenant, "cancel")
    tenant.system.until(lambda: tenant.steps(run_id)["slow"]["state"] == "running")
    begun = time.monotonic()
    answer = tenant.http.post(f"/runs/{run_id}/cancel")
    assert answer.status_code == 200
    run = tenant.wait(run_id, 10)
    assert time.monotonic() - begun < 3
    rows = tenant.steps(run_id)
    assert run["state"] == "cancelled"
    assert run["error"]["code"] == "cancelled"
    assert {n: s["state"] for n, s in rows.items()} == {
        "done": "succeeded", "slow": "cancelled", "next": "cancelled", "clean": "succeeded",
    }  # fmt: skip
    assert rows["done"]["output"] == 1
    assert tenant.http.post(f"/runs/{run_id}/cancel").status_code == 409


def test_cancel_is_seen_by_blocking_handlers(tenant: TestTenant) -> None:
    tenant.publish("polite", [call("a", "block_politely", args={"ms": 30_000})])
    run_id = started(tenant, "polite")
    tenant.http.post(f"/runs/{run_id}/cancel")
    run = tenant.wait(run_id, 5)
    assert run["state"] == "cancelled"
    assert tenant.steps(run_id)["a"]["output"] == "cancelled", (
        "it ended by itself: its result is kept"
    )


def test_cancel_cuts_off_after_the_grace_period(tenant: TestTenant) -> None:
    tenant.publish("stubborn", [call("a", "stubborn", args={"ms": 14_000})])
    run_id = started(tenant, "stubborn")
    begun = time.monotonic()
    tenant.http.post(f"/runs/{run_id}/cancel")
    assert tenant.wait(run_id, 20)["state"] == "cancelled"
    assert 9 < time.monotonic() - begun < 13


def test_cancel_kills_a_deaf_helper_process_after_the_grace_period(tenant: TestTenant) -> None:
    tenant.publish("deaf", [call("a", "spin", args={"ms": 60_000})])
    run_id = started(tenant, "deaf")
    tenant.http.post(f"/runs/{run_id}/cancel")
    assert tenant.wait(run_id, 20)["state"] == "cancelled"


def test_run_timeout_fails_the_run(tenant: TestTenant) -> None:
    tenant.publish(
        "timeout",
        [call("a", "sleep", args={"ms": 30_000}), call("b", "noop", "a")],
        timeout="500ms",
    )
    run = tenant.run("timeout", within_s=10)
    assert (run["state"], run["error"]["code"]) == ("failed", "run_timeout")
    assert tenant.steps(run["id"])["b"]["state"] == "cancelled"


def test_deadline_fails_the_run(tenant: TestTenant) -> None:
    tenant.publish("deadline", [call("a", "sleep", args={"ms": 30_000})])
    run = tenant.run("deadline", within_s=10, deadline="500ms")
    assert (run["state"], run["error"]["code"]) == ("failed", "deadline")


def test_cancel_of_a_run_that_waits_for_a_retry(tenant: TestTenant) -> None:
    tenant.publish("waits", [call("a", "fail", retry={"max_attempts": 2, "delay": "1h"})])
    run_id = str(tenant.submit("waits")["id"])
    tenant.system.until(lambda: tenant.steps(run_id)["a"]["state"] == "waiting")
    waiting = tenant.steps(run_id)["a"]["waiting"]
    assert waiting["reason"] == "retry"
    assert waiting["until"] is not None
    tenant.http.post(f"/runs/{run_id}/cancel")
    assert tenant.wait(run_id, 5)["state"] == "cancelled"
