"""The words for states, the moves between them, and the model of when a step is decided.

The engine does the same with counters in SQL; `decide` is what that SQL is tested against.
"""

from collections.abc import Mapping
from enum import StrEnum


class RunState(StrEnum):
    """The state of a run.

    ```mermaid
    stateDiagram-v2
        [*] --> queued
        queued --> running: first step starts
        queued --> paused
        queued --> failed: deadline
        queued --> cancelled
        running --> paused
        paused --> queued: resume, nothing had started
        paused --> running: resume
        running --> succeeded
        running --> failed
        running --> cancelled
        paused --> failed: deadline
        paused --> cancelled
        failed --> running: retry
        cancelled --> running: retry
        succeeded --> running: retry from a step
    ```
    """

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class StepState(StrEnum):
    """The state of a step run.  `waiting` holds no connection: backoff, sleep, signal, child run.

    ```mermaid
    stateDiagram-v2
        [*] --> blocked
        [*] --> ready: no parents
        blocked --> ready: its rule holds
        blocked --> skipped: its rule can no longer hold
        blocked --> cancelled
        ready --> running: claimed
        ready --> waiting: sleep, signal, child run
        ready --> succeeded: cached, or completed by hand
        ready --> skipped: its condition is false, or skipped by hand
        ready --> failed: an expression failed
        ready --> cancelled
        running --> succeeded
        running --> failed
        running --> skipped: Skip
        running --> waiting: backoff, Snooze
        running --> ready: lost or given back
        running --> cancelled
        waiting --> ready: due
        waiting --> succeeded: signal, child run's end
        waiting --> failed: timeout
        waiting --> skipped: by hand
        waiting --> cancelled
        succeeded --> blocked: retry from an earlier step
        succeeded --> ready: retry from this step
        failed --> blocked
        failed --> ready: retry
        failed --> succeeded: completed by hand
        failed --> skipped: skipped by hand
        skipped --> blocked
        skipped --> ready
        cancelled --> blocked
        cancelled --> ready
    ```
    """

    BLOCKED = "blocked"
    READY = "ready"
    RUNNING = "running"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


TERMINAL_RUN: frozenset[RunState] = frozenset(
    {RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED}
)
TERMINAL_STEP: frozenset[StepState] = frozenset(
    {StepState.SUCCEEDED, StepState.FAILED, StepState.SKIPPED, StepState.CANCELLED}
)

RUN_MOVES: Mapping[RunState, frozenset[RunState]] = {
    RunState.QUEUED: frozenset(
        {RunState.RUNNING, RunState.PAUSED, RunState.FAILED, RunState.CANCELLED}
    ),
    RunState.RUNNING: frozenset({RunState.PAUSED, *TERMINAL_RUN}),
    RunState.PAUSED: frozenset(
        {RunState.QUEUED, RunState.RUNNING, RunState.FAILED, RunState.CANCELLED}
    ),
    RunState.SUCCEEDED: frozenset({RunState.RUNNING}),
    RunState.FAILED: frozenset({RunState.RUNNING}),
    RunState.CANCELLED: frozenset({RunState.RUNNING}),
}

_AGAIN = frozenset({StepState.BLOCKED, StepState.READY})
STEP_MOVES: Mapping[StepState, frozenset[StepState]] = {
    StepState.BLOCKED: frozenset({StepState.READY, StepState.SKIPPED, StepState.CANCELLED}),
    StepState.READY: frozenset({StepState.RUNNING, StepState.WAITING, *TERMINAL_STEP}),
    StepState.RUNNING: frozenset({StepState.READY, StepState.WAITING, *TERMINAL_STEP}),
    StepState.WAITING: frozenset({StepState.READY, *TERMINAL_STEP}),
    StepState.SUCCEEDED: _AGAIN,
    StepState.FAILED: _AGAIN | {StepState.SUCCEEDED, StepState.SKIPPED},
    StepState.SKIPPED: _AGAIN,
    StepState.CANCELLED: _AGAIN,
}


class TriggerRule(StrEnum):
    """What a step asks of its parents before it runs."""

    ALL_SUCCESS = "all_success"
    ALL_FAILED = "all_failed"
    ALL_DONE = "all_done"
    ONE_SUCCESS = "one_success"
    ONE_FAILED = "one_failed"
    NONE_FAILED = "none_failed"
    ALWAYS = "always"


class Decision(StrEnum):
    """What the parents mean for a step; the last three are reasons for being skipped."""

    WAIT = "wait"
    READY = "ready"
    UPSTREAM_FAILED = "upstream_failed"
    UPSTREAM_SKIPPED = "upstream_skipped"
    TRIGGER_RULE = "trigger_rule"

    @property
    def is_skip(self) -> bool:
        """Whether the step is skipped, for the reason that the value names."""
        return self not in (Decision.WAIT, Decision.READY)


def decide(
    rule: TriggerRule, *, total: int, left: int, ok: int, failed: int, skipped: int
) -> Decision:
    """What `rule` makes of a step's parents.

    `total` parents, of which `left` are not terminal, `ok` succeeded (or failed and were handled by
    a value), `failed` failed and `skipped` were skipped; the rest were cancelled.  Only
    `one_success` and `one_failed` are decided before all parents are terminal.
    """
    if total == 0:
        return Decision.READY
    if rule in (TriggerRule.ONE_SUCCESS, TriggerRule.ONE_FAILED):
        if (ok if rule is TriggerRule.ONE_SUCCESS else failed) > 0:
            return Decision.READY
        return Decision.WAIT if left else Decision.TRIGGER_RULE
    if left:
        return Decision.WAIT
    match rule:
        case TriggerRule.ALL_SUCCESS if ok == total:
            return Decision.READY
        case TriggerRule.ALL_SUCCESS:
            only_skipped = ok + skipped == total
            return Decision.UPSTREAM_SKIPPED if only_skipped else Decision.UPSTREAM_FAILED
        case TriggerRule.ALL_FAILED:
            holds = failed == total
        case TriggerRule.NONE_FAILED:
            holds = ok + skipped == total
        case _:
            holds = True
    return Decision.READY if holds else Decision.TRIGGER_RULE
