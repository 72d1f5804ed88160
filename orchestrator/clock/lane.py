"""What the clock does, and what of it shares a thread and a connection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.store import Connection

STUCK_S = 60.0
"""A statement that takes so long, where others take milliseconds, stands before its lane's other duties."""
LONG_S = 900.0


@dataclass(frozen=True, slots=True)
class Duty:
    """Something to do every `interval_s`; `act` answers how much it changed."""

    name: str
    interval_s: float
    act: Callable[[Connection], int]


@dataclass(frozen=True, slots=True)
class Lane:
    """Duties that one thread does over one connection, whichever is due first.  None of them may take
    longer than its mates can wait; a statement of theirs ends after `limit_s`."""

    name: str
    duties: tuple[Duty, ...]
    limit_s: float = STUCK_S
