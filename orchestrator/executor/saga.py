"""Compensations and undos: what their handlers are told, and what a compensation's answer means."""

from __future__ import annotations

from orchestrator.domain.statuses import StepState
from orchestrator.domain.undo import COMPENSATION, UNDO
from orchestrator.executor import invoke
from orchestrator.executor.plans import StepPlan
from orchestrator.handlers import Continue, Retry, Skip
from orchestrator.store.work import Claimed, Completion


def part(claimed: Claimed) -> tuple[str, bool]:
    """What a claim calls of its step (empty: its handler), and whether the step's end is unknown."""
    if claimed.batch == COMPENSATION:
        return f"compensate:{_own_state(claimed)}", False
    if claimed.batch == UNDO:
        return "undo", _own_state(claimed) != StepState.SUCCEEDED
    return "", False


def _own_state(claimed: Claimed) -> str | None:
    """What the claim says of its step: its state, or, for a compensation, its attempt."""
    refs, states = claimed.refs or (), claimed.states or ()
    return next((s for ref, s in zip(refs, states, strict=True) if ref == claimed.ordinal), None)


def conclude(
    step: StepPlan,
    claimed: Claimed,
    result: object,
    *,
    seconds: float,
    args: invoke.Evaluated | None = None,
    max_bytes: int,
) -> Completion:
    """What a result comes to, as `invoke.conclude` says, save that a compensation's answer is about
    its step: `reason` is continue, retry or null (the step stays failed)."""
    if claimed.batch == COMPENSATION:
        if isinstance(result, Retry):
            delay = None if result.after is None else result.after.total_seconds()
            return Completion(claimed, "succeeded", seconds, reason="retry", delay_s=delay)
        going_on = isinstance(result, Continue) or (
            isinstance(result, invoke.Encoded) and result.continues
        )
        if isinstance(result, Skip) or not (going_on or isinstance(result, BaseException)):
            return Completion(claimed, "succeeded", seconds)
        completion = invoke.conclude(
            step, claimed, result, seconds=seconds, args=args, max_bytes=max_bytes
        )
        if going_on and completion.outcome == "succeeded":
            completion.reason = "continue"
        return completion
    return invoke.conclude(step, claimed, result, seconds=seconds, args=args, max_bytes=max_bytes)
