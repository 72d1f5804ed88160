"""Control work: conditions and cache keys of steps, what maps go over, outputs of runs, which need Python
and no connection; and all of steps that call no handler (see `waits`)."""

from __future__ import annotations

from orchestrator.domain import jsonvalue
from orchestrator.domain.definition import Step
from orchestrator.domain.expressions import ExpressionFailed, evaluate_condition
from orchestrator.executor import invoke, maps, waits
from orchestrator.executor.plans import Plan
from orchestrator.executor.waits import Means
from orchestrator.store.settling import Settled
from orchestrator.store.work import Claimed, Verdict
from tenants.sealing import keyed_digest

LARGEST_KEY = 1024 * 1024
"""Bytes of JSON that a cache's key may have."""


def decide(plan: Plan, claimed: Claimed, means: Means) -> Verdict | Settled:
    """Evaluate one piece of control work."""
    if claimed.kind == "output":
        return _output(plan, claimed, means.max_bytes)
    if claimed.kind == "ended":
        return waits.ended(plan, claimed, means)
    if claimed.kind == "again":
        return waits.begin(plan, claimed, means)
    step = plan.steps[claimed.ordinal].step
    scope = invoke.scope(plan, claimed)
    begun = claimed.kind == "begin"  # asked before: it makes the output of its cache key itself
    try:
        if (
            not begun
            and step.condition is not None
            and not evaluate_condition(step.condition, scope)
        ):
            return Verdict(claimed, "skipped", "condition")
    except ExpressionFailed as error:
        return _failed(step, claimed, f"if: {error}")
    if begun or step.cache is None:
        return _begin(plan, claimed, step, means)
    try:
        key = step.cache.key.evaluate(scope)
        encoded = jsonvalue.encode(key, max_bytes=LARGEST_KEY)
    except (ExpressionFailed, jsonvalue.NotJson, jsonvalue.TooBig) as error:
        return _failed(step, claimed, f"cache.key: {error}")
    fingerprint = jsonvalue.fingerprint([step.kind, step.handler or step.workflow, key])
    if claimed.mask.json(encoded) != encoded:  # else whoever reads it could try values
        fingerprint = keyed_digest(fingerprint, purpose="cache keys")
    asked: dict[str, object] = {
        "key": fingerprint,
        "ttl_ms": max(1, round(step.cache.ttl.total_seconds() * 1000)),
        "control": step.kind != "handler" or step.map is not None,
    }
    return Verdict(claimed, "cache", jsonvalue.encode(asked))


def unreadable(plan: Plan, claimed: Claimed, fault: invoke.Fault) -> Verdict | None:
    """What becomes of control work whose payloads are gone; None of a wait's end, which goes on waiting."""
    if claimed.kind == "output":
        return Verdict(claimed, "error", _run_error(fault.code, f"output: {fault}"))
    if claimed.kind in ("ended", "again"):
        return None
    return _faulty(plan.steps[claimed.ordinal].step, claimed, fault)


def _begin(plan: Plan, claimed: Claimed, step: Step, means: Means) -> Verdict | Settled:
    if step.kind != "handler":
        return waits.begin(plan, claimed, means)
    if step.map is None:
        return Verdict(claimed, "ready")
    try:
        return maps.begin(plan, claimed, max_bytes=means.max_bytes)
    except invoke.Fault as fault:
        return _faulty(step, claimed, fault)


def _failed(step: Step, claimed: Claimed, message: str) -> Verdict:
    return _faulty(step, claimed, invoke.Fault("expression", message, retry=False))


def _faulty(step: Step, claimed: Claimed, fault: invoke.Fault) -> Verdict:
    fallback = jsonvalue.encode(step.on_error_value) if step.has_on_error_value else None
    return Verdict(claimed, "failed", invoke.describe(fault), fallback)


def _output(plan: Plan, claimed: Claimed, max_bytes: int) -> Verdict:
    template = plan.definition.output
    assert template is not None
    try:
        value = template.evaluate(invoke.scope(plan, claimed))
        return Verdict(claimed, "output", jsonvalue.encode(value, max_bytes=max_bytes))
    except ExpressionFailed as error:
        return Verdict(claimed, "error", _run_error("expression", f"output: {error}"))
    except (jsonvalue.NotJson, jsonvalue.TooBig) as error:
        return refused_output(claimed, f"output: {error}")


def refused_output(claimed: Claimed, message: str) -> Verdict:
    """The run's output cannot be kept: it fails."""
    return Verdict(claimed, "error", _run_error("invalid_output", message))


def _run_error(code: str, message: str) -> str:
    cause = {"code": code, "message": message, "type": None}
    return jsonvalue.encode(
        {"code": "step_failed", "message": message, "step": None, "cause": cause}
    )
