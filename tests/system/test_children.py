"""Child runs with real workers: outputs and failures come back, parents hold nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.system.running_system import System, TestTenant
from tests.system.shapes import call

pytestmark = [pytest.mark.system, pytest.mark.any_servers]


def child(name: str = "sub", workflow: str = "inner", **more: Any) -> dict[str, Any]:
    """A step that calls a workflow."""
    return {"name": name, "workflow": workflow, **more}


def test_output_comes_back_and_both_know_each_other(tenant: TestTenant) -> None:
    tenant.publish("inner", [call("a", "square", args={"value": "${{ input.n }}"})])
    tenant.publish(
        "outer",
        [
            child(args={"n": "${{ input.n }}"}),
            call("b", "echo", args={"value": "${{ steps.sub.output }}"}),
        ],
    )
    run = tenant.run("outer", {"n": 2**40}, labels={"x": "y"}, priority=7)
    assert run["output"] == 2**80
    step = tenant.steps(run["id"])["sub"]
    inner = tenant.wait(step["child_run_id"])
    assert inner["parent"] == {"run_id": run["id"], "step": "sub"}
    assert (inner["labels"], inner["priority"]) == ({"x": "y"}, 7)
    assert run["parent"] is None


def test_failure_comes_back_with_its_cause(tenant: TestTenant) -> None:
    tenant.publish("inner", [call("a", "fail")])
    tenant.publish("outer", [child(retry={"max_attempts": 2, "delay": 0})])
    run = tenant.run("outer")
    step = tenant.steps(run["id"])["sub"]
    assert (step["error"]["code"], step["attempt"]) == ("upstream", 2)
    assert step["error"]["cause"]["code"] == "step_failed"
    assert step["error"]["cause"]["cause"]["type"] == "ValueError"
    assert run["error"]["cause"]["code"] == "upstream"
    made = tenant.system.sql("SELECT count(*) FROM run WHERE parent_id = %s", run["id"])
    assert made == [(2,)]


def test_seventeen_parents_on_two_connections_do_not_block_each_other(system: System) -> None:
    tenant = system.tenant(max_connections=2)
    tenant.publish("inner", [call("a", "sleep", args={"ms": 50})])
    tenant.publish("middle", [child()])
    tenant.publish("outer", [child(workflow="middle"), child("other", "middle")])
    ids = tenant.submit_many("outer", 17)
    tenant.wait_all(ids, 90)
    assert all(tenant.wait(one)["state"] == "succeeded" for one in ids)
    assert system.sql("SELECT in_use FROM tenant_load WHERE tenant_id = %s", tenant.id) == [(0,)]


def test_cancel_reaches_children(tenant: TestTenant) -> None:
    tenant.publish("inner", [call("a", "sleep", args={"ms": 60_000})])
    tenant.publish("outer", [child()])
    run = tenant.submit("outer")

    def running() -> str | None:
        step = tenant.steps(run["id"])["sub"]
        if step["child_run_id"] and tenant.steps(step["child_run_id"])["a"]["state"] == "running":
            return str(step["child_run_id"])
        return None

    inner = tenant.system.until(running)
    assert inner in tenant.steps(run["id"])["sub"]["waiting"]["detail"]
    tenant.http.post(f"/runs/{run['id']}/cancel")
    assert tenant.wait(run["id"])["state"] == "cancelled"
    ended = tenant.wait(inner)
    assert (ended["state"], ended["error"]["code"]) == ("cancelled", "upstream")


def test_a_workflow_that_calls_itself_for_ever_is_stopped(tenant: TestTenant) -> None:
    tenant.publish("again", [child(workflow="again")])
    run = tenant.run("again")
    while (step := tenant.steps(run["id"])["sub"])["error"]["code"] == "upstream":
        run = tenant.wait(step["child_run_id"])
    assert "20 deep" in step["error"]["message"]


def test_an_input_that_does_not_fit_the_child(tenant: TestTenant) -> None:
    schema = {"type": "object", "required": ["n"]}
    tenant.publish("inner", [call("a", "noop")], input_schema=schema)
    tenant.publish("outer", [child()])
    run = tenant.run("outer")
    assert run["error"]["cause"]["code"] == "invalid_arguments"
