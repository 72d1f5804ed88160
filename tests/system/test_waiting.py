"""Waiting with real workers: sleeps, signals, snoozes, repetitions, delayed starts, concurrency."""

from __future__ import annotations

import os
import signal
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.system.running_system import TestTenant
from tests.system.shapes import call
from tests.system.test_attempts import seconds_between

pytestmark = [pytest.mark.system, pytest.mark.any_servers]

ASK = {"name": "ask", "signal": "go"}


def waits(tenant: TestTenant, run: dict[str, Any], step: str, reason: str) -> dict[str, Any]:
    """What a step waits for, once it waits for this reason."""

    def asked() -> dict[str, Any] | None:
        waiting = tenant.steps(run["id"])[step]["waiting"]
        return waiting if waiting and waiting["reason"] == reason else None

    found = tenant.system.until(asked)
    assert isinstance(found, dict)
    return found


def send(tenant: TestTenant, run: dict[str, Any], body: object, name: str = "go") -> httpx.Response:
    """Send a signal."""
    return tenant.http.post(f"/runs/{run['id']}/signals/{name}", json=body)


def holds_nothing(tenant: TestTenant) -> bool:
    """Whether no connection of the tenant is in use."""
    in_use = "SELECT in_use FROM tenant_load WHERE tenant_id = %s"
    return tenant.system.sql(in_use, tenant.id) == [(0,)]


def test_a_sleep_ends_on_time_and_holds_nothing(tenant: TestTenant) -> None:
    tenant.publish("nap", [{"name": "nap", "sleep": "1s"}, call("b", "noop", "nap")])
    run = tenant.submit("nap")
    waiting = waits(tenant, run, "nap", "sleep")
    assert waiting["until"]
    assert holds_nothing(tenant)
    done = tenant.wait(run["id"])
    step = tenant.steps(run["id"])["nap"]
    assert (done["state"], step["output"]) == ("succeeded", None)
    assert 1 <= seconds_between(step["ready_at"], step["finished_at"]) < 1.5
    assert holds_nothing(tenant)


def test_cancel_of_a_sleep_works_at_once(tenant: TestTenant) -> None:
    tenant.publish("nap", [{"name": "nap", "sleep": "1h"}])
    run = tenant.submit("nap")
    waits(tenant, run, "nap", "sleep")
    assert tenant.http.post(f"/runs/{run['id']}/cancel").json()["state"] == "cancelled"


def test_a_signal_before_during_after_and_twice(tenant: TestTenant) -> None:
    tenant.publish(
        "asks",
        [
            {"name": "nap", "sleep": "500ms"},
            {**ASK, "depends_on": ["nap"]},
            {**ASK, "name": "again", "depends_on": ["ask"]},
            {"name": "last", "sleep": "1s", "depends_on": ["again"]},
        ],
        output={"first": "${{ steps.ask.output }}", "second": "${{ steps.again.output }}"},
    )
    run = tenant.submit("asks")
    assert send(tenant, run, {"payload": 1, "dedup_key": "a"}).status_code == 200  # before
    waits(tenant, run, "again", "signal")
    assert send(tenant, run, {"payload": 1, "dedup_key": "a"}).status_code == 200  # twice: known
    assert tenant.steps(run["id"])["again"]["state"] == "waiting"
    assert holds_nothing(tenant)
    assert send(tenant, run, {"payload": 2}).status_code == 200  # during
    waits(tenant, run, "last", "sleep")
    assert send(tenant, run, {"payload": 3}).status_code == 200  # after: kept, for nobody
    done = tenant.wait(run["id"])
    assert done["output"] == {"first": 1, "second": 2}
    late = send(tenant, run, {"payload": 4})
    assert (late.status_code, late.json()["code"]) == (409, "state_conflict")
    events = [e["type"] for e in tenant.events(run["id"])]
    assert events.count("signal.received") == 3


def test_a_signal_that_does_not_come_in_time(tenant: TestTenant) -> None:
    tenant.publish("asks", [{**ASK, "timeout": "400ms"}])
    run = tenant.run("asks")
    step = tenant.steps(run["id"])["ask"]
    assert (run["state"], step["error"]["code"]) == ("failed", "timeout")
    assert 0.4 <= seconds_between(step["started_at"], step["finished_at"]) < 1.4


def test_a_signal_against_its_timeout_has_one_winner(tenant: TestTenant) -> None:
    tenant.publish("asks", [{**ASK, "timeout": "600ms"}])
    runs = [tenant.submit("asks") for _ in range(20)]
    deadline = datetime.now(UTC) + timedelta(milliseconds=600)
    barrier = threading.Barrier(4)
    taken: dict[str, int] = {}

    def sender(mine: list[dict[str, Any]]) -> None:
        with tenant.system.client(tenant.key) as http:
            barrier.wait(10)
            while datetime.now(UTC) < deadline - timedelta(milliseconds=30):
                pass
            for run in mine:
                taken[run["id"]] = http.post(
                    f"/runs/{run['id']}/signals/go", json={"payload": "in time"}
                ).status_code

    threads = [threading.Thread(target=sender, args=(runs[i::4],)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for run in runs:
        done = tenant.wait(run["id"])
        kept = tenant.system.sql("SELECT 1 FROM signal WHERE run_id = %s", run["id"])
        if done["state"] == "succeeded":
            assert (done["output"], kept, taken[run["id"]]) == ("in time", [], 200)
        else:
            assert done["error"]["cause"]["code"] == "timeout"
            assert kept or taken[run["id"]] == 409, "it came too late, and nobody took it"


def test_waits_outlive_every_process(tenant: TestTenant, tmp_path: Path) -> None:
    tenant.publish("inner", [{"name": "nap", "sleep": "2s"}, call("b", "noop", "nap")])
    tenant.publish(
        "long",
        [
            {"name": "nap", "sleep": "3s"},
            ASK,
            call("snoozed", "snooze_for", args={"file": str(tmp_path / "f"), "for_": "500ms"}),
            {"name": "sub", "workflow": "inner", "args": {}},
        ],
    )
    run = tenant.submit("long")
    for step, reason in (
        ("nap", "sleep"),
        ("ask", "signal"),
        ("snoozed", "snooze"),
        ("sub", "child"),
    ):
        waits(tenant, run, step, reason)
    system = tenant.system
    for part in ("worker", "clock"):
        before = system.pids(part)
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        system.until(lambda: set(system.pids(part)) - set(before))  # noqa: B023
    (tmp_path / "f").touch()
    assert send(tenant, run, {"payload": "yes"}).status_code == 200
    done = tenant.wait(run["id"], 60)
    assert done["state"] == "succeeded"
    assert done["output"] == {"nap": None, "ask": "yes", "snoozed": 1, "sub": {"ok": 1}}
    system.until(lambda: holds_nothing(tenant))


def test_a_snooze_uses_no_attempt_and_tells_why(tenant: TestTenant, tmp_path: Path) -> None:
    file = tmp_path / "f"
    tenant.publish("s", [call("a", "snooze_for", args={"file": str(file), "for_": "300ms"})])
    run = tenant.submit("s")
    waiting = waits(tenant, run, "a", "snooze")
    assert waiting["until"]
    assert tenant.steps(run["id"])["a"]["attempt"] == 0
    file.touch()
    assert tenant.wait(run["id"])["output"] == 1


def test_repeat_until_its_condition_holds(tenant: TestTenant) -> None:
    repeat = {"until": "${{ output.time >= input.times }}", "max": 5, "delay": "100ms"}
    tenant.publish(
        "poll",
        [
            call(
                "a",
                "turns",
                args={"fail_at": 2},
                repeat=repeat,
                retry={"max_attempts": 2, "delay": 0},
            )
        ],
    )
    run = tenant.submit("poll", {"times": 3})
    done = tenant.wait(run["id"])
    assert done["output"]["time"] == 3
    assert done["output"]["key"].endswith(":a:repeat-3")
    step = tenant.steps(run["id"])["a"]
    assert (step["repeats"], step["attempt"]) == (2, 1)
    attempts = tenant.http.get(f"/runs/{run['id']}/steps/a/attempts").json()["items"]
    assert [a["state"] for a in attempts] == ["repeated", "failed", "repeated", "succeeded"]
    assert [a["attempt"] for a in attempts] == [1, 1, 2, 1]
    gap = seconds_between(attempts[0]["finished_at"], attempts[1]["started_at"])
    assert 0.1 <= gap < 0.8


@pytest.mark.parametrize("queue", ["io", "cpu"])
def test_repeat_fails_after_the_last_time(tenant: TestTenant, queue: str) -> None:
    repeat = {"until": "${{ output.time > 5 }}", "max": 3}
    tenant.publish(
        "poll", [call("a", "turns", repeat=repeat, queue=queue, retry={"max_attempts": 9})]
    )
    run = tenant.run("poll")
    assert run["state"] == "failed"
    assert (run["error"]["cause"]["code"], "3 times" in run["error"]["message"]) == ("error", True)
    wrong = {"until": "${{ output.nothing }}", "max": 3}
    tenant.publish("poll", [call("a", "turns", repeat=wrong, queue=queue)])
    assert tenant.run("poll")["error"]["cause"]["code"] == "expression"


def test_a_run_starts_at_its_time(tenant: TestTenant) -> None:
    tenant.publish("later", [call("a", "noop")])
    run = tenant.submit("later", start_at="1s")
    assert (run["state"], run["waiting"]["reason"], run["steps"]["ready"]) == (
        "queued",
        "start_at",
        0,
    )
    done = tenant.wait(run["id"])
    assert 0 <= seconds_between(done["start_at"], done["started_at"]) < 0.8
    other = tenant.submit("later", start_at="1h")
    assert tenant.http.post(f"/runs/{other['id']}/cancel").json()["state"] == "cancelled"


def test_concurrency_queues_cancels_or_refuses(tenant: TestTenant) -> None:
    def publish(on_conflict: str) -> None:
        concurrency = {"key": "${{ input.c }}", "limit": 2, "on_conflict": on_conflict}
        tenant.publish("keyed", [call("a", "sleep", args={"ms": 300})], concurrency=concurrency)

    publish("queue")
    ids = tenant.submit_many("keyed", 6, {"c": 1})
    others = tenant.submit_many("keyed", 2, {"c": 2})
    tenant.wait_all(ids + others)
    spans = tenant.system.sql(
        "SELECT s.started_at, s.finished_at FROM step_run s WHERE s.run_id = ANY (%s::uuid[]) ORDER BY 1",
        ids,
    )
    for started, _ in spans:
        assert sum(a <= started < b for a, b in spans) <= 2
    publish("reject")
    bodies = {"input": {"c": 3}}
    statuses = [
        tenant.http.post("/workflows/keyed/runs", json=bodies).status_code for _ in range(3)
    ]
    assert statuses == [202, 202, 409]
    publish("cancel_oldest")
    four = [tenant.submit("keyed", {"c": 4})["id"] for _ in range(4)]
    tenant.wait_all(four)
    states = [tenant.wait(one)["state"] for one in four]
    assert states == ["cancelled", "cancelled", "succeeded", "succeeded"]
