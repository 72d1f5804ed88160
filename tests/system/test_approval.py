"""An order that is approved by whom its amount asks for."""

from __future__ import annotations

import pytest

from tests.system.running_system import TestTenant
from tests.system.shapes import Steps, call

pytestmark = [pytest.mark.system, pytest.mark.any_servers]

APPROVAL: Steps = [
    call("check", "echo", args={"value": "${{ input.amount }}"}),
    call("auto", "echo", args={"value": "auto"}, **{"if": "${{ steps.check.output <= 1000 }}"}),
    call("manager", "echo", args={"value": "manager"},
         **{"if": "${{ 1000 < steps.check.output <= 5000 }}"}),
    call("director", "echo", args={"value": "director"}, **{"if": "${{ steps.check.output > 5000 }}"}),
    call("fulfil", "noop", "auto", "manager", "director", trigger_rule="one_success"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("amount", "by"),
    [(500, "auto"), (1000, "auto"), (1001, "manager"), (3000, "manager"), (5000, "manager"),
     (5001, "director"), (8000, "director")],
)  # fmt: skip
def test_conditional_approval_and_its_boundaries(tenant: TestTenant, amount: int, by: str) -> None:
    tenant.publish("approval", APPROVAL)
    run = tenant.run("approval", {"amount": amount})
    states = {name: step["state"] for name, step in tenant.steps(run["id"]).items()}
    assert run["state"] == "succeeded"
    assert {n for n in ("auto", "manager", "director") if states[n] == "succeeded"} == {by}
    assert states["fulfil"] == "succeeded"
