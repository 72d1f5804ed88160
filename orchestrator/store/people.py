"""Rows of people that nobody asks for any more."""

from __future__ import annotations

from orchestrator.store.connect import Connection

ENDED_DAYS = 90


def forget_sessions(connection: Connection, *, limit: int) -> int:
    """Delete sessions that have expired, at most so many; answers how many."""
    return connection.execute(
        "DELETE FROM session s USING (SELECT o.session_key AS key FROM session o"
        " WHERE o.expire_date < clock_timestamp() LIMIT %s) o WHERE s.session_key = o.key",
        (limit,),
    ).rowcount


def forget_invitations(connection: Connection, *, limit: int) -> int:
    """Delete invitations whose time was over 90 days ago, at most so many; answers how many."""
    return connection.execute(
        "DELETE FROM invitation i USING (SELECT o.id FROM invitation o"
        " WHERE o.expires_at < clock_timestamp() - %s * interval '1 day' LIMIT %s) o"
        " WHERE i.id = o.id",
        (ENDED_DAYS, limit),
    ).rowcount
