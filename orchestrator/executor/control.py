"""Control work: conditions of steps and outputs of runs, which need Python and no connection; and
all of steps that call no handler (see `waits`)."""

from __future__ import annotations

from orchestrator.domain import jsonvalue
from orchestrator.domain.expressions import ExpressionFailed, evaluate_condition
from orchestrator.executor import invoke, waits
from orchestrator.executor.plans import Plan
from orchestrator.executor.waits import Means
from orchestrator.store.settling import Settled
from orchestrator.store.work import Claimed, Verdict


def decide(plan: Plan, claimed: Claimed, means: Means) -> Verdict | Settled:
    """Evaluate one piece of control work."""
    if claimed.kind == "output":
        return _output(plan, claimed, means.max_bytes)
    if claimed.kind == "ended":
        return waits.ended(plan, claimed, means)
    verdict = _condition(plan, claimed) if claimed.kind == "condition" else None
    if verdict is not None:
        return verdict
    if plan.steps[claimed.ordinal].step.kind != "handler":
        return waits.begin(plan, claimed, means)
    return Verdict(claimed, "ready")


def _condition(plan: Plan, claimed: Claimed) -> Verdict | None:
    """What its `if` makes of a step; None: it goes on."""
    step = plan.steps[claimed.ordinal].step
    if step.condition is None:
        return None
    try:
        holds = evaluate_condition(step.condition, invoke.scope(plan, claimed))
    except ExpressionFailed as error:
        fault = invoke.Fault("expression", f"if: {error}", retry=False)
        fallback = jsonvalue.encode(step.on_error_value) if step.has_on_error_value else None
        return Verdict(claimed, "failed", invoke.describe(fault), fallback)
    return None if holds else Verdict(claimed, "skipped", "condition")


def _output(plan: Plan, claimed: Claimed, max_bytes: int) -> Verdict:
    template = plan.definition.output
    assert template is not None
    try:
        value = template.evaluate(invoke.scope(plan, claimed))
        return Verdict(claimed, "output", jsonvalue.encode(value, max_bytes=max_bytes))
    except ExpressionFailed as error:
        return Verdict(claimed, "error", _run_error("expression", f"output: {error}"))
    except (jsonvalue.NotJson, jsonvalue.TooBig) as error:
        return Verdict(claimed, "error", _run_error("invalid_output", f"output: {error}"))


def _run_error(code: str, message: str) -> str:
    cause = {"code": code, "message": message, "type": None}
    return jsonvalue.encode(
        {"code": "step_failed", "message": message, "step": None, "cause": cause}
    )
