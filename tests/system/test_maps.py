"""Maps: batches, windows, order, errors, what cuts them short."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.system.running_system import TestTenant
from tests.system.shapes import call

pytestmark = [pytest.mark.system, pytest.mark.any_servers]

INPUT = "${{ input.items }}"


def mapped(
    name: str, handler: str, over: Any = INPUT, *parents: str, **more: Any
) -> dict[str, Any]:
    """A map step; keys of `map` in `of`."""
    of = more.pop("of", {})
    return call(name, handler, *parents, map={"over": over, **of}, **more)


def run_map(
    tenant: TestTenant, step: dict[str, Any], items: Any, within_s: float = 30, **more: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run a workflow of one map step: the run and the step run."""
    tenant.publish("one", [step], **more)
    run = tenant.run("one", {"items": items}, within_s=within_s)
    return run, tenant.steps(run["id"])[step["name"]]


def batches(tenant: TestTenant, run_id: str, step: str) -> list[dict[str, Any]]:
    """All batches of a map, page by page."""
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        params: dict[str, Any] = {"step": step, "limit": 400}
        answer = tenant.http.get(
            f"/runs/{run_id}/steps", params=params | ({"cursor": cursor} if cursor else {})
        )
        assert answer.status_code == 200, answer.text
        found += answer.json()["items"]
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            return found


@pytest.mark.parametrize("handler", ["double", "double_sync"])
def test_results_stand_in_the_items_order(tenant: TestTenant, handler: str) -> None:
    more: dict[str, Any] = {"args": {"most_ms": 80}} if handler == "double" else {}
    run, step = run_map(tenant, mapped("m", handler, **more), [0, 2, 4, 6, 8, 10])
    assert (run["state"], run["output"]) == ("succeeded", [0, 4, 8, 12, 16, 20])
    assert step["map"] == {"total": 6, "done": 6, "failed": 0, "in_flight": 0}
    assert (step["index"], step["state"], step["errors"]) == (None, "succeeded", None)
    assert run["steps"]["total"] == run["steps"]["succeeded"] == 1
    found = batches(tenant, run["id"], "m")
    assert [b["index"] for b in found] == [0, 1, 2, 3, 4, 5]
    assert [b["output"] for b in found] == [[0], [4], [8], [12], [16], [20]]


@pytest.mark.parametrize(("rows", "sizes"), [(1000, [200] * 5), (0, []), (1001, [200] * 5 + [1])])
def test_rows_in_batches_of_200_and_an_aggregate(
    tenant: TestTenant, rows: int, sizes: list[int]
) -> None:
    steps = [
        mapped("m", "double_all", of={"batch_size": 200}),
        call("sum", "count", args={"values": "${{ steps.m.output }}"}),
    ]
    tenant.publish("rows", steps)
    run = tenant.run("rows", {"items": list(range(rows))})
    assert (run["state"], run["output"]) == ("succeeded", rows)
    assert [len(b["output"]) for b in batches(tenant, run["id"], "m")] == sizes
    assert tenant.steps(run["id"])["m"]["output"] == [2 * n for n in range(rows)]


def test_unordered_results_stand_as_they_came(tenant: TestTenant) -> None:
    step = mapped("m", "slow_item", of={"ordered": False, "max_in_flight": 2})
    run, _ = run_map(tenant, step, [600, 1, 2, 3])
    assert sorted(run["output"]) == [1, 2, 3, 600]
    assert run["output"][-1] == 600, "nobody waited for the slow one"
    run, _ = run_map(
        tenant, mapped("m", "slow_item", of={"ordered": False, "batch_size": 3}), [300, 1, 100]
    )
    assert run["output"] == [1, 100, 300]


def test_never_more_than_the_window_is_in_flight(tenant: TestTenant) -> None:
    system = tenant.system
    tenant.publish("many", [mapped("m", "double", of={"max_in_flight": 20, "collect": False})])
    run = tenant.submit("many", {"items": list(range(10_000))})
    asked = """SELECT count(*) FILTER (WHERE state IN ('ready', 'running', 'waiting')) FROM step_run
                WHERE run_id = %s AND batch > 0"""
    most = 0
    ended = "SELECT 1 FROM run WHERE id = %s AND finished_at IS NOT NULL"
    while not system.sql(ended, run["id"]):
        most = max(most, system.sql(asked, run["id"])[0][0])
    run = tenant.wait(run["id"])
    assert run["output"] == {"total": 10_000, "succeeded": 10_000, "failed": 0}
    assert 2 < most <= 20
    moves = system.sql(
        "SELECT type FROM event WHERE run_id = %s AND batch > 0 ORDER BY seq", run["id"]
    )
    open_ = highest = 0
    for (kind,) in moves:
        open_ += {"step.ready": 1, "step.succeeded": -1}.get(kind, 0)
        highest = max(highest, open_)
    assert (open_, highest) == (0, 20)
    left = "SELECT (SELECT count(*) FROM map_pack WHERE run_id = %s), count(args) FROM step_run WHERE run_id = %s"
    assert system.sql(left, run["id"], run["id"]) == [(0, 0)]


def test_a_slow_batch_holds_up_nobody(tenant: TestTenant) -> None:
    run, _ = run_map(tenant, mapped("m", "slow_item", of={"max_in_flight": 2}), [1500, *[10] * 20])
    found = batches(tenant, run["id"], "m")
    assert max(b["finished_at"] for b in found[1:]) < found[0]["finished_at"]


def test_fail_fast_fails_the_step_cancels_what_runs_and_starts_nothing_more(
    tenant: TestTenant,
) -> None:
    step = mapped("m", "picky", args={"bad": [3]}, of={"max_in_flight": 2})
    run, row = run_map(tenant, step, list(range(50)))
    assert (run["state"], run["error"]["step"]) == ("failed", "m")
    assert (row["state"], row["error"]["message"], row["error"]["item_index"]) == (
        "failed",
        "3 is bad",
        3,
    )
    assert row["errors"] == [{"item_index": 3, "code": "error", "message": "3 is bad"}]
    assert row["map"]["in_flight"] == 0
    assert len(batches(tenant, run["id"], "m")) < 8
    tenant.publish("two", [mapped("m", "slow_item", of={"max_in_flight": 5})])
    run = tenant.run("two", {"items": [60_000, 60_000, "no number", 60_000]}, within_s=15)
    states = sorted(b["state"] for b in batches(tenant, run["id"], "m"))
    assert (run["state"], states) == ("failed", ["cancelled", "cancelled", "cancelled", "failed"])


def test_fail_fast_stops_a_batch_at_its_first_failure(tenant: TestTenant, tmp_path: Path) -> None:
    log = tmp_path / "log"
    step = mapped("m", "log_item", args={"file": str(log), "bad": 3}, of={"batch_size": 10})
    run, _ = run_map(tenant, step, list(range(10)))
    assert run["state"] == "failed"
    assert log.read_text().split() == ["0", "1", "2", "3"]


def test_continue_gives_null_and_errors_by_item(tenant: TestTenant) -> None:
    of = {"on_error": "continue", "batch_size": 4}
    step = mapped("m", "picky", args={"bad": [1, 8, 9]}, of=of)
    run, row = run_map(tenant, step, list(range(10)))
    assert (run["state"], row["state"], row["error"]) == ("succeeded", "succeeded", None)
    assert run["output"] == [1, None, 21, 31, 41, 51, 61, 71, None, None]
    assert [(e["item_index"], e["code"]) for e in row["errors"]] == [
        (1, "error"),
        (8, "error"),
        (9, "error"),
    ]
    assert row["map"] == {"total": 10, "done": 10, "failed": 3, "in_flight": 0}
    found = batches(tenant, run["id"], "m")
    assert [b["state"] for b in found] == ["succeeded", "succeeded", "failed"]
    assert (found[0]["handled"], found[0]["error"]["failed"]) == (True, 1)
    _, row = run_map(tenant, step, [1, 8, 9] * 60)
    assert (len(row["errors"]), row["errors"][-1]["item_index"]) == (100, 99)


def test_collect_false_counts_failures_too(tenant: TestTenant) -> None:
    of = {"on_error": "continue", "batch_size": 3, "collect": False}
    run, row = run_map(tenant, mapped("m", "picky", args={"bad": [1]}, of=of), list(range(7)))
    assert run["output"] == {"total": 7, "succeeded": 6, "failed": 1}
    assert {b["output"] for b in batches(tenant, run["id"], "m")} == {None}
    assert [e["item_index"] for e in row["errors"]] == [1]


@pytest.mark.parametrize(("most", "state"), [(2, "failed"), (3, "succeeded")])
def test_max_failures(tenant: TestTenant, most: int, state: str) -> None:
    step = mapped("m", "picky", args={"bad": [1, 3, 5]}, of={"on_error": {"max_failures": most}})
    run, row = run_map(tenant, step, list(range(8)))
    assert (run["state"], row["state"]) == (state, state)
    assert len(row["errors"]) == 3
    if state == "succeeded":
        assert run["output"] == [1, None, 21, None, 41, None, 61, 71]


def test_a_value_in_place_of_a_failed_map(tenant: TestTenant) -> None:
    step = mapped("m", "picky", args={"bad": [1]}, on_error={"value": "none"})
    run, row = run_map(tenant, step, [0, 1, 2])
    assert (run["state"], run["output"], row["handled"]) == ("succeeded", "none", True)


def test_a_retry_of_a_batch_does_only_what_failed_again(tenant: TestTenant, tmp_path: Path) -> None:
    retry = {"max_attempts": 3, "delay": 0}
    of = {"batch_size": 5, "on_error": "continue"}
    step = mapped("m", "picky", args={"bad": [1, 3], "until": 3}, retry=retry, of=of)
    run, row = run_map(tenant, step, list(range(5)))
    assert (run["state"], run["output"]) == ("succeeded", [1, 13, 21, 33, 41])
    (batch,) = batches(tenant, run["id"], "m")
    assert (batch["attempt"], batch["max_attempts"]) == (3, 3)
    assert row["attempt"] == 1
    log = tmp_path / "log"
    step = mapped("m", "log_item", args={"file": str(log), "bad": 2}, retry=retry, of=of)
    run, _ = run_map(tenant, step, list(range(5)))
    assert sorted(log.read_text().split()) == ["0", "1", "2", "2", "2", "3", "4"]


def test_batch_handlers_answer_a_list_of_the_same_length(tenant: TestTenant) -> None:
    run, _ = run_map(tenant, mapped("m", "double_all", of={"batch_size": 4}), list(range(10)))
    assert run["output"] == [2 * n for n in range(10)]
    step = mapped("m", "double_all", args={"drop": 1}, of={"batch_size": 4})
    run, row = run_map(tenant, step, list(range(10)))
    assert (run["state"], row["error"]["code"]) == ("failed", "invalid_output")


def test_item_in_args_takes_the_place_of_the_keyword(tenant: TestTenant) -> None:
    step = mapped("m", "two_args", args={"first": "${{ item.n }}", "second": "${{ input.more }}"})
    tenant.publish("one", [step])
    run = tenant.run("one", {"items": [{"n": 1}, {"n": 2}], "more": 10})
    assert run["output"] == [11, 12]
    run = tenant.run("one", {"items": [{"n": 1}, {}], "more": 10})
    assert run["error"]["cause"]["code"] == "expression"
    assert "item.n" in run["error"]["cause"]["message"]


def test_arguments_that_do_not_fit_are_named(tenant: TestTenant) -> None:
    run, row = run_map(tenant, mapped("m", "square"), [1])
    assert row["error"]["code"] == "invalid_arguments"
    assert run["state"] == "failed"


@pytest.mark.parametrize("items", [{"a": 1}, "text", 5, None])
def test_over_must_give_a_list(tenant: TestTenant, items: Any) -> None:
    _, row = run_map(tenant, mapped("m", "double"), items)
    assert (row["state"], row["error"]["code"]) == ("failed", "expression")


def test_cpu_items_run_in_their_process(tenant: TestTenant) -> None:
    of = {"batch_size": 3, "on_error": "continue"}
    run, row = run_map(tenant, mapped("m", "double_cpu", of=of), [1, -1, 3, 4, 5])
    assert run["output"] == [[2, 0], None, [6, 2], [8, 3], [10, 4]]
    assert row["errors"][0]["message"] == "-1 is negative"
    run, _ = run_map(
        tenant, mapped("m", "double_all", queue="cpu", of={"batch_size": 2}), [1, 2, 3]
    )
    assert run["output"] == [2, 4, 6]


def test_contexts_of_items(tenant: TestTenant) -> None:
    run, _ = run_map(tenant, mapped("m", "item_facts", of={"batch_size": 2}), ["a", "b", "c"])
    key = f"{run['id']}:m:"
    assert [(f["index"], f["item_index"], f["key"]) for f in run["output"]] == [
        (0, 0, f"{key}0"), (0, 1, f"{key}1"), (1, 2, f"{key}2"),
    ]  # fmt: skip


def test_directives_of_items(tenant: TestTenant, tmp_path: Path) -> None:
    args = {"mark": str(tmp_path / "mark")}
    of = {"batch_size": 10, "on_error": "continue"}
    step = mapped("m", "say_item", args=args, of=of, retry={"max_attempts": 3, "delay": 0})
    run, row = run_map(tenant, step, ["a", "skip", "abort", "nan", "snooze", "b"])
    assert run["output"] == ["a", None, None, None, "snooze", "b"]
    assert [(e["item_index"], e["code"]) for e in row["errors"]] == [
        (2, "aborted"),
        (3, "invalid_output"),
    ]
    (batch,) = batches(tenant, run["id"], "m")
    assert batch["attempt"] == 1


@pytest.mark.parametrize("handler", ["slow_item", "block_item"])
def test_a_batchs_timeout_spares_the_items_that_have_ended(
    tenant: TestTenant, handler: str
) -> None:
    of = {"batch_size": 3, "on_error": "continue"}
    run, row = run_map(tenant, mapped("m", handler, timeout="500ms", of=of), [1, 2, 1500])
    assert run["output"] == [1, 2, None]
    assert row["errors"][0]["code"] == "timeout"


def test_a_lost_batch_runs_again(tenant: TestTenant, tmp_path: Path) -> None:
    args = {"mark": str(tmp_path / "mark")}
    run, _ = run_map(tenant, mapped("m", "say_item", args=args), ["a", "die", "b"])
    assert (run["state"], run["output"]) == ("succeeded", ["a", "alive", "b"])
    assert [e["type"] for e in tenant.events(run["id"]) if e["index"] == 1].count("step.lost") == 1


def test_cancel_ends_the_map_with_what_runs(tenant: TestTenant) -> None:
    tenant.publish("slow", [mapped("m", "slow_item", of={"max_in_flight": 3})])
    run = tenant.submit("slow", {"items": [30_000] * 10})
    running = "SELECT count(*) FROM step_run WHERE run_id = %s AND state = 'running'"
    tenant.system.until(lambda: tenant.system.sql(running, run["id"]) == [(3,)])
    step = tenant.steps(run["id"])["m"]
    assert (step["state"], step["waiting"], step["map"]["in_flight"]) == ("running", None, 3)
    now = tenant.http.get(f"/runs/{run['id']}").json()
    assert (now["steps"]["running"], now["steps"]["waiting"]) == (1, 0)
    assert tenant.http.post(f"/runs/{run['id']}/cancel").status_code == 200
    run = tenant.wait(run["id"], within_s=15)
    assert (run["state"], run["steps"]["cancelled"]) == ("cancelled", 1)
    assert {b["state"] for b in batches(tenant, run["id"], "m")} == {"cancelled"}
    quiet = "SELECT in_use, ready_count, control_count FROM tenant_load WHERE tenant_id = %s"
    assert tenant.system.sql(quiet, tenant.id) == [(0, 0, 0)]


def test_the_runs_timeout_and_fail_fast_end_maps(tenant: TestTenant) -> None:
    slow = mapped("m", "slow_item", of={"max_in_flight": 3})
    run, _ = run_map(tenant, slow, [30_000] * 10, timeout="500ms")
    assert (run["state"], run["error"]["code"]) == ("failed", "run_timeout")
    tenant.publish(
        "two", [slow, call("a", "sleep", args={"ms": 300}), call("b", "fail", "a")], fail_fast=True
    )
    run = tenant.run("two", {"items": [30_000] * 10}, within_s=15)
    assert (run["state"], run["error"]["step"]) == ("failed", "b")
    assert tenant.steps(run["id"])["m"]["state"] == "cancelled"


def test_max_parallel_and_conditions_hold_for_maps(tenant: TestTenant) -> None:
    slow = mapped(
        "m", "slow_item", of={"max_in_flight": 8}, **{"if": "${{ len(input.items) > 2 }}"}
    )
    run, _ = run_map(tenant, slow, [100] * 8, max_parallel=2)
    moves = tenant.events(run["id"])
    open_ = highest = 0
    for event in moves:
        if event["index"] is not None:
            open_ += {"step.running": 1, "step.succeeded": -1}.get(event["type"], 0)
            highest = max(highest, open_)
    assert (run["state"], highest) == ("succeeded", 2)
    run, row = run_map(tenant, slow, [1, 2])
    assert (row["state"], row["reason"], row["map"]["total"]) == ("skipped", "condition", 0)


def test_maps_of_maps_results(tenant: TestTenant) -> None:
    steps = [
        mapped("a", "double", of={"batch_size": 3}),
        mapped("b", "double_all", "${{ steps.a.output }}", of={"batch_size": 4}),
    ]
    tenant.publish("two", steps, output="${{ sum(steps.b.output) }}")
    run = tenant.run("two", {"items": list(range(10))})
    assert run["output"] == 4 * 45
    assert run["steps"]["total"] == 2


def test_a_map_whose_results_are_cached_runs_once(tenant: TestTenant) -> None:
    cache = {"key": "${{ input.items }}", "ttl": "10m"}
    for cached in (False, True):
        run, row = run_map(tenant, mapped("m", "double", cache=cache), [1, 2, 3])
        assert (run["state"], run["output"], row["cached"]) == ("succeeded", [2, 4, 6], cached)
        assert len(batches(tenant, run["id"], "m")) == (0 if cached else 3)


def test_a_map_that_has_succeeded_is_undone(tenant: TestTenant) -> None:
    step = mapped("m", "double", undo={"handler": "test.echo", "args": {"value": "${{ output }}"}})
    tenant.publish("undone", [step, call("bad", "fail", "m")])
    run = tenant.run("undone", {"items": [1, 2]})
    assert (run["state"], run["undo"]["state"]) == ("failed", "succeeded")
    assert tenant.steps(run["id"])["m"]["undo"]["state"] == "succeeded"


def test_a_compensation_has_what_failed_tried_again(tenant: TestTenant, tmp_path: Path) -> None:
    log = tmp_path / "log"
    # longer than a worker takes to look for maps that have failed
    again = {"compensate": {"handler": "test.compensate", "args": {"word": "retry", "ms": 400}}}
    step = mapped("m", "log_once", args={"file": str(log), "bad": 3}, of={"batch_size": 2}, **again)
    run, row = run_map(tenant, step, list(range(8)))
    assert (run["state"], run["output"]) == ("succeeded", list(range(8)))
    assert (row["attempt"], row["errors"], row["handled"]) == (2, None, False)
    assert row["map"] == {"total": 8, "done": 8, "failed": 0, "in_flight": 0}
    done = log.read_text().split()
    assert sorted(set(done)) == [str(n) for n in range(8)]
    assert (done.count("2"), done.count("3")) == (1, 2), "its neighbour keeps its result"
    step = mapped("m", "picky", args={"bad": [1]}, **again)
    run, row = run_map(tenant, step, [0, 1, 2])
    assert (run["state"], row["state"], row["attempt"]) == ("failed", "failed", 4)


def test_large_results_reach_the_next_step_and_come_page_by_page(tenant: TestTenant) -> None:
    steps = [
        mapped("m", "text_item", of={"batch_size": 10}),
        call("sum", "count", args={"values": "${{ steps.m.output }}"}),
    ]
    tenant.publish("large", steps, output={"count": "${{ steps.sum.output }}"})
    run = tenant.run("large", {"items": list(range(300))})
    assert (run["state"], run["output"]) == ("succeeded", {"count": 300})
    expected = [f"{n}:" + "x" * 5_000 for n in range(300)]
    assert tenant.steps(run["id"])["m"]["output"] == expected
    largest = "SELECT max(octet_length(output)) FROM step_run WHERE run_id = %s"
    assert tenant.system.sql(largest, run["id"])[0][0] <= 8192
    found: list[str] = []
    params: dict[str, Any] = {"limit": 1000}
    while True:
        page = tenant.http.get(f"/runs/{run['id']}/steps/m/results", params=params).json()
        assert len(page["items"]) < 300, "a page ends with the batch that fills 1 MiB"
        found += [item["output"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    assert found == expected
