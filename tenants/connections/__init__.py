"""Tenants' own connections to PostgreSQL: their roles and schemas, and the sessions that steps get.

    roles      a tenant's role and schema in the server's database: made, limited, mended, dropped
    external   the address of a database elsewhere, which a tenant may name instead
    asking     whether such a database answers
    pool       sessions of a process, kept open for a moment between steps
    session    the one connection of a step

See docs/connections.md and docs/decisions/tenant-connections.md."""

from tenants.connections.pool import ConnectionRefused, Pools
from tenants.connections.session import AnswerTooLarge, Opening, Session

__all__ = ["AnswerTooLarge", "ConnectionRefused", "Opening", "Pools", "Session"]
