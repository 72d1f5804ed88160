"""What becomes of a schedule's time while an earlier one's run has not ended."""

from __future__ import annotations

from enum import StrEnum

MOST_QUEUED = 100
"""Times that wait under `queue`; more are skipped.  (Those that are made up for wait besides.)"""


class Overlap(StrEnum):
    """What a schedule says of it; `allow` goes with a number."""

    SKIP = "skip"
    QUEUE = "queue"
    ALLOW = "allow"
    CANCEL_PREVIOUS = "cancel_previous"


class Decision(StrEnum):
    """What is done with one time.  `replace`: the runs before it are cancelled, and it starts."""

    START = "start"
    WAIT = "wait"
    SKIP = "skip"
    REPLACE = "replace"


def room(overlap: Overlap, limit: int) -> int:
    """How many runs of a schedule may go on at once, not counting what cancels others."""
    return limit if overlap is Overlap.ALLOW else 1


def decide(
    overlap: Overlap,
    limit: int,
    *,
    active: int,
    waiting: int,
    besides: int = 0,
    made_up: bool = False,
) -> Decision:
    """What to do with a time while `active` runs go on and `waiting` times wait before it, `besides` of
    which are made up for.

    `made_up`: it was missed, or is filled in; its run was asked for one by one, so where another
    would be skipped it waits."""
    if overlap is Overlap.CANCEL_PREVIOUS and not made_up:
        return Decision.REPLACE if active else Decision.START
    if active < room(overlap, limit) and waiting == 0:
        return Decision.START
    if made_up:
        return Decision.WAIT
    if overlap is Overlap.QUEUE:
        return Decision.WAIT if waiting - besides < MOST_QUEUED else Decision.SKIP
    return Decision.SKIP
