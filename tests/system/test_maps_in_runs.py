"""Maps among the other steps of a run: cancel, timeouts, limits, caches, undo, what follows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.system.mapping import batches, mapped, run_map
from tests.system.running_system import TestTenant
from tests.system.shapes import call

pytestmark = [pytest.mark.system, pytest.mark.any_servers]


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


def test_what_is_as_deep_as_may_be_goes_through_a_map(tenant: TestTenant) -> None:
    """A batch's items and a map's output are kept a level or two deeper than each of them is."""
    deep: Any = 1
    for _ in range(98):
        deep = [deep]
    tenant.publish(
        "deep",
        [
            mapped("m", "echo", "${{ [[input.deep]] }}", args={"value": "${{ item }}"}),
            call("n", "echo", args={"value": "${{ len(steps.m.output) }}"}),
        ],
    )
    run = tenant.run("deep", {"deep": deep})
    assert (run["state"], run["output"]) == ("succeeded", 1), run["error"]
    answer = tenant.http.get(f"/runs/{run['id']}/steps/m/results")
    assert (answer.status_code, answer.json()["items"][0]["output"]) == (200, [deep])
