"""kill -9 at every named point of a worker's loop: nothing is lost, nothing done twice in state."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.embedded.running import ROOT
from tests.system.killed_worker import POINTS, QUEUE
from tests.system.running_system import System, TestTenant
from tests.system.shapes import call
from tests.system.test_faults import assert_each_step_ended_once

pytestmark = pytest.mark.system


@contextmanager
def killed_worker(system: System, point: str, mark: Path) -> Iterator[None]:
    """A worker that dies once, at this point."""
    argv = [sys.executable, "-m", "tests.system.killed_worker", point, str(mark)]
    with subprocess.Popen(argv, cwd=ROOT, env=system.env) as worker:
        try:
            yield
        finally:
            worker.send_signal(signal.SIGTERM)
            worker.wait(120)


@pytest.mark.parametrize("point", POINTS)
def test_kill_9_at_a_point_of_the_loop(tenant: TestTenant, tmp_path: Path, point: str) -> None:
    system, mark = tenant.system, tmp_path / "killed"
    steps = [call("first", "noop", queue=QUEUE)]
    for i in range(12):
        what: dict[str, Any] = {"args": {"ms": 1}} if i % 2 else {}
        parent = f"s{i - 2}" if i > 1 else "first"
        steps.append(call(f"s{i}", "block" if i % 2 else "noop", parent, queue=QUEUE, **what))
    steps.append(call("last", "noop", "s10", "s11", queue=QUEUE))
    tenant.publish("killed", steps)
    system.until(
        lambda: system.sql("SELECT 1 WHERE pg_postmaster_start_time() < now() - interval '16 s'")
    )
    with killed_worker(system, point, mark):
        runs = tenant.submit_many("killed", 5)
        tenant.wait_all(runs, 60)
    assert mark.exists(), "it has not come to that point"
    assert_each_step_ended_once(tenant, runs, 5 * len(steps))


@pytest.mark.parametrize("point", POINTS)
def test_kill_9_in_a_streamed_map(tenant: TestTenant, tmp_path: Path, point: str) -> None:
    """At each point in turn the process reads the source or runs batches: nothing is lost or doubled."""
    system, mark, count = tenant.system, tmp_path / "killed", 150
    over = {"handler": "test.killed_numbers", "args": {"count": count}}
    of = {"over": over, "batch_size": 4, "max_in_flight": 3}
    tenant.publish("killed", [call("m", "double", queue=QUEUE, map=of)])
    system.until(
        lambda: system.sql("SELECT 1 WHERE pg_postmaster_start_time() < now() - interval '16 s'")
    )
    with killed_worker(system, point, mark):
        run = tenant.run("killed", within_s=60)
    assert mark.exists(), "it has not come to that point"
    assert (run["state"], run["output"]) == ("succeeded", [2 * number for number in range(count)])
    ended = """SELECT batch, count(*) FROM event WHERE run_id = %s AND type = 'step.succeeded' AND batch >= 0
                GROUP BY 1 HAVING count(*) <> 1"""
    assert system.sql(ended, run["id"]) == []
    left = "SELECT count(*) FROM map_pack WHERE run_id = %s"
    assert system.sql(left, run["id"]) == [(0,)]


@pytest.mark.parametrize("point", POINTS)
def test_kill_9_in_undo(tenant: TestTenant, tmp_path: Path, point: str) -> None:
    """The process that dies runs undos alone: each succeeds once, and in their order."""
    system, mark, undo = tenant.system, tmp_path / "killed", {"handler": "test.killed_undo"}
    chain = [call(f"s{i}", "noop", *([f"s{i - 1}"] if i else []), undo=undo) for i in range(6)]
    fails = {"name": "last", "handler": "core.fail", "args": {"message": "no"}}
    tenant.publish("killed", [*chain, {**fails, "depends_on": ["s5"]}])
    system.until(
        lambda: system.sql("SELECT 1 WHERE pg_postmaster_start_time() < now() - interval '16 s'")
    )
    with killed_worker(system, point, mark):
        run = tenant.run("killed", within_s=60)
    assert mark.exists(), "it has not come to that point"
    assert (run["state"], run["error"]["step"]) == ("failed", "last")
    assert run["undo"]["state"] == "succeeded"
    undone = """SELECT ordinal FROM event WHERE run_id = %s AND type = 'step.succeeded' AND batch = -2
                 ORDER BY seq"""
    assert system.sql(undone, run["id"]) == [(5,), (4,), (3,), (2,), (1,), (0,)]
