"""Compensations and undos, with a real worker."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.running_system import System, TestTenant, start_system
from tests.system.shapes import call

pytestmark = [pytest.mark.system, pytest.mark.any_servers]


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """Where handlers write down what they did."""
    return tmp_path / "notes"


def noted(notes: Path, kind: str = "ended") -> list[dict[str, Any]]:
    """What was written down of this kind, in order."""
    if not notes.exists():
        return []
    lines = [json.loads(line) for line in notes.read_text().splitlines()]
    return [line for line in lines if line.get("is") == kind]


def undone(notes: Path) -> list[str]:
    """The steps that were undone, in order."""
    return [line["step"] for line in noted(notes)]


def undoable(name: str, notes: Path, *parents: str, **more: Any) -> dict[str, Any]:
    """A step that succeeds with its name and can be undone."""
    how = {"args": {"file": str(notes), "given": "${{ output }}", **more.pop("undo", {})}}
    return call(
        name, "echo", *parents, args={"value": name}, undo={"handler": "test.undo", **how}, **more
    )


def failing(name: str, notes: Path, *parents: str, **more: Any) -> dict[str, Any]:
    """A step that fails, with an undo that must not be called."""
    args = {"file": str(notes)}
    return call(name, "fail", *parents, undo={"handler": "test.undo", "args": args}, **more)


def test_a_failure_undoes_what_succeeded_backwards(tenant: TestTenant, notes: Path) -> None:
    tenant.publish(
        "abc", [undoable("a", notes), undoable("b", notes, "a"), failing("c", notes, "b")]
    )
    run = tenant.run("abc")
    assert (run["state"], run["error"]["step"]) == ("failed", "c")
    assert undone(notes) == ["b", "a"], "exactly [undo b, undo a]"
    assert [line["given"] for line in noted(notes)] == ["b", "a"], "each gets its step's output"
    assert run["undo"] == {"state": "succeeded", "error": None, "finished_at": run["finished_at"]}
    steps = tenant.steps(run["id"])
    assert steps["b"]["undo"]["state"] == "succeeded"
    assert steps["a"]["undo"]["finished_at"] > steps["b"]["undo"]["finished_at"]
    assert (steps["c"]["undo"], steps["a"]["state"]) == (None, "succeeded")
    keys = [line["key"] for line in noted(notes)]
    assert keys == [f"{run['id']}:b:undo", f"{run['id']}:a:undo"]


def test_the_events_tell_undos_from_steps(tenant: TestTenant, notes: Path) -> None:
    tenant.publish("ab", [undoable("a", notes), failing("b", notes, "a")])
    run = tenant.run("ab")
    events = tenant.events(run["id"])
    undos = [e["type"] for e in events if (e["data"] or {}).get("undo")]
    assert undos == ["step.ready", "step.running", "step.succeeded"]
    assert events[-1]["type"] == "run.failed", "the run fails when the last undo has ended"
    nodes = {n["name"]: n for n in tenant.http.get(f"/runs/{run['id']}/graph").json()["nodes"]}
    assert (nodes["a"]["undo"]["state"], nodes["b"]["undo"]) == ("succeeded", None)
    attempts = tenant.http.get(f"/runs/{run['id']}/steps/a/attempts").json()["items"]
    assert len(attempts) == 1, "the undo's are not the step's"


def test_a_parallel_sibling_is_awaited_and_undone_too(tenant: TestTenant, notes: Path) -> None:
    slow = {"file": str(notes)}
    tenant.publish(
        "siblings",
        [
            undoable("a", notes),
            failing("bad", notes, "a"),
            call(
                "slow", "sleep", "a", args={"ms": 600}, undo={"handler": "test.undo", "args": slow}
            ),
            undoable("after", notes, "slow"),
        ],
    )
    run = tenant.run("siblings")
    assert undone(notes) == ["after", "slow", "a"]
    steps = tenant.steps(run["id"])
    assert steps["slow"]["state"] == "succeeded"
    first = min(e["at"] for e in tenant.events(run["id"]) if (e["data"] or {}).get("undo"))
    assert first >= steps["after"]["finished_at"]


def test_fail_fast_cancels_the_sibling_and_undoes_it_as_uncertain(
    tenant: TestTenant, notes: Path
) -> None:
    undo = {"handler": "test.undo", "args": {"file": str(notes)}}
    tenant.publish(
        "fast",
        [
            undoable("a", notes),
            call("bad", "fail", "a"),
            call("slow", "sleep", "a", args={"ms": 30_000}, undo=undo),
            call("never", "noop", "slow", undo=undo),
        ],
        fail_fast=True,
    )
    run = tenant.run("fast", within_s=15)
    assert run["state"] == "failed"
    assert [(n["step"], n["uncertain"], n["given"]) for n in noted(notes)] == [
        ("slow", True, None),
        ("a", False, "a"),
    ]


def test_an_undo_gets_a_large_output_whole(tenant: TestTenant, notes: Path) -> None:
    undo = {"handler": "test.undo", "args": {"file": str(notes), "given": "${{ len(output) }}"}}
    echo = call("a", "echo", args={"value": "${{ 'x' * 20_000 }}"}, undo=undo)
    tenant.publish("large", [echo, call("b", "fail", "a")])
    assert tenant.run("large")["undo"]["state"] == "succeeded"
    assert [line["given"] for line in noted(notes)] == [20_000]


def test_independent_undos_run_side_by_side(tenant: TestTenant, notes: Path) -> None:
    wait = {"undo": {"ms": 700}}
    tenant.publish(
        "wide",
        [
            undoable("a", notes),
            *(undoable(f"b{n}", notes, "a", undo=dict(wait["undo"])) for n in range(4)),
            failing("c", notes, *(f"b{n}" for n in range(4))),
        ],
    )
    tenant.run("wide")
    lines = [json.loads(line) for line in notes.read_text().splitlines()]
    assert [line["is"] for line in lines] == ["begun"] * 4 + ["ended"] * 4 + ["begun", "ended"]
    assert lines[-1]["step"] == "a"


def test_a_run_stays_running_until_it_is_undone_and_cannot_be_cancelled(
    tenant: TestTenant, notes: Path
) -> None:
    tenant.publish("slow", [undoable("a", notes, undo={"ms": 1500}), call("b", "fail", "a")])
    run_id = tenant.submit("slow")["id"]
    tenant.system.until(lambda: noted(notes, "begun"))
    run = tenant.http.get(f"/runs/{run_id}").json()
    assert (run["state"], run["undo"]["state"], run["finished_at"]) == ("running", "running", None)
    assert run["steps"]["running"] == run["steps"]["blocked"] == 0
    answer = tenant.http.post(f"/runs/{run_id}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "state_conflict")
    assert tenant.wait(run_id)["state"] == "failed"
    assert undone(notes) == ["a"]


def test_an_undo_is_retried_and_one_that_fails_for_good_is_reported(
    tenant: TestTenant, notes: Path
) -> None:
    def undo(fail: int, **policy: Any) -> dict[str, Any]:
        args = {"file": str(notes), "fail": fail}
        return {"handler": "test.undo", "args": args, "retry": {"delay": 0, **policy}}

    tenant.publish(
        "stubborn",
        [
            call("a", "noop", undo=undo(0)),
            call("b", "noop", "a", undo=undo(4)),
            call("c", "noop", "b", undo=undo(9, max_attempts=2)),
            call("d", "fail", "c"),
        ],
    )
    run = tenant.run("stubborn", within_s=40)
    begun = [line["step"] for line in noted(notes, "begun")]
    assert begun == ["c"] * 2 + ["b"] * 5 + ["a"], "five attempts unless told otherwise"
    assert undone(notes) == ["b", "a"], "the others go on"
    assert (run["state"], run["error"]["step"], run["undo"]["state"]) == ("failed", "d", "failed")
    error = run["undo"]["error"]
    assert (error["step"], error["cause"]["type"]) == ("c", "ConnectionError")
    steps = tenant.steps(run["id"])
    assert {n: (s["undo"] or {}).get("state") for n, s in steps.items()} == {
        "a": "succeeded", "b": "succeeded", "c": "failed", "d": None,
    }  # fmt: skip
    assert steps["c"]["undo"]["error"]["message"] == "not undone"


def test_undo_on_request_once(tenant: TestTenant, notes: Path) -> None:
    tenant.publish("fine", [undoable("a", notes), undoable("b", notes, "a")])
    run = tenant.run("fine")
    assert undone(notes) == []
    answer = tenant.http.post(f"/runs/{run['id']}/undo")
    assert (answer.status_code, answer.json()["undo"]["state"]) == (200, "running")
    assert tenant.http.post(f"/runs/{run['id']}/undo").status_code == 409
    ended = tenant.system.until(lambda: _undone(tenant, run["id"]))
    assert undone(notes) == ["b", "a"]
    assert (ended["state"], ended["finished_at"]) == ("succeeded", run["finished_at"])
    again = tenant.http.post(f"/runs/{run['id']}/undo")
    assert (again.status_code, again.json()["code"]) == (409, "state_conflict")


def _undone(tenant: TestTenant, run_id: str) -> dict[str, Any] | None:
    run = dict(tenant.http.get(f"/runs/{run_id}").json())
    return run if run["undo"]["state"] != "running" else None


def test_cancel_undoes_nothing_but_may_be_undone(tenant: TestTenant, notes: Path) -> None:
    undo = {"handler": "test.undo", "args": {"file": str(notes)}}
    tenant.publish(
        "cancelled",
        [undoable("a", notes), call("b", "sleep", "a", args={"ms": 30_000}, undo=undo)],
    )
    run_id = tenant.submit("cancelled")["id"]
    tenant.system.until(lambda: tenant.steps(run_id)["b"]["state"] == "running")
    tenant.http.post(f"/runs/{run_id}/cancel")
    run = tenant.wait(run_id)
    assert (run["state"], run["undo"], undone(notes)) == ("cancelled", None, [])
    tenant.http.post(f"/runs/{run_id}/undo")
    assert tenant.system.until(lambda: _undone(tenant, run_id))["state"] == "cancelled"
    assert [(n["step"], n["uncertain"]) for n in noted(notes)] == [("b", True), ("a", False)]


@pytest.mark.parametrize("kind", ["timeout", "deadline"])
def test_run_timeout_and_deadline_undo(tenant: TestTenant, notes: Path, kind: str) -> None:
    undo = {"handler": "test.undo", "args": {"file": str(notes), "ms": 1200}}
    steps = [undoable("a", notes), call("b", "sleep", "a", args={"ms": 30_000}, undo=undo)]
    tenant.publish("late", steps, **({"timeout": "700ms"} if kind == "timeout" else {}))
    run = tenant.run("late", within_s=15, **({"deadline": "700ms"} if kind == "deadline" else {}))
    assert (run["state"], run["undo"]["state"]) == ("failed", "succeeded")
    assert run["error"]["code"] == {"timeout": "run_timeout", "deadline": "deadline"}[kind]
    assert [(n["step"], n["uncertain"]) for n in noted(notes)] == [("b", True), ("a", False)]


def test_a_step_that_outlives_its_timeout_is_undone_when_its_code_has_ended(
    tenant: TestTenant, notes: Path
) -> None:
    undo = {"handler": "test.undo", "args": {"file": str(notes)}}
    tenant.publish("stuck", [call("a", "block", args={"ms": 1200}, timeout="200ms", undo=undo)])
    run = tenant.run("stuck", within_s=20)
    row = tenant.steps(run["id"])["a"]
    assert (run["state"], row["error"]["code"], row["undo"]["state"]) == (
        "failed",
        "timeout",
        "succeeded",
    )
    (line,) = noted(notes)
    assert line["uncertain"] is True
    began = next(e["at"] for e in tenant.events(run["id"]) if (e["data"] or {}).get("undo"))
    assert began > row["finished_at"]


def compensated(
    tenant: TestTenant, word: str, **more: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A run of one failing step with a compensation that answers so: the run and the step."""
    args = {"word": word, **more.pop("args", {})}
    step = call("a", "fail", compensate={"handler": "test.compensate", "args": args})
    tenant.publish("one", [{**step, **more}, call("b", "noop", "a")])
    run = tenant.run("one")
    return run, tenant.steps(run["id"])


def test_a_compensation_s_value_takes_the_place_of_the_failure(tenant: TestTenant) -> None:
    step = call("a", "fail", compensate={
        "handler": "test.compensate", "args": {"word": "continue", "value": 42},
    })  # fmt: skip
    tenant.publish("one", [step])
    run = tenant.run("one")
    assert (run["state"], run["output"]) == ("succeeded", 42)
    row = tenant.steps(run["id"])["a"]
    assert (row["state"], row["handled"], row["error"]["type"]) == ("succeeded", True, "ValueError")
    types = [(e["type"], (e["data"] or {}).get("compensate")) for e in tenant.events(run["id"])]
    assert ("step.succeeded", True) in types
    assert types[-2:] == [("step.succeeded", None), ("run.succeeded", None)]


def test_a_compensation_is_told_the_error(tenant: TestTenant) -> None:
    args = {"value": "${{ error.code + ': ' + error.message }}"}
    _, steps = compensated(tenant, "continue", args=args)
    assert steps["a"]["output"] == "error: broken"


@pytest.mark.parametrize("word", ["retry", "retry_later"])
def test_a_compensation_s_retry_gives_one_more_attempt_three_times_at_most(
    tenant: TestTenant, word: str, notes: Path
) -> None:
    run, steps = compensated(tenant, word, args={"file": str(notes)})
    assert (run["state"], steps["a"]["attempt"], steps["a"]["max_attempts"]) == ("failed", 4, 4)
    keys = [json.loads(line)["key"] for line in notes.read_text().splitlines()]
    assert len(keys) == len(set(keys)) == 4, "each is a call of its own to services"
    assert [e["type"] for e in tenant.events(run["id"])].count("step.failed") == 1
    step = call("a", "fail", args={"until": 3}, compensate={
        "handler": "test.compensate", "args": {"word": word},
    })  # fmt: skip
    tenant.publish("thrice", [step])
    run = tenant.run("thrice")
    row = tenant.steps(run["id"])["a"]
    assert (run["state"], run["output"], row["attempt"], row["handled"]) == (
        "succeeded",
        3,
        3,
        False,
    )


@pytest.mark.parametrize("word", ["nothing", "skip"])
def test_a_compensation_that_says_nothing_leaves_the_failure(tenant: TestTenant, word: str) -> None:
    run, steps = compensated(tenant, word)
    assert (run["state"], steps["a"]["state"], steps["b"]["reason"]) == (
        "failed",
        "failed",
        "upstream_failed",
    )


def test_a_compensation_that_fails_is_retried_as_it_says(tenant: TestTenant) -> None:
    def one(**more: Any) -> dict[str, Any]:
        compensate = {"handler": "test.compensate_raises", "args": {"until": 2}, **more}
        tenant.publish("one", [call("a", "fail", compensate=compensate)])
        return tenant.run("one")

    assert one()["state"] == "failed"
    assert one(retry={"max_attempts": 2, "delay": 0})["output"] == 1


def test_compensation_and_undo_run_in_a_helper_process_too(tenant: TestTenant) -> None:
    spin = {"handler": "test.spin", "args": {"ms": 10}}
    compensate = {"handler": "test.continue_cpu", "args": {"value": 42}}
    tenant.publish(
        "cpu", [call("a", "noop", undo=spin), call("b", "fail", "a", compensate=compensate)]
    )
    run = tenant.run("cpu")
    assert (run["state"], run["output"]) == ("succeeded", 42)
    tenant.http.post(f"/runs/{run['id']}/undo")
    assert tenant.system.until(lambda: _undone(tenant, run["id"]))["undo"]["state"] == "succeeded"


def test_a_fallback_under_one_failed_saves_the_run_and_undoes_nothing(
    tenant: TestTenant, notes: Path
) -> None:
    tenant.publish(
        "fallback",
        [
            undoable("reserve", notes),
            failing("pay_card", notes, "reserve"),
            call("pay_invoice", "noop", "pay_card", trigger_rule="one_failed"),
            call("notify", "noop", "pay_card", "pay_invoice", trigger_rule="all_failed"),
        ],
    )
    run = tenant.run("fallback")
    steps = tenant.steps(run["id"])
    assert (run["state"], run["undo"], undone(notes)) == ("succeeded", None, [])
    assert (steps["pay_card"]["state"], steps["pay_card"]["handled"]) == ("failed", True)
    assert (steps["notify"]["state"], steps["notify"]["reason"]) == ("skipped", "trigger_rule")


@pytest.fixture(scope="module")
def own() -> Iterator[System]:
    """A system whose parts may be killed."""
    with start_system() as system:
        yield system


def test_kill_9_in_the_middle_of_undoing_loses_nothing(own: System, tmp_path: Path) -> None:
    tenant, notes = own.tenant(), tmp_path / "notes"
    names = [f"s{n}" for n in range(4)]
    steps = [
        undoable(name, notes, *names[max(n - 1, 0) : n], undo={"ms": 1500})
        for n, name in enumerate(names)
    ]
    tenant.publish("kill", [*steps, failing("bad", notes, names[-1])])
    # for 15 s after PostgreSQL's own start a free lock proves nothing: workers may be reconnecting
    own.until(
        lambda: own.sql("SELECT 1 WHERE pg_postmaster_start_time() < now() - interval '16 s'"), 30
    )
    run_id = tenant.submit("kill")["id"]
    own.until(lambda: len(noted(notes)) == 1 and len(noted(notes, "begun")) == 2)
    os.kill(own.pids("worker")[0], signal.SIGKILL)
    run = tenant.wait(run_id, 90)
    assert (run["state"], run["undo"]["state"]) == ("failed", "succeeded")
    assert undone(notes) == ["s3", "s2", "s1", "s0"], "nothing lost, none run after its success"
    begun = [line["step"] for line in noted(notes, "begun")]
    assert begun == ["s3", "s2", "s2", "s1", "s0"]
    lost = [e for e in tenant.events(run_id) if e["type"] == "step.lost"]
    assert [(e["step"], e["data"]["undo"]) for e in lost] == [("s2", True)]
    assert tenant.system.sql(
        "SELECT in_use, ready_count, control_count FROM tenant_load WHERE tenant_id = %s", tenant.id
    ) == [(0, 0, 0)]
