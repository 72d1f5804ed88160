"""Is the server well?  Each part's state, what was seen, and what mends it; within 2 s in all."""

from orchestrator.domain.health import Check, State, overall
from orchestrator.selectors.health.board import (
    checks,
    database_ready,
    look,
    refresh,
)
from orchestrator.selectors.health.looking import FRESH_S, LIMIT_S

__all__ = [
    "FRESH_S",
    "LIMIT_S",
    "Check",
    "State",
    "checks",
    "database_ready",
    "look",
    "overall",
    "refresh",
]
