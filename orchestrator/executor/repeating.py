"""`repeat`: what succeeded is run again until its condition holds, at most so many times."""

from __future__ import annotations

from orchestrator.domain import jsonvalue
from orchestrator.domain.definition import Step
from orchestrator.domain.expressions import ExpressionFailed, evaluate_condition
from orchestrator.executor import invoke
from orchestrator.executor.plans import StepPlan
from orchestrator.store.work import Claimed, Completion


def goes_on(step: Step, claimed: Claimed, output: str, *, repeats: int, tenant: str) -> bool:
    """Whether a step that has succeeded with this output (JSON) is run once more; `repeats`: how
    often it was by now.

    Raises Fault: `until` cannot be evaluated, or does not hold after the last time."""
    if step.repeat is None:
        return False
    scope = {
        "input": jsonvalue.stored(claimed.input) if claimed.input is not None else {},
        "run": {"id": str(claimed.run_id), "labels": invoke.labels(claimed)},
        "tenant": {"slug": tenant},
        "secrets": invoke.secrets_of(claimed),
        "output": jsonvalue.stored(output),
    }
    try:
        if evaluate_condition(step.repeat.until, scope):
            return False
    except ExpressionFailed as error:
        raise invoke.Fault("expression", f"repeat.until: {error}", retry=False) from None
    if repeats + 1 >= step.repeat.max:
        message = f"repeat.until did not hold after {step.repeat.max} times"
        raise invoke.Fault("error", message, retry=False)
    return True


def judge(
    step: StepPlan, done: Completion, *, args: invoke.Evaluated | None, tenant: str
) -> Completion:
    """The completion of a handler's step; instead of its success, perhaps its next time or failure."""
    claimed = done.claimed
    repeat = step.step.repeat
    if done.outcome != "succeeded" or done.handled or repeat is None or claimed.batch:
        return done
    try:
        again = goes_on(
            step.step, claimed, done.output or "null", repeats=claimed.repeats, tenant=tenant
        )
    except invoke.Fault as fault:
        return invoke.conclude(step, claimed, fault, seconds=done.seconds, max_bytes=0)
    if not again:
        return done
    return Completion(
        claimed, "waiting", done.seconds, reason="repeat", args=invoke.kept(claimed, args),
        delay_s=repeat.delay.total_seconds(), counts=False,
    )  # fmt: skip
