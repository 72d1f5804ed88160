"""The sample workflows of the tenant `demo`, as published at the first start (the tutorial:
test_graphs.py)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.system.running_system import System, TestTenant

pytestmark = pytest.mark.system

ITEMS = [{"sku": "a", "price": 20, "count": 2}, {"sku": "b", "price": 2.5}]


@pytest.fixture
def demo(system: System) -> TestTenant:
    """The demo tenant, with its printed key."""
    return TestTenant("demo", 0, "", system.client(system.credentials["api_key"]), system)


def order(demo: TestTenant, **given: Any) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """An order's run and its steps."""
    run = demo.run("order-process", {"order_id": "o-1", "items": ITEMS, **given})
    return run, demo.steps(run["id"])


def test_diamond_of_2_is_2_to_the_64th(demo: TestTenant) -> None:
    assert demo.run("diamond", {"x": 2})["output"] == 18446744073709551616


def test_an_order_is_charged_its_total_and_shipped(demo: TestTenant) -> None:
    run, steps = order(demo)
    assert run["state"] == "succeeded"
    assert steps["charge"]["output"]["charged"] == 42.5
    assert steps["ship"]["state"] == "succeeded"
    skipped = [name for name, step in steps.items() if step["state"] == "skipped"]
    assert skipped == ["release", "ship_express"]


def test_an_express_order_goes_the_other_way(demo: TestTenant) -> None:
    _, steps = order(demo, express=True)
    assert (steps["ship"]["state"], steps["ship_express"]["state"]) == ("skipped", "succeeded")
    assert steps["ship_express"]["output"]["carrier"] == "express"


def test_a_charge_is_retried_and_a_risk_that_nobody_answers_is_half(demo: TestTenant) -> None:
    run, steps = order(demo, failures=2, risk_service=False)
    assert run["state"] == "succeeded"
    assert (steps["charge"]["attempt"], steps["charge"]["state"]) == (3, "succeeded")
    assert (steps["score"]["output"], steps["score"]["handled"]) == ({"risk": 0.5}, True)


def test_a_charge_that_fails_for_good_releases_what_was_reserved(demo: TestTenant) -> None:
    run, steps = order(demo, failures=9)
    assert run["state"] == "succeeded", "the release answers the failure"
    assert (steps["charge"]["state"], steps["charge"]["handled"]) == ("failed", True)
    assert steps["release"]["output"]["released"]
    assert steps["ship"]["state"] == "skipped"
    assert steps["notify"]["state"] == "succeeded", "whatever became of it"


def test_an_order_that_was_shipped_can_be_undone(demo: TestTenant) -> None:
    run, _ = order(demo)
    assert demo.http.post(f"/runs/{run['id']}/undo").status_code == 200

    def undone() -> bool:
        undo = demo.http.get(f"/runs/{run['id']}").json()["undo"]
        return bool(undo["state"] == "succeeded")

    demo.system.until(undone)
    steps = demo.steps(run["id"])
    assert [name for name, step in steps.items() if step["undo"]] == ["reserve", "charge"]
    refunded, released = (steps[name]["undo"]["finished_at"] for name in ("charge", "reserve"))
    assert refunded < released
