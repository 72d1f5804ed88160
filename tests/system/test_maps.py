"""Maps: batches, windows, order, errors, what cuts them short."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.system.mapping import batches, mapped, run_map
from tests.system.running_system import TestTenant
from tests.system.shapes import call

pytestmark = [pytest.mark.system, pytest.mark.any_servers]


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


@pytest.mark.parametrize("args", [{}, {"item": "${{ item }}"}])
@pytest.mark.parametrize(
    "again",
    [
        {"retry": {"max_attempts": 2, "delay": 0}},
        {"compensate": {"handler": "test.compensate", "args": {"word": "retry", "ms": 400}}},
    ],
)
def test_what_an_item_changes_in_its_arguments_no_other_call_sees(
    tenant: TestTenant, args: dict[str, Any], again: dict[str, Any]
) -> None:
    given = {"among": "${{ input.items[0] }}", "until": 2, **args}
    step = mapped("m", "use_up_item", args=given, of={"batch_size": 3}, **again)
    run, _ = run_map(tenant, step, [[1, 2], [3], [4]])
    assert run["output"] == [[[1, 2], [1, 2]], [[3], [1, 2]], [[4], [1, 2]]]


def test_a_handler_may_use_its_list_up(tenant: TestTenant) -> None:
    step = mapped("m", "use_up_items", args={"until": 2}, of={"batch_size": 3})
    step["retry"] = {"max_attempts": 2, "delay": 0}
    run, _ = run_map(tenant, step, [[1, 2], [3], [4], [5]])
    assert (run["state"], run["output"]) == ("succeeded", [2, 3, 4, 5])


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
