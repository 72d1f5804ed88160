"""What dies and comes back: workers, the broker, PostgreSQL, the whole system."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.running_system import System, TestTenant, start_system
from tests.system.shapes import call, chain

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def own() -> Iterator[System]:
    """A system whose parts may be killed."""
    with start_system() as system:
        yield system


def kill(system: System, part: str) -> None:
    """kill -9 a part's main process."""
    os.kill(system.pids(part)[0], signal.SIGKILL)


def assert_each_step_ended_once(tenant: TestTenant, runs: list[str], steps: int) -> None:
    """Nothing was lost and nothing was done twice in state."""
    rows = tenant.system.sql(
        "SELECT state, count(*) FROM step_run WHERE run_id = ANY (%s::uuid[]) GROUP BY 1", runs
    )
    assert rows == [("succeeded", steps)]
    ends = Counter(
        (run, ordinal)
        for run, ordinal in tenant.system.sql(
            "SELECT run_id, ordinal FROM event WHERE tenant_id = %s AND type = 'step.succeeded'",
            tenant.id,
        )
    )
    assert set(ends.values()) == {1}
    assert len(ends) == steps
    assert tenant.system.sql(
        "SELECT in_use, ready_count, control_count FROM tenant_load WHERE tenant_id = %s", tenant.id
    ) == [(0, 0, 0)]


def test_kill_9_of_a_worker_loses_no_step(own: System) -> None:
    tenant = own.tenant(max_connections=30)
    tenant.publish("work", [call(f"s{i}", "sleep", args={"ms": 2000}) for i in range(30)])
    # for 15 s after PostgreSQL's own start a free lock proves nothing: workers may be reconnecting
    own.until(
        lambda: own.sql("SELECT 1 WHERE pg_postmaster_start_time() < now() - interval '16 s'")
    )
    run = tenant.submit("work")["id"]
    own.until(lambda: tenant.http.get(f"/runs/{run}").json()["steps"]["running"] == 30)
    kill(own, "worker")
    killed = time.monotonic()
    own.until(lambda: sum(e["type"] == "step.lost" for e in tenant.events(run)) == 30, 20)
    assert time.monotonic() - killed < 5, "noticed within 5 s on a host that lives"
    assert tenant.wait(run, 90)["state"] == "succeeded"
    assert_each_step_ended_once(tenant, [run], 30)
    assert {step["attempt"] for step in tenant.steps(run).values()} == {1}


def test_a_late_result_is_refused_and_counted(own: System) -> None:
    tenant = own.tenant()
    tenant.publish("late", [call("a", "sleep", args={"ms": 1500})])
    run = tenant.submit("late")["id"]
    own.until(lambda: tenant.steps(run)["a"]["state"] == "running")
    before = own.sql("SELECT coalesce(sum(refused_count), 0) FROM worker")[0][0]
    # as if it had been lost and claimed again elsewhere: the epoch has moved on
    own.sql("UPDATE step_run SET epoch = epoch + 1 WHERE run_id = %s", run)
    own.until(lambda: own.sql("SELECT coalesce(sum(refused_count), 0) FROM worker")[0][0] > before)
    assert tenant.wait(run, 30)["state"] == "succeeded", (
        "what its worker no longer has is given back"
    )


def test_without_a_broker_work_goes_on_and_nothing_is_lost(own: System) -> None:
    tenant = own.tenant()
    tenant.publish("chain", chain(5))
    broker = own.pids("valkey")[0]
    os.kill(broker, signal.SIGSTOP)
    try:
        runs = [tenant.submit("chain")["id"] for _ in range(5)]
        tenant.wait_all(runs, 10)
    finally:
        os.kill(broker, signal.SIGCONT)
    kill(own, "valkey")
    runs += [tenant.submit("chain")["id"] for _ in range(5)]
    tenant.wait_all(runs, 20)
    assert_each_step_ended_once(tenant, runs, 50)


def test_postgresql_killed_under_load_loses_nothing(own: System) -> None:
    tenant = own.tenant(max_connections=20)
    tenant.publish(
        "load",
        [call(f"s{i}", "sleep", *([f"s{i - 1}"] if i else []), args={"ms": 20}) for i in range(20)],
    )
    runs = tenant.submit_many("load", 60)
    own.until(
        lambda: own.sql(
            "SELECT 1 FROM step_run WHERE run_id = ANY (%s::uuid[]) AND state = 'succeeded' LIMIT 1",
            runs,
        )
    )
    own.close_connection()
    kill(own, "postgres")
    own.until(lambda: own.answers("SELECT 1"), 20)
    tenant.wait_all(runs, 60)
    assert_each_step_ended_once(tenant, runs, 1200)


def test_sigterm_drains_a_worker(own: System) -> None:
    tenant = own.tenant()
    tenant.publish(
        "drain",
        [call("short", "sleep", args={"ms": 1500}), call("long", "sleep", args={"ms": 14_000})],
    )
    run = tenant.submit("drain")["id"]
    own.until(lambda: tenant.http.get(f"/runs/{run}").json()["steps"]["running"] == 2)
    os.kill(own.pids("worker")[0], signal.SIGTERM)
    assert tenant.wait(run, 60)["state"] == "succeeded"
    events = [(e["type"], e["step"]) for e in tenant.events(run)]
    assert ("step.lost", "short") not in events
    assert ("step.lost", "long") not in events
    assert events.count(("step.running", "short")) == 1, "it had time to end"
    assert events.count(("step.running", "long")) == 2, "it was given back"
    assert {step["attempt"] for step in tenant.steps(run).values()} == {1}


@pytest.mark.parametrize("drained", ["by staff", "by a signal"])
def test_what_a_process_hands_back_starts_again_when_its_code_has_ended(
    own: System, tmp_path: Path, drained: str
) -> None:
    tenant = own.tenant()
    first = tmp_path / "first"
    tenant.publish("back", [call("a", "block_first", args={"path": str(first), "ms": 60_000})])
    run = tenant.submit("back")["id"]
    pid = int(own.until(lambda: first.exists() and first.read_text()))
    if drained == "by staff":
        own.sql("UPDATE worker SET drain_at = now() WHERE pid = %s AND state <> 'gone'", pid)
    else:
        os.kill(own.pids("worker")[0], signal.SIGTERM)
    ended = tenant.wait(run, 40)
    assert (ended["state"], ended["output"]) == ("succeeded", "the first process is gone")
    answer = tenant.http.get(f"/runs/{run}/steps/a/attempts")
    told = [(one["attempt"], one["state"]) for one in answer.json()["items"]]
    assert told == [(1, "given_back"), (1, "succeeded")]
    assert_each_step_ended_once(tenant, [run], 1)
