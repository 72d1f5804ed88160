"""Control work: conditions of steps, what maps go over, and outputs of runs, which need Python and no
connection."""

from __future__ import annotations

from orchestrator.domain import jsonvalue
from orchestrator.domain.expressions import ExpressionFailed, Template, evaluate_condition
from orchestrator.executor import invoke, maps
from orchestrator.executor.plans import Plan
from orchestrator.store.work import Claimed, Verdict


def decide(plan: Plan, claimed: Claimed, *, max_bytes: int) -> Verdict:
    """Evaluate one piece of control work."""
    if claimed.kind == "output":
        return _output(plan, claimed, max_bytes)
    step = plan.steps[claimed.ordinal].step
    try:
        if step.condition is not None and not _holds(plan, claimed, step.condition):
            return Verdict(claimed, "skipped", "condition")
        if step.map is not None:
            return maps.begin(plan, claimed, max_bytes=max_bytes)
    except invoke.Fault as fault:
        fallback = jsonvalue.encode(step.on_error_value) if step.has_on_error_value else None
        return Verdict(claimed, "failed", invoke.describe(fault), fallback)
    return Verdict(claimed, "ready")


def _holds(plan: Plan, claimed: Claimed, condition: Template) -> bool:
    try:
        return evaluate_condition(condition, invoke.scope(plan, claimed))
    except ExpressionFailed as error:
        raise invoke.Fault("expression", f"if: {error}", retry=False) from None


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
