"""Attempts: retries, directives, timeouts, bad arguments and outputs, lost processes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.system.running_system import TestTenant
from tests.system.shapes import call

pytestmark = [pytest.mark.system, pytest.mark.any_servers]


def one(
    tenant: TestTenant, step: dict[str, Any], within_s: float = 20
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


def test_retry_twice_then_succeed_is_three_attempts_with_growing_gaps(tenant: TestTenant) -> None:
    retry = {"max_attempts": 3, "delay": "200ms", "jitter": 0}
    run, step = one(tenant, call("a", "fail", args={"until": 3}, retry=retry))
    assert (run["state"], run["output"], step["attempt"]) == ("succeeded", 3, 3)
    started = [e["at"] for e in tenant.events(run["id"]) if e["type"] == "step.running"]
    ended = [e["at"] for e in tenant.events(run["id"]) if e["type"] == "step.retrying"]
    gaps = [seconds_between(end, begin) for end, begin in zip(ended, started[1:], strict=True)]
    assert 0.2 <= gaps[0] < gaps[1]
    assert 0.4 <= gaps[1] < 0.9


def seconds_between(a: str, b: str) -> float:
    """From one timestamp to another."""
    from datetime import datetime

    return (datetime.fromisoformat(b) - datetime.fromisoformat(a)).total_seconds()


def test_retries_are_used_up(tenant: TestTenant) -> None:
    run, step = one(tenant, call("a", "fail", retry={"max_attempts": 2, "delay": 0}))
    assert (run["state"], step["attempt"], step["max_attempts"]) == ("failed", 2, 2)
    assert len(attempts(tenant, run, "a")) == 2


@pytest.mark.parametrize("how", ["fail", "spoil", "snooze", "repeat"])
def test_what_an_attempt_changes_in_its_arguments_the_next_does_not_see(
    tenant: TestTenant, how: str
) -> None:
    more: dict[str, Any] = {"retry": {"max_attempts": 2, "delay": 0}}
    if how == "repeat":
        more = {"repeat": {"until": "${{ output != None }}", "max": 2, "delay": 0}}
    args = {"items": "${{ input.items }}", "how": how}
    tenant.publish("one", [call("a", "use_up", args=args, **more)])
    run = tenant.run("one", {"items": ["big", {"n": [2**64]}]}, within_s=20)
    assert (run["state"], run["output"]) == ("succeeded", ["big", [2**64]])


def test_without_retry_one_attempt(tenant: TestTenant) -> None:
    _, step = one(tenant, call("a", "fail"))
    assert step["attempt"] == 1


@pytest.mark.parametrize(
    ("policy", "kind", "expected"),
    [
        ({"never_on": ["ValueError"]}, "value", 1),
        ({"never_on": ["LookupError"]}, "key", 1),
        ({"never_on": ["KeyError"]}, "lookup", 2),
        ({"only_on": ["LookupError"]}, "key", 2),
        ({"only_on": ["builtins.KeyError"]}, "value", 1),
    ],
)
def test_never_on_and_only_on(
    tenant: TestTenant, policy: dict[str, Any], kind: str, expected: int
) -> None:
    retry = {"max_attempts": 2, "delay": 0, **policy}
    _, step = one(tenant, call("a", "fail", args={"kind": kind}, retry=retry))
    assert step["attempt"] == expected


@pytest.mark.parametrize("returned", [False, True])
def test_directives(tenant: TestTenant, returned: bool) -> None:
    def said(word: str, **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        return one(tenant, call("a", "say", args={"word": word, "returned": returned}, **more))

    run, step = said("abort", retry={"max_attempts": 5, "delay": 0})
    assert (step["state"], step["attempt"], step["error"]["code"]) == ("failed", 1, "aborted")
    run, step = said("retry", retry={"max_attempts": 2, "delay": "1h"})
    assert (run["output"], step["attempt"]) == ({"attempt": 2}, 2)
    run, step = said("skip")
    assert (run["state"], step["state"], step["reason"]) == ("succeeded", "skipped", "not needed")
    run, step = said("snooze")
    assert (run["output"], step["attempt"]) == ({"attempt": 1}, 1)
    run, step = said("continue")
    assert run["output"] == {"went": "on"}


@pytest.mark.parametrize("kind", ["nan", "set", "nul", "object", "huge"])
def test_a_result_that_is_not_json_fails_without_retry(tenant: TestTenant, kind: str) -> None:
    step = call("a", "bad_output", args={"kind": kind}, retry={"max_attempts": 3, "delay": 0})
    _, row = one(tenant, step)
    assert (row["state"], row["attempt"], row["error"]["code"]) == ("failed", 1, "invalid_output")


@pytest.mark.parametrize("queue", ["io", "cpu"])
def test_a_handler_s_mistake_is_its_own_step_s_alone(tenant: TestTenant, queue: str) -> None:
    bystanders = [f"ok{i}" for i in range(4)]
    retry = {"max_attempts": 2, "delay": 0}
    tenant.publish(
        "mistakes",
        [
            call("skip", "mistaken", args={"how": "skip", "order": {}}, queue=queue),
            call("mute", "mistaken", args={"how": "mute", "order": {}}, queue=queue),
            call(
                "changed", "mistaken", args={"how": "mute", "order": {}}, queue=queue, retry=retry
            ),
            *(call(name, "sleep", args={"ms": 1500}) for name in bystanders),
        ],
    )
    run = tenant.run("mistakes")
    rows = tenant.steps(run["id"])
    assert (rows["skip"]["state"], rows["skip"]["reason"]) == ("skipped", "404")
    assert (rows["mute"]["state"], rows["mute"]["error"]["type"]) == ("failed", "Mute")
    assert rows["changed"]["state"] == "failed"
    started = [e["step"] for e in tenant.events(run["id"]) if e["type"] == "step.running"]
    assert all(started.count(name) == 1 for name in bystanders)


@pytest.mark.parametrize(("args", "named"), [({}, "first"), ({"first": 1, "third": 3}, "third")])
def test_wrong_arguments_fail_without_retry_and_are_named(
    tenant: TestTenant, args: dict[str, Any], named: str
) -> None:
    _, row = one(tenant, call("a", "two_args", args=args, retry={"max_attempts": 3, "delay": 0}))
    assert (row["attempt"], row["error"]["code"]) == (1, "invalid_arguments")
    assert named in row["error"]["message"]


def test_timeout_of_an_async_handler(tenant: TestTenant) -> None:
    retry = {"max_attempts": 2, "delay": 0}
    run, row = one(tenant, call("a", "sleep", args={"ms": 20_000}, timeout="200ms", retry=retry))
    assert (row["state"], row["attempt"], row["error"]["code"]) == ("failed", 2, "timeout")
    lasted = [
        seconds_between(a["started_at"], a["finished_at"]) for a in attempts(tenant, run, "a")
    ]
    assert all(0.2 <= s < 1 for s in lasted)


def test_timeout_of_a_blocking_handler_fails_at_once_and_holds_its_connection(
    tenant: TestTenant,
) -> None:
    tenant.publish("one", [call("a", "block", args={"ms": 4000}, timeout="300ms")])
    run = tenant.run("one", within_s=10)
    row = tenant.steps(run["id"])["a"]
    assert row["error"]["code"] == "timeout"
    assert seconds_between(row["started_at"], row["finished_at"]) < 3
    in_use = "SELECT in_use FROM tenant_load WHERE tenant_id = %s"
    assert tenant.system.sql(in_use, tenant.id) == [(1,)], "the code still runs"
    tenant.system.until(lambda: tenant.system.sql(in_use, tenant.id) == [(0,)], 10)


def test_retry_of_stuck_blocking_code_waits_for_its_end(tenant: TestTenant) -> None:
    retry = {"max_attempts": 2, "delay": 0}
    run, _ = one(tenant, call("a", "block", args={"ms": 1200}, timeout="300ms", retry=retry))
    starts = [a["started_at"] for a in attempts(tenant, run, "a")]
    assert seconds_between(*starts) >= 1.1


def test_code_that_does_not_end_is_killed_with_its_process_after_the_grace(
    tenant: TestTenant,
) -> None:
    tenant.publish("stuck", [call("a", "block", args={"ms": 60_000}, timeout="300ms")])
    before = set(tenant.system.children())
    run = tenant.run("stuck", within_s=10)
    row = tenant.steps(run["id"])["a"]
    assert row["error"]["code"] == "timeout"
    in_use = "SELECT in_use FROM tenant_load WHERE tenant_id = %s"
    held_since = time.monotonic()
    tenant.system.until(lambda: tenant.system.sql(in_use, tenant.id) == [(0,)], 40)
    assert time.monotonic() - held_since > 8, "it had its grace"
    tenant.system.until(lambda: set(tenant.system.children()) - before, 10)
    assert set(tenant.system.children()) & before, "the other process went on"


def test_timeout_of_a_cpu_handler_that_ignores_it(tenant: TestTenant) -> None:
    _, row = one(tenant, call("a", "spin", args={"ms": 60_000}, timeout="1s"))
    assert (row["state"], row["error"]["code"]) == ("failed", "timeout")
    assert seconds_between(row["started_at"], row["finished_at"]) < 5


def test_cpu_handlers_run_in_a_process_of_their_own(tenant: TestTenant) -> None:
    run, _ = one(tenant, call("a", "spin", args={"ms": 10}))
    assert run["output"] not in tenant.system.children()


def test_a_handler_that_fails_in_a_helper_process_tells_its_error(tenant: TestTenant) -> None:
    _, row = one(tenant, call("a", "fail", queue="cpu"))
    assert (row["error"]["code"], row["error"]["type"], row["error"]["message"]) == (
        "error",
        "ValueError",
        "broken",
    )
    for word, state in (("abort", "failed"), ("skip", "skipped"), ("continue", "succeeded")):
        _, row = one(tenant, call("a", "say", args={"word": word}, queue="cpu"))
        assert row["state"] == state
    _, row = one(
        tenant, call("a", "say", args={"word": "retry"}, queue="cpu", retry={"max_attempts": 2})
    )
    assert row["attempt"] == 2
    _, row = one(tenant, call("a", "bad_output", args={"kind": "nan"}, queue="cpu"))
    assert row["error"]["code"] == "invalid_output"


def test_steps_in_helper_processes_keep_their_results_apart(tenant: TestTenant) -> None:
    """The step's queue decides where it runs, whatever the handler's own is."""
    tenant.publish("here", [call(f"s{i}", "who", queue="io") for i in range(5)])
    tenant.publish("there", [call(f"s{i}", "who", args={"ms": 20}) for i in range(5)])
    pids: dict[str, set[int]] = {}
    for workflow in ("here", "there"):
        run = tenant.run(workflow, within_s=60)
        assert {name: found["step"] for name, found in run["output"].items()} == {
            f"s{i}": f"s{i}" for i in range(5)
        }
        pids[workflow] = {found["pid"] for found in run["output"].values()}
    children = set(tenant.system.children())
    assert pids["here"] <= children
    assert not pids["there"] & children


def test_a_timeout_does_not_count_the_start_of_a_helper_process(tenant: TestTenant) -> None:
    """It would never succeed: each timeout ends the process, and the next attempt starts another."""
    tenant.publish("spin", [call("a", "spin", args={"ms": 60_000}, timeout="300ms")])
    for _ in range(2):  # no helper process is left
        assert tenant.run("spin")["error"]["cause"]["code"] == "timeout"
    run, row = one(tenant, call("a", "who", args={"ms": 1}, timeout="300ms"))
    assert (run["state"], row["attempt"]) == ("succeeded", 1)


def test_what_was_lost_runs_again_before_what_waits(tenant: TestTenant, tmp_path: Path) -> None:
    """However much that is, and however busy every process is with it."""
    tenant.publish("busy", [call(f"s{i:03}", "sleep", args={"ms": 250}) for i in range(400)])
    tenant.publish("lost", [call("a", "die", args={"until_attempt_file": str(tmp_path / "seen")})])
    busy = tenant.submit("busy")["id"]
    run = tenant.run("lost", within_s=60, priority=9)
    assert run["output"] == "alive"
    assert tenant.http.get(f"/runs/{busy}").json()["steps"]["ready"] > 0
    tenant.http.post(f"/runs/{busy}/cancel")
    tenant.wait(busy, 20)


def test_a_coroutine_that_was_lost_before_is_cancelled_too(
    tenant: TestTenant, tmp_path: Path
) -> None:
    died, ended = tmp_path / "died", tmp_path / "ended"
    tenant.publish("w", [call("a", "die_then_wait", args={"died": str(died), "ended": str(ended)})])
    run = str(tenant.submit("w")["id"])
    tenant.system.until(
        lambda: tenant.http.get(f"/runs/{run}/steps").json()["items"][0].get("progress"), 30
    )
    tenant.http.post(f"/runs/{run}/cancel")
    assert tenant.wait(run, 9)["state"] == "cancelled"
    assert ended.exists()


def test_a_lost_process_is_a_loss_and_no_attempt(tenant: TestTenant, tmp_path: Path) -> None:
    seen = str(tmp_path / "seen")
    run, row = one(tenant, call("a", "die", args={"until_attempt_file": seen}), within_s=30)
    assert (run["output"], row["attempt"]) == ("alive", 1)
    assert [e["type"] for e in tenant.events(run["id"])].count("step.lost") == 1


def test_a_poison_step_is_given_up_after_three_losses_and_takes_no_bystander_twice(
    tenant: TestTenant,
) -> None:
    tenant.publish(
        "poison",
        [call("bad", "die"), *(call(f"ok{i}", "sleep", args={"ms": 3000}) for i in range(4))],
    )
    run = tenant.run("poison", within_s=60)
    rows = tenant.steps(run["id"])
    assert (rows["bad"]["state"], rows["bad"]["error"]["code"]) == ("failed", "lost")
    assert all(rows[f"ok{i}"]["state"] == "succeeded" for i in range(4))
    lost = [e["step"] for e in tenant.events(run["id"]) if e["type"] == "step.lost"]
    assert lost.count("bad") == 3
    assert all(lost.count(f"ok{i}") <= 1 for i in range(4))


def test_a_poison_step_in_a_helper_process_harms_nobody(tenant: TestTenant) -> None:
    tenant.publish(
        "poison", [call("bad", "die", queue="cpu", on_error={"value": 1}), call("ok", "noop")]
    )
    run = tenant.run("poison", within_s=60)
    rows = tenant.steps(run["id"])
    assert (rows["bad"]["state"], rows["bad"]["error"]["code"], run["state"]) == (
        "succeeded",
        "lost",
        "succeeded",
    )
