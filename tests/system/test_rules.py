"""Conditions, trigger rules, handled failures, fail_fast."""

from __future__ import annotations

from typing import Any

import pytest

from tests.system.running_system import TestTenant
from tests.system.shapes import call

pytestmark = [pytest.mark.system, pytest.mark.any_servers]


def states(tenant: TestTenant, run: dict[str, Any]) -> dict[str, str]:
    """Each step's state."""
    return {name: step["state"] for name, step in tenant.steps(run["id"]).items()}


def test_if_skips_with_its_reason_and_what_follows(tenant: TestTenant) -> None:
    tenant.publish(
        "conditions",
        [
            {**call("yes", "noop"), "if": "${{ input.n > 0 }}"},
            {**call("no", "noop"), "if": "${{ input.n < 0 }}"},
            call("after", "noop", "no"),
            call("anyway", "noop", "no", trigger_rule="none_failed"),
        ],
    )
    run = tenant.run("conditions", {"n": 1})
    steps = tenant.steps(run["id"])
    assert run["state"] == "succeeded"
    assert {n: s["state"] for n, s in steps.items()} == {
        "yes": "succeeded", "no": "skipped", "after": "skipped", "anyway": "succeeded",
    }  # fmt: skip
    assert steps["no"]["reason"] == "condition"
    assert steps["after"]["reason"] == "upstream_skipped"


def test_if_that_cannot_be_evaluated_fails_the_step_without_retry(tenant: TestTenant) -> None:
    tenant.publish(
        "bad", [{**call("a", "noop", retry={"max_attempts": 3}), "if": "${{ input.missing.deep }}"}]
    )
    run = tenant.run("bad")
    assert run["state"] == "failed"
    assert run["error"]["cause"]["code"] == "expression"
    assert "input.missing" in run["error"]["message"]


def test_trigger_rules_after_a_failure(tenant: TestTenant) -> None:
    tenant.publish(
        "rules",
        [
            call("bad", "fail"),
            call("good", "noop"),
            call("success", "noop", "bad", "good"),
            call("none_failed", "noop", "bad", "good", trigger_rule="none_failed"),
            call("all_done", "noop", "bad", "good", trigger_rule="all_done"),
            call("always", "noop", "bad", "good", trigger_rule="always"),
            call("one_failed", "noop", "bad", "good", trigger_rule="one_failed"),
            call("one_success", "noop", "bad", "good", trigger_rule="one_success"),
            call("all_failed", "noop", "bad", "good", trigger_rule="all_failed"),
            call("only_bad", "noop", "bad", trigger_rule="all_failed"),
        ],
    )
    run = tenant.run("rules")
    steps = tenant.steps(run["id"])
    ended = {n: s["state"] for n, s in steps.items()}
    assert ended == {
        "bad": "failed", "good": "succeeded", "success": "skipped", "none_failed": "skipped",
        "all_done": "succeeded", "always": "succeeded", "one_failed": "succeeded", "one_success": "succeeded",
        "all_failed": "skipped", "only_bad": "succeeded",
    }  # fmt: skip
    assert steps["success"]["reason"] == "upstream_failed"
    assert steps["none_failed"]["reason"] == steps["all_failed"]["reason"] == "trigger_rule"
    assert run["state"] == "succeeded", (
        "a child under one_failed that succeeded handled the failure"
    )
    assert steps["bad"]["handled"] is True


def test_one_success_does_not_wait_for_the_slow_parent(tenant: TestTenant) -> None:
    tenant.publish(
        "early",
        [
            call("quick", "noop"),
            call("slow", "sleep", args={"ms": 700}),
            call("first", "noop", "quick", "slow", trigger_rule="one_success"),
        ],
    )
    steps = tenant.steps(tenant.run("early")["id"])
    assert steps["first"]["finished_at"] < steps["slow"]["finished_at"]


def test_a_clean_up_step_handles_nothing(tenant: TestTenant) -> None:
    tenant.publish(
        "clean", [call("bad", "fail"), call("clean", "noop", "bad", trigger_rule="all_done")]
    )
    run = tenant.run("clean")
    assert (run["state"], run["error"]["code"], run["error"]["step"]) == (
        "failed",
        "step_failed",
        "bad",
    )
    assert run["error"]["cause"] == {"code": "error", "message": "broken", "type": "ValueError"}


def test_on_error_value_handles_the_failure_and_the_run_succeeds(tenant: TestTenant) -> None:
    tenant.publish(
        "handled",
        [
            call("bad", "fail", on_error={"value": {"price": 42}}),
            call("next", "echo", args={"value": "${{ steps.bad.output.price }}"}),
        ],
    )
    run = tenant.run("handled")
    bad = tenant.steps(run["id"])["bad"]
    assert (run["state"], run["output"]) == ("succeeded", 42)
    assert (bad["state"], bad["handled"], bad["output"]) == ("succeeded", True, {"price": 42})
    assert bad["error"]["type"] == "ValueError"


def test_independent_branches_go_on_unless_fail_fast(tenant: TestTenant) -> None:
    steps = [
        call("bad", "fail"),
        call("slow", "sleep", args={"ms": 300}),
        call("then", "noop", "slow"),
    ]
    tenant.publish("goes-on", steps)
    run = tenant.run("goes-on")
    assert states(tenant, run) == {"bad": "failed", "slow": "succeeded", "then": "succeeded"}
    steps[1] = call("slow", "sleep", args={"ms": 20_000})
    tenant.publish("fail-fast", steps, fail_fast=True)
    run = tenant.run("fail-fast", within_s=10)
    assert run["state"] == "failed"
    assert states(tenant, run) == {"bad": "failed", "slow": "cancelled", "then": "cancelled"}


def test_a_long_chain_is_skipped_at_once(tenant: TestTenant) -> None:
    tenant.publish(
        "long", [call("s0", "fail"), *(call(f"s{i}", "noop", f"s{i - 1}") for i in range(1, 1000))]
    )
    run = tenant.run("long", within_s=20)
    assert run["steps"]["skipped"] == 999
