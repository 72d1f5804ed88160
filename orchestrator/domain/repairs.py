"""What may be done by hand to a step, by its state and its run's: the model of the engine's statements.

Pages offer what this says; the statements decide it again under the tenant's mutex."""

from __future__ import annotations

from enum import StrEnum

from orchestrator.domain.statuses import TERMINAL_RUN, RunState, StepState


class Repair(StrEnum):
    """What can be done to a step by hand."""

    RETRY = "retry"
    COMPLETE = "complete"
    SKIP = "skip"


NOTHING: frozenset[Repair] = frozenset()
SETTLE = frozenset({Repair.COMPLETE, Repair.SKIP})
EVERYTHING = frozenset(Repair)


def step_repairs(
    run: RunState, step: StepState, *, closing: bool, backoff: bool
) -> frozenset[Repair]:
    """What may be done to a step in state `step` of a run in state `run`.

    `closing`: the run comes to its end (cancel, timeout …); `backoff`: the step waits for its next
    attempt.  A step whose code or parts still run is refused besides."""
    if run in TERMINAL_RUN:
        if step is StepState.FAILED and run is RunState.FAILED:
            return EVERYTHING
        retried = step in (StepState.FAILED, StepState.CANCELLED) and run is not RunState.SUCCEEDED
        return frozenset({Repair.RETRY}) if retried else NOTHING
    if closing:
        return NOTHING
    match step:
        case StepState.FAILED:
            return EVERYTHING
        case StepState.WAITING:
            return EVERYTHING if backoff else SETTLE
        case StepState.READY:
            return SETTLE
        case StepState.BLOCKED:
            return frozenset({Repair.SKIP})
        case _:
            return NOTHING


def run_may_pause(run: RunState, *, closing: bool) -> bool:
    """Whether a run may be paused."""
    return run in (RunState.QUEUED, RunState.RUNNING) and not closing
