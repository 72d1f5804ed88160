"""The second fence between tenants: PostgreSQL's row-level security.

A request works under a role of the database that sees one tenant's rows, whatever the code asks for;
who must look further goes through a door that has a name.  See docs/decisions/row-level-security.md."""

from tenants.fence.standing import (
    APP,
    HOOKS,
    INVITES,
    KEYS,
    MONITOR,
    NOBODY,
    OWNER,
    PEOPLE,
    RECORDS,
    STAFF,
    WAITS,
    WORKER,
    Standing,
    as_,
    current,
    enter,
    enter_staff,
    serve_as,
    through,
    within,
)

__all__ = [
    "APP",
    "HOOKS",
    "INVITES",
    "KEYS",
    "MONITOR",
    "NOBODY",
    "OWNER",
    "PEOPLE",
    "RECORDS",
    "STAFF",
    "WAITS",
    "WORKER",
    "Standing",
    "as_",
    "current",
    "enter",
    "enter_staff",
    "serve_as",
    "through",
    "within",
]
