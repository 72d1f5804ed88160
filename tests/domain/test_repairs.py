"""What the states allow by hand."""

from __future__ import annotations

from itertools import product

import pytest

from orchestrator.domain.repairs import Repair, run_may_pause, step_repairs
from orchestrator.domain.statuses import RUN_MOVES, STEP_MOVES, TERMINAL_RUN, RunState, StepState


@pytest.mark.parametrize(("run", "step"), list(product(RunState, StepState)))
@pytest.mark.parametrize("backoff", [False, True])
@pytest.mark.parametrize("closing", [False, True])
def test_repairs_are_moves_that_the_machine_has(
    run: RunState, step: StepState, closing: bool, backoff: bool
) -> None:
    found = step_repairs(run, step, closing=closing, backoff=backoff)
    if Repair.COMPLETE in found:
        assert StepState.SUCCEEDED in STEP_MOVES[step]
    if Repair.SKIP in found:
        assert StepState.SKIPPED in STEP_MOVES[step]
    if Repair.RETRY in found:
        assert StepState.READY in STEP_MOVES[step]
    if found and run in TERMINAL_RUN:
        assert RunState.RUNNING in RUN_MOVES[run]
    if closing and run not in TERMINAL_RUN:
        assert not found


@pytest.mark.parametrize(
    ("run", "step", "allowed"),
    [
        ("failed", "failed", {"retry", "complete", "skip"}),
        ("failed", "cancelled", {"retry"}),
        ("cancelled", "failed", {"retry"}),
        ("failed", "skipped", set()),
        ("succeeded", "failed", set()),
        ("running", "waiting", {"complete", "skip"}),
        ("paused", "ready", {"complete", "skip"}),
        ("queued", "blocked", {"skip"}),
        ("running", "cancelled", set()),
    ],
)
def test_which_state_allows_what(run: str, step: str, allowed: set[str]) -> None:
    found = step_repairs(RunState(run), StepState(step), closing=False, backoff=False)
    assert {repair.value for repair in found} == allowed


def test_which_runs_may_pause() -> None:
    may = {state.value for state in RunState if run_may_pause(state, closing=False)}
    assert may == {"queued", "running"}
    assert not any(run_may_pause(state, closing=True) for state in RunState)
