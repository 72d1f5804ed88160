"""Graphs run whole: every step exactly once, never before its parents, with exact results."""

from __future__ import annotations

import statistics
from collections import Counter
from datetime import datetime
from typing import Any

import pytest

from tests.system.running_system import System, TestTenant
from tests.system.shapes import Steps, call, fan, random_graph

pytestmark = [pytest.mark.system, pytest.mark.any_servers]


def seconds(run: dict[str, Any]) -> float:
    """How long a run took, by the database's clock."""
    return (at(run["finished_at"]) - at(run["started_at"])).total_seconds()


def at(text: str) -> datetime:
    """A timestamp of the API."""
    return datetime.fromisoformat(text)


def test_tutorial_runs_its_branches_side_by_side(system: System) -> None:
    demo = TestTenant("demo", 0, "", system.client(system.credentials["api_key"]), system)
    runs = [demo.run("tutorial", {"user_id": 7}) for _ in range(10)]
    assert {run["state"] for run in runs} == {"succeeded"}
    assert statistics.median(map(seconds, runs)) < 0.6


def test_four_squares_of_6_are_exact(tenant: TestTenant) -> None:
    steps = [call("s1", "square", args={"value": "${{ input.x }}"})] + [
        call(f"s{i}", "square", args={"value": f"${{{{ steps.s{i - 1}.output }}}}"})
        for i in (2, 3, 4)
    ]
    tenant.publish("squares", steps)
    assert tenant.run("squares", {"x": 6})["output"] == 2821109907456


def test_seven_step_diamond_mix_of_2_is_exact_through_the_api(tenant: TestTenant) -> None:
    def of(*names: str) -> dict[str, list[str]]:
        return {"values": [f"${{{{ steps.{name}.output }}}}" for name in names]}

    tenant.publish(
        "mix",
        [
            call("a", "square", args={"value": "${{ input.x }}"}),  # 2**2
            call("b", "square", args={"value": "${{ steps.a.output }}"}),  # 2**4
            call("c", "square", args={"value": "${{ steps.a.output }}"}),  # 2**4
            call("d", "square", args={"value": "${{ steps.b.output }}"}),  # 2**8
            call("e", "square", args={"value": "${{ steps.c.output }}"}),  # 2**8
            call("f", "mix", args=of("d", "e")),  # 2**16
            call("g", "mix", args={"values": ["${{ steps.f.output ** 4 }}"]}),  # 2**64
        ],
    )
    run = tenant.run("mix", {"x": 2})
    assert run["output"] == 18446744073709551616
    answer = tenant.http.get(f"/runs/{run['id']}")
    assert '"output":18446744073709551616' in answer.text.replace(" ", "")


@pytest.mark.parametrize(("name", "steps"), [("fan", fan(1000)), ("graph", random_graph(1000))])
def test_a_thousand_steps_run_exactly_once_and_never_before_their_parents(
    system: System, name: str, steps: Steps
) -> None:
    tenant = system.tenant(max_connections=50)
    tenant.publish(name, steps)
    run = tenant.run(name, within_s=60)
    assert run["state"] == "succeeded"
    assert run["steps"]["succeeded"] == run["steps"]["total"] == 1000
    order = {
        (event["type"], event["step"]): place
        for place, event in enumerate(tenant.events(run["id"]))
    }
    count = Counter(event["type"] for event in tenant.events(run["id"]))
    assert count["step.running"] == count["step.succeeded"] == 1000
    rows = tenant.steps(run["id"])
    for step in steps:
        for parent in step.get("depends_on", ()):
            assert order["step.succeeded", parent] < order["step.running", step["name"]]
            assert rows[parent]["finished_at"] <= rows[step["name"]]["started_at"]


def test_every_transition_is_one_event_in_the_tenant_s_order(tenant: TestTenant) -> None:
    retry = {"max_attempts": 2, "delay": 0}
    steps = [
        call("a", "fail", args={"until": 2}, retry=retry),
        call("b", "noop", "a", **{"if": "${{ input.go }}"}),
        call("c", "noop", "a"),
    ]
    tenant.publish("eventful", steps)
    run = tenant.run("eventful", {"go": False})
    events = tenant.events(run["id"])
    assert [(e["type"], e["step"]) for e in events if e["step"] in (None, "a")] == [
        ("run.queued", None), ("step.ready", "a"), ("run.running", None), ("step.running", "a"),
        ("step.retrying", "a"), ("step.ready", "a"), ("step.running", "a"),
        ("step.succeeded", "a"), ("run.succeeded", None),
    ]  # fmt: skip
    assert [e["type"] for e in events if e["step"] == "b"] == ["step.ready", "step.skipped"]
    assert [e["type"] for e in events if e["step"] == "c"] == [
        "step.ready", "step.running", "step.succeeded",
    ]  # fmt: skip
    places = tenant.system.sql("SELECT seq FROM event WHERE tenant_id = %s ORDER BY seq", tenant.id)
    assert [seq for (seq,) in places] == list(range(1, len(events) + 1)), "no gaps"
    assert [e["at"] for e in events] == sorted(e["at"] for e in events)


def test_wake_ups_start_a_run_at_once(tenant: TestTenant) -> None:
    tenant.publish("quick", [call("a", "noop")])
    runs = [tenant.run("quick") for _ in range(11)]
    waited = [(at(run["started_at"]) - at(run["created_at"])).total_seconds() for run in runs]
    assert statistics.median(waited) < 0.25, "the fallback asks once a second"


def test_what_the_context_says(tenant: TestTenant) -> None:
    tenant.publish("facts", [call("tell", "facts")])
    run = tenant.run("facts", labels={"team": "blue"})
    said = run["output"]
    assert (said["tenant"], said["run_id"], said["step"]) == (tenant.slug, run["id"], "tell")
    assert (said["attempt"], said["index"], said["labels"]) == (1, None, {"team": "blue"})
    assert said["key"] == f"{run['id']}:tell"


def test_output_of_several_leaves_is_an_object_and_an_expression_replaces_it(
    tenant: TestTenant,
) -> None:
    leaves = [
        call("a", "echo", args={"value": 1}),
        call("b", "echo", args={"value": [2**70, 1e22, "é"]}),
    ]
    tenant.publish("leaves", leaves)
    assert tenant.run("leaves")["output"] == {"a": 1, "b": [2**70, 1e22, "é"]}
    tenant.publish("expression", leaves, output="${{ {'sum': steps.a.output + input.n} }}")
    assert tenant.run("expression", {"n": 4})["output"] == {"sum": 5}
    failed = tenant.run("expression", {})
    assert failed["state"] == "failed"
    assert failed["error"]["cause"]["code"] == "expression"
    assert "input.n" in failed["error"]["message"]


def test_large_values_travel_between_steps(tenant: TestTenant) -> None:
    tenant.publish(
        "large",
        [call("a", "echo", args={"value": "${{ input.text }}"})]
        + [call(f"b{i}", "echo", args={"value": "${{ steps.a.output }}"}) for i in range(6)],
        output="${{ [len(steps.b0.output), len(steps.b5.output)] }}",
    )
    run = tenant.run("large", {"text": "x" * 1_000_000})
    assert run["output"] == [1_000_000, 1_000_000]
