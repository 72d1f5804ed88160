"""Pause and resume, retry, repair of steps and dead letters, with real workers."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.system.running_system import TestTenant
from tests.system.shapes import call, chain

pytestmark = [pytest.mark.system, pytest.mark.any_servers]


def post(tenant: TestTenant, path: str, body: object = None, status: int = 200) -> dict[str, Any]:
    """POST; it must answer so."""
    answer = tenant.http.post(path, json={} if body is None else body)
    assert answer.status_code == status, answer.text
    return dict(answer.json())


def states(tenant: TestTenant, run_id: str) -> dict[str, str]:
    return {name: step["state"] for name, step in tenant.steps(run_id).items()}


def until_state(tenant: TestTenant, run_id: str, step: str, state: str) -> None:
    tenant.system.until(lambda: states(tenant, run_id)[step] == state)


def nothing_was_miscounted(tenant: TestTenant) -> None:
    assert tenant.system.sql("SELECT engine_reconcile(%s)", tenant.id) == [(0,)]


def broken_until(flag: Path, name: str, *parents: str, **more: Any) -> dict[str, Any]:
    """A step that fails until the file is there."""
    return call(name, "needs_file", *parents, args={"path": str(flag)}, **more)


def test_a_paused_run_ends_what_runs_and_starts_nothing(tenant: TestTenant) -> None:
    tenant.publish("p", [call("a", "sleep", args={"ms": 1500}), call("b", "noop", "a")])
    run_id = tenant.submit("p")["id"]
    until_state(tenant, run_id, "a", "running")
    paused = post(tenant, f"/runs/{run_id}/pause")
    assert (paused["state"], paused["paused_at"] is not None) == ("paused", True)
    post(tenant, f"/runs/{run_id}/pause", status=409)
    until_state(tenant, run_id, "a", "succeeded")
    tenant.system.until(
        lambda: tenant.system.sql(
            "SELECT 1 FROM step_run WHERE run_id = %s AND ordinal = 1 AND parked = 'paused'", run_id
        )
    )
    assert tenant.steps(run_id)["b"]["waiting"]["reason"] == "paused"
    nothing_was_miscounted(tenant)
    assert post(tenant, f"/runs/{run_id}/resume")["state"] == "running"
    assert tenant.wait(run_id)["state"] == "succeeded"
    types = [event["type"] for event in tenant.events(run_id)]
    assert types.index("run.paused") < types.index("step.succeeded")


def test_a_pause_outlives_the_death_of_every_worker(tenant: TestTenant) -> None:
    tenant.publish("p", [call("a", "sleep", args={"ms": 1500}), call("b", "noop", "a")])
    run_id = tenant.submit("p")["id"]
    until_state(tenant, run_id, "a", "running")
    post(tenant, f"/runs/{run_id}/pause")
    tenant.system.kill_children()
    tenant.system.until(
        lambda: any(event["type"] == "step.lost" for event in tenant.events(run_id)), 30
    )
    tenant.system.until(
        lambda: tenant.system.sql(
            "SELECT 1 FROM step_run WHERE run_id = %s AND ordinal = 0 AND parked = 'paused'", run_id
        ),
        30,
    )
    assert tenant.http.get(f"/runs/{run_id}").json()["state"] == "paused"
    post(tenant, f"/runs/{run_id}/resume")
    assert tenant.wait(run_id, 60)["state"] == "succeeded"
    nothing_was_miscounted(tenant)


def test_paused_time_does_not_count_against_the_timeout(tenant: TestTenant) -> None:
    tenant.publish(
        "t",
        [call("a", "sleep", args={"ms": 1500}), call("b", "sleep", "a", args={"ms": 50})],
        timeout="4s",
    )
    run_id = tenant.submit("t")["id"]
    until_state(tenant, run_id, "a", "running")
    post(tenant, f"/runs/{run_id}/pause")
    started = tenant.http.get(f"/runs/{run_id}").json()["started_at"]
    # until the timeout would have come, by the database's clock
    tenant.system.until(
        lambda: tenant.system.sql(
            "SELECT 1 WHERE clock_timestamp() > %s::timestamptz + interval '4.5 s'", started
        )
    )
    assert tenant.http.get(f"/runs/{run_id}").json()["state"] == "paused"
    post(tenant, f"/runs/{run_id}/resume")
    assert tenant.wait(run_id)["state"] == "succeeded"


def test_a_paused_workflow_takes_runs_and_lets_them_wait(tenant: TestTenant) -> None:
    tenant.publish("w", chain(2))
    tenant.publish("other", chain(2))
    post(tenant, "/workflows/w/pause")
    post(tenant, "/workflows/w/pause", status=409)
    waiting = [tenant.submit("w")["id"] for _ in range(5)]
    assert tenant.run("other")["state"] == "succeeded"
    for run_id in waiting:
        assert tenant.http.get(f"/runs/{run_id}").json()["state"] == "queued"
        assert tenant.steps(run_id)["s0"]["waiting"]["reason"] == "paused"
    post(tenant, f"/runs/{waiting[0]}/cancel")
    assert tenant.wait(waiting[0])["state"] == "cancelled"
    post(tenant, "/workflows/w/resume")
    for run_id in waiting[1:]:
        assert tenant.wait(run_id)["state"] == "succeeded"
    nothing_was_miscounted(tenant)


def test_a_retry_re_runs_what_failed_and_what_follows_alone(
    tenant: TestTenant, tmp_path: Path
) -> None:
    flag = tmp_path / "mended"
    tenant.publish(
        "r",
        [
            call("a", "facts"),
            broken_until(flag, "b", "a", retry={"max_attempts": 2, "delay": 0}),
            call("c", "facts", "b"),
            call("side", "facts", "a"),
        ],
        output={"a": "${{ steps.a.output.attempt }}", "b": "${{ steps.b.output }}"},
    )
    run = tenant.run("r")
    assert (run["state"], run["error"]["step"]) == ("failed", "b")
    before = tenant.steps(run["id"])
    flag.touch()
    again = post(tenant, f"/runs/{run['id']}/retry")
    assert (again["error"], again["output"], again["finished_at"]) == (None, None, None)
    run = tenant.wait(run["id"])
    after = tenant.steps(run["id"])
    assert run["state"] == "succeeded"
    assert {name: step["state"] for name, step in after.items()} == {
        "a": "succeeded", "b": "succeeded", "c": "succeeded", "side": "succeeded",
    }  # fmt: skip
    for kept in ("a", "side"):
        assert after[kept] == before[kept], "kept as it was"
    assert after["b"]["attempt"] == 1, "attempts begin anew"
    tries = tenant.http.get(f"/runs/{run['id']}/steps/b/attempts").json()["items"]
    assert [(t["attempt"], t["state"]) for t in tries] == [
        (1, "failed"), (2, "failed"), (1, "succeeded"),
    ]  # fmt: skip
    ran = [e["step"] for e in tenant.events(run["id"]) if e["type"] == "step.running"]
    assert sorted(ran) == ["a", "b", "b", "b", "c", "side"]
    nothing_was_miscounted(tenant)


def test_a_succeeded_run_is_retried_from_a_step(tenant: TestTenant) -> None:
    tenant.publish("s", chain(4))
    run = tenant.run("s")
    post(tenant, f"/runs/{run['id']}/retry", status=409)
    post(tenant, f"/runs/{run['id']}/retry", {"from_step": "s2"})
    assert tenant.wait(run["id"])["state"] == "succeeded"
    ran = [e["step"] for e in tenant.events(run["id"]) if e["type"] == "step.running"]
    assert [ran.count(f"s{n}") for n in range(4)] == [1, 1, 2, 2]


def test_of_many_retries_at_once_one_is_done(tenant: TestTenant) -> None:
    tenant.publish("f", [call("a", "fail")])
    run = tenant.run("f")
    answers: list[int] = []

    def again() -> None:
        client = tenant.system.client(tenant.key)
        answers.append(client.post(f"/runs/{run['id']}/retry", json={}).status_code)

    threads = [threading.Thread(target=again) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # one after the other has ended, a further one may find the run failed anew
    retried = [e for e in tenant.events(run["id"]) if e["type"] == "run.running" and e["data"]]
    assert answers.count(200) == len(retried) >= 1
    assert set(answers) <= {200, 409}
    assert tenant.wait(run["id"])["state"] == "failed"


def test_a_retry_survives_the_death_of_the_worker(tenant: TestTenant, tmp_path: Path) -> None:
    flag = tmp_path / "mended"
    tenant.publish("r", [broken_until(flag, "a"), call("b", "sleep", "a", args={"ms": 1500})])
    run = tenant.run("r")
    assert run["state"] == "failed"
    flag.touch()
    post(tenant, f"/runs/{run['id']}/retry")
    until_state(tenant, run["id"], "b", "running")
    tenant.system.kill_children()
    assert tenant.wait(run["id"], 60)["state"] == "succeeded"
    nothing_was_miscounted(tenant)


def test_a_failed_step_is_completed_by_hand_and_the_run_goes_on(tenant: TestTenant) -> None:
    tenant.publish(
        "m",
        [
            call("a", "fail"),
            call("b", "echo", args={"value": "${{ steps.a.output.n }}"}),
        ],
    )
    run = tenant.run("m")
    assert states(tenant, run["id"]) == {"a": "failed", "b": "skipped"}
    post(tenant, f"/runs/{run['id']}/steps/a/complete", {"output": {"n": 2**70}})
    run = tenant.wait(run["id"])
    assert (run["state"], run["output"]) == ("succeeded", 2**70)
    post(tenant, f"/runs/{run['id']}/steps/a/complete", {"output": 1}, 409)


def test_a_blocked_step_is_skipped_and_one_in_backoff_is_tried_at_once(tenant: TestTenant) -> None:
    retry = {"max_attempts": 2, "delay": "1h"}
    tenant.publish(
        "k",
        [
            call("a", "fail", args={"until": 2}, retry=retry),
            call("b", "fail", "a"),
            call("c", "noop", "b", trigger_rule="none_failed"),
        ],
    )
    run_id = tenant.submit("k")["id"]
    until_state(tenant, run_id, "a", "waiting")
    post(tenant, f"/runs/{run_id}/steps/b/skip")
    post(tenant, f"/runs/{run_id}/steps/b/complete", {"output": 1}, 409)
    post(tenant, f"/runs/{run_id}/steps/a/retry")
    run = tenant.wait(run_id)
    assert run["state"] == "succeeded"
    assert states(tenant, run_id) == {"a": "succeeded", "b": "skipped", "c": "succeeded"}


def test_dead_letters_are_grouped_and_retried_together(tenant: TestTenant, tmp_path: Path) -> None:
    flag = tmp_path / "mended"
    tenant.publish("d", [broken_until(flag, "a"), call("b", "noop", "a")])
    tenant.publish("e", [call("x", "fail", args={"message": "something else"})])
    runs = tenant.submit_many("d", 12)
    other = tenant.run("e")["id"]
    tenant.wait_all(runs)
    letters = tenant.http.get("/dead-letters").json()["items"]
    assert {letter["run_id"] for letter in letters} == {*runs, other}
    groups = tenant.http.get("/dead-letters?group=true").json()["items"]
    (group,) = [group for group in groups if group["count"] == 12]
    assert (group["workflows"], group["steps"]) == (["d"], ["a"])
    flag.touch()
    asked = {"fingerprint": group["fingerprint"], "rate": "20/1s"}
    action = post(tenant, "/dead-letters/retry", asked, 202)
    assert action["total"] == 12
    # the clock may die in the middle: nothing is forgotten, nothing retried twice
    (clock,) = tenant.system.pids("clock")
    os.kill(clock, signal.SIGKILL)
    path = f"/actions/{action['id']}"
    tenant.system.until(lambda: tenant.http.get(path).json()["state"] == "finished", 60)
    action = tenant.http.get(path).json()
    assert (action["done"], action["passed_over"]) == (12, 0)
    tenant.wait_all(runs)
    for run_id in runs:
        assert tenant.http.get(f"/runs/{run_id}").json()["state"] == "succeeded"
        ran = [e["step"] for e in tenant.events(run_id) if e["type"] == "step.running"]
        assert ran == ["a", "a", "b"]
    left = tenant.http.get("/dead-letters").json()["items"]
    assert [letter["run_id"] for letter in left] == [other]
    nothing_was_miscounted(tenant)
