"""Cached outputs on real workers: one call however many runs ask, whatever dies."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.system.running_system import TestTenant
from tests.system.shapes import call

pytestmark = [pytest.mark.system, pytest.mark.any_servers]
CACHE = {"key": "${{ input.key }}", "ttl": "10m"}
OUTPUT = {"calls": 1, "big": 2**64, "text": "größer ☃"}


def publish(tenant: TestTenant, file: Path, **more: Any) -> None:
    """A cached step that counts its calls in a file, and one that reads its output."""
    args = {"file": str(file), **more.pop("args", {})}
    first = call("a", "note", args=args, cache=CACHE, **more)
    tenant.publish("w", [first, call("b", "echo", args={"value": "${{ steps.a.output }}"})])


def calls(file: Path) -> int:
    """How often the handler was called."""
    return len(file.read_text().splitlines()) if file.exists() else 0


def test_racing_runs_with_one_key_call_the_handler_once(tenant: TestTenant, tmp_path: Path) -> None:
    file = tmp_path / "calls"
    publish(tenant, file, args={"ms": 300})
    runs = tenant.submit_many("w", 20, {"key": {"a": 1, "b": [2]}})
    waiting = tenant.system.until(
        lambda: next(
            (row for run in runs if (row := tenant.steps(run)["a"])["state"] == "waiting"), None
        )
    )
    assert waiting["waiting"]["reason"] == "cache"
    tenant.wait_all(runs)
    rows = [tenant.steps(run)["a"] for run in runs]
    assert [row["output"] for row in rows] == [OUTPUT] * 20
    assert calls(file) == 1
    assert sorted(row["cached"] for row in rows) == [False] + [True] * 19
    assert sum(row["attempt"] for row in rows) == 1
    assert {tenant.http.get(f"/runs/{run}").json()["state"] for run in runs} == {"succeeded"}
    again = tenant.run("w", {"key": {"b": [2.0], "a": 1}})
    assert again["output"] == OUTPUT
    events = [e for e in tenant.events(again["id"]) if e["step"] == "a"]
    assert [e["type"] for e in events] == ["step.ready", "step.succeeded"]
    assert events[-1]["data"] == {"cached": True}
    assert tenant.run("w", {"key": 2})["output"]["calls"] == 2, "another key"
    load = "SELECT in_use, ready_count, control_count FROM tenant_load WHERE tenant_id = %s"
    assert tenant.system.sql(load, tenant.id) == [(0, 0, 0)]


def test_an_output_is_made_again_after_its_ttl(tenant: TestTenant, tmp_path: Path) -> None:
    file = tmp_path / "calls"
    args = {"file": str(file)}
    tenant.publish("w", [call("a", "note", args=args, cache={"key": "k", "ttl": "200ms"})])
    first = tenant.run("w")
    assert first["output"]["calls"] == 1
    tenant.system.until(lambda: tenant.run("w")["output"]["calls"] == 2)


def test_when_the_flight_fails_the_next_one_runs(tenant: TestTenant, tmp_path: Path) -> None:
    file = tmp_path / "calls"
    publish(tenant, file, args={"ms": 100, "fail": True})
    runs = tenant.submit_many("w", 5, {"key": 1})
    tenant.wait_all(runs)
    assert calls(file) == 5, "a failure is not kept"
    assert {tenant.steps(run)["a"]["state"] for run in runs} == {"failed"}
    publish(tenant, file)
    assert tenant.run("w", {"key": 1})["output"]["calls"] == 6


def test_cancelling_the_flight_lets_the_next_one_run(tenant: TestTenant, tmp_path: Path) -> None:
    file = tmp_path / "calls"
    publish(tenant, file, args={"ms": 1500})
    first = tenant.submit("w", {"key": 1})["id"]
    tenant.system.until(lambda: calls(file) == 1)
    second = tenant.submit("w", {"key": 1})["id"]
    tenant.system.until(lambda: tenant.steps(second)["a"]["state"] == "waiting")
    assert tenant.http.post(f"/runs/{first}/cancel").status_code == 200
    assert tenant.wait(second)["output"]["calls"] == 2


def test_kill_9_while_a_flight_is_held(tenant: TestTenant, tmp_path: Path) -> None:
    file = tmp_path / "calls"
    publish(tenant, file, args={"ms": 2500})
    runs = tenant.submit_many("w", 6, {"key": 1})
    worker = tenant.system.until(
        lambda: tenant.system.sql(
            "SELECT w.pid FROM step_run s JOIN worker w ON w.id = s.worker_id"
            " WHERE s.run_id = ANY (%s::uuid[]) AND s.state = 'running'",
            runs,
        )
    )[0][0]
    tenant.system.until(lambda: calls(file) == 1)
    os.kill(worker, signal.SIGKILL)
    tenant.wait_all(runs, 60)
    rows = [tenant.steps(run)["a"] for run in runs]
    assert calls(file) == 2, "the lost one, and once more"
    assert [row["output"]["calls"] for row in rows] == [2] * 6
    assert sum(row["attempt"] for row in rows) == 1
    assert tenant.system.sql(
        "SELECT count(*) FROM cache_flight WHERE tenant_id = %s", tenant.id
    ) == [(0,)]
