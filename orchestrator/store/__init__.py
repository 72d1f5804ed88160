"""The hot path: SQL with a name and a file, behind typed doors.  The only place with raw SQL
connections; everything else goes through services and selectors."""

from orchestrator.store.connect import (
    Connection,
    alone,
    connect,
    connection,
    for_a_moment,
    let_go,
    try_turn,
)

__all__ = ["Connection", "alone", "connect", "connection", "for_a_moment", "let_go", "try_turn"]
