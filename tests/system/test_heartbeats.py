"""Heartbeats: silence fails an attempt, progress outlives it, cancelling is told."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from tests.system.running_system import TestTenant
from tests.system.shapes import call

pytestmark = [pytest.mark.system, pytest.mark.any_servers]
RETRY = {"max_attempts": 2, "delay": 0}


def one(
    tenant: TestTenant, step: dict[str, Any], within_s: float = 30
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run a workflow of one step: the run and the step run."""
    tenant.publish("one", [step])
    run = tenant.run("one", within_s=within_s)
    return run, tenant.steps(run["id"])[step["name"]]


def attempts(tenant: TestTenant, run: dict[str, Any], step: str) -> list[dict[str, Any]]:
    """The attempts of a step."""
    answer = tenant.http.get(f"/runs/{run['id']}/steps/{step}/attempts")
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


@pytest.mark.parametrize("queue", ["io", "cpu"])
def test_a_silent_attempt_fails_and_the_next_one_reads_its_progress(
    tenant: TestTenant, queue: str
) -> None:
    args = {"beats": 3, "every_ms": 20, "then_silent_ms": 60_000}
    step = call("a", "beat", args=args, heartbeat="1s", retry=RETRY, queue=queue)
    run, row = one(tenant, step)
    assert run["output"] == {"attempt": 2, "progress": {"done": 3, "big": 2**64}}
    assert (row["attempt"], row["progress"]) == (2, {"done": 3, "big": 2**64})
    assert row["heartbeat_at"] is not None
    first, second = attempts(tenant, run, "a")
    assert (first["error"]["code"], second["state"]) == ("heartbeat_timeout", "succeeded")
    assert "1 s" in first["error"]["message"]


def test_a_silent_blocking_attempt_fails_at_once(tenant: TestTenant) -> None:
    step = call("a", "beat_blocking", args={"silent_ms": 60_000}, heartbeat="500ms", retry=RETRY)
    run, row = one(tenant, step)
    assert run["output"] == {"attempt": 2, "progress": {"done": 1}}
    assert row["attempt"] == 2


def test_silence_counts_and_is_given_up(tenant: TestTenant) -> None:
    step = call("a", "sleep", args={"ms": 60_000}, heartbeat="200ms", retry=RETRY)
    run, row = one(tenant, step)
    assert (run["state"], row["attempt"], row["error"]["code"]) == (
        "failed",
        2,
        "heartbeat_timeout",
    )
    assert run["error"]["cause"]["code"] == "heartbeat_timeout"
    never = call("a", "sleep", args={"ms": 60_000}, heartbeat="200ms",
                 retry={**RETRY, "never_on": ["TimeoutError"]})  # fmt: skip
    _, row = one(tenant, never)
    assert row["attempt"] == 1


@pytest.mark.parametrize("queue", ["io", "cpu"])
def test_who_beats_in_time_may_take_long(tenant: TestTenant, queue: str) -> None:
    args = {"beats": 12, "every_ms": 100}
    run, row = one(tenant, call("a", "beat", args=args, heartbeat="600ms", queue=queue))
    assert run["output"] == {"attempt": 1, "progress": None}
    assert row["progress"]["done"] == 12, "the last word is kept"


def test_a_progress_has_at_most_64_kib(tenant: TestTenant) -> None:
    run, _ = one(tenant, call("a", "beat_too_much", args={"size": 65_536}))
    assert run["output"] == "kept"
    _, row = one(tenant, call("a", "beat_too_much", args={"size": 65_537}))
    assert (row["error"]["code"], row["error"]["type"]) == ("error", "ValueError")
    assert "65536 bytes" in row["error"]["message"]


@pytest.mark.parametrize("queue", ["io", "cpu"])
def test_a_heartbeat_tells_of_cancelling(tenant: TestTenant, queue: str) -> None:
    tenant.publish("one", [call("a", "beat_until", queue=queue)])
    run = tenant.submit("one")["id"]
    tenant.system.until(lambda: tenant.steps(run)["a"]["progress"])
    assert tenant.http.post(f"/runs/{run}/cancel").status_code == 200
    assert tenant.wait(run)["state"] == "cancelled"
    row = tenant.steps(run)["a"]
    assert (row["state"], row["output"]) == ("succeeded", {"told": True})


def test_beating_all_the_time_is_no_storm(tenant: TestTenant) -> None:
    tenant.publish("one", [call("a", "beat_until", args={"seconds": 3})])
    run = tenant.submit("one")["id"]
    tenant.system.until(lambda: tenant.steps(run)["a"]["progress"])
    written = "SELECT n_tup_upd + n_tup_ins FROM pg_stat_user_tables WHERE relname = 'heartbeat'"
    before = tenant.system.sql(written)[0][0]
    tenant.wait(run)
    number = tenant.steps(run)["a"]["progress"]["number"]
    assert number > 1_000
    tenant.system.sql("SELECT pg_stat_clear_snapshot()")
    assert tenant.system.sql(written)[0][0] - before < 40


def test_progress_survives_kill_9_of_the_worker(tenant: TestTenant) -> None:
    tenant.publish("one", [call("a", "beat_until", args={"seconds": 60}, heartbeat="30s")])
    run = tenant.submit("one")["id"]
    told = tenant.system.until(lambda: tenant.steps(run)["a"]["progress"])
    worker = tenant.system.sql(
        "SELECT w.pid FROM step_run s JOIN worker w ON w.id = s.worker_id WHERE s.run_id = %s", run
    )[0][0]
    os.kill(worker, signal.SIGKILL)
    ended = tenant.wait(run, 60)
    assert ended["output"]["found"] >= told["number"]
    assert ended["output"]["attempt"] == 1, "a loss is no attempt"
    assert [e["type"] for e in tenant.events(run)].count("step.lost") == 1
