"""Undoing a run: which steps, and in which order.

The engine does the same with counters in SQL; these are what that SQL is tested against.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

from orchestrator.domain import graph
from orchestrator.domain.statuses import StepState

Node = TypeVar("Node", int, str)

COMPENSATION = -1
"""The batch of a step's compensation among its step runs."""
UNDO = -2
"""The batch of its undo."""
MOST_EXTRA_ATTEMPTS = 3
"""How many attempts a compensation may grant by `Retry()`, for each step run."""

CUT_OFF = frozenset({"timeout", "heartbeat_timeout", "lost"})
"""Codes of failures that leave it unknown how far the step came."""
ENDED_WITH_RUN = frozenset({"cancelled", "upstream"})
"""Codes of steps that were cut off with their run: the code itself, or the child run it waited for."""


def is_undoable(
    state: str, *, handled: bool, started: bool, suspect: bool, code: str | None
) -> bool:
    """Whether a step that ended so is undone, if it has an `undo`.

    One that succeeded is; and one that had begun and whose end is unknown (its undo is told so by
    `ctx.uncertain`).  `suspect`: its process died, and no attempt has ended since.  `code`: its last
    error's.  A handled failure is not undone.
    """
    if handled:
        return False
    if state == StepState.SUCCEEDED:
        return True
    if state == StepState.FAILED:
        return code in CUT_OFF
    if state == StepState.CANCELLED:
        return started and (suspect or code is None or code in CUT_OFF | ENDED_WITH_RUN)
    return False


def may_undo(
    parents: Mapping[Node, Sequence[Node]], undoable: Collection[Node], ended: Collection[Node]
) -> frozenset[Node]:
    """The undos that may run now: those that have not ended, while those of all their steps'
    descendants have.  `undoable` are the nodes that are to be undone."""
    held: set[Node] = set()
    for node in undoable:
        if node not in ended:
            held |= graph.ancestors(parents, node)
    return frozenset(node for node in undoable if node not in ended and node not in held)
