"""As whom this thread speaks to the database: its role there, and the tenant it may see."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

APP = "app"
"""Requests: one tenant's rows, and none until it is known whose."""
WORKER = "worker"
"""Workers, the clock and commands: every tenant's rows."""
STAFF = "staff"
"""The door of staff pages and the admin: every tenant's rows."""
MONITOR = "monitor"
"""The door of health and metrics: reads every tenant's rows and changes nothing."""
KEYS = "keys"
"""The door of the key lookup: the key with the prefix that was shown, and its tenant."""
PEOPLE = "people"
"""The door of a person who is known: their own memberships, and those tenants."""
HOOKS = "hooks"
"""The door of signed requests: the triggers of the tenant in the address."""
INVITES = "invites"
"""The door of an invitation's link: the invitation with the digest of its token, and its tenant."""
RECORDS = "records"
"""The door of the audit log: rows without a tenant are written, and not read."""
WAITS = "waits"
"""The door of those who wait for a run: whether runs with known ids have ended."""

ROLES = (APP, WORKER, STAFF, MONITOR, KEYS, PEOPLE, HOOKS, INVITES, RECORDS, WAITS)


@dataclass(frozen=True, slots=True)
class Standing:
    """`role` None is the login itself, which owns the tables and no policy holds back.

    `tenant` counts for requests; `subject` is whom a door was opened for (a key's prefix, a user's id,
    a tenant's slug, a token's digest)."""

    role: str | None
    tenant: int | None = None
    subject: str = ""


OWNER = Standing(None)
"""Migrations, and what must make roles or schemas."""
NOBODY = Standing(APP)
"""A request of which nothing is known yet: no tenant's rows."""

_SUBJECT = re.compile(r"[A-Za-z0-9_-]*")

_process = OWNER
_standing: ContextVar[Standing | None] = ContextVar("standing", default=None)


def current() -> Standing:
    """As whom the next statement is sent."""
    return _standing.get() or _process


def serve_as(standing: Standing) -> None:
    """What this whole process is, where nothing else is said: web processes are NOBODY."""
    global _process  # noqa: PLW0603  (said once, as the process begins)
    _process = standing


@contextmanager
def as_(standing: Standing) -> Iterator[None]:
    """Be this for a while."""
    token = _standing.set(standing)
    try:
        yield
    finally:
        _standing.reset(token)


@contextmanager
def within(tenant_id: int) -> Iterator[None]:
    """See this tenant's rows alone for a while."""
    with as_(Standing(APP, tenant_id)):
        yield


@contextmanager
def through(door: str, subject: object = "") -> Iterator[None]:
    """Look through a door (KEYS, PEOPLE, HOOKS, INVITES, RECORDS, WAITS, STAFF) for a while.

    `subject`: a key's prefix, a user's id, a tenant's slug, a token's digest in hexadecimal digits; any
    other text is nobody's."""
    text = str(subject)
    with as_(Standing(door, subject=text if _SUBJECT.fullmatch(text) else "")):
        yield


def enter(tenant_id: int) -> None:
    """See this tenant's rows alone for the rest of the request (`middleware.Fence` ends it)."""
    _standing.set(Standing(APP, tenant_id))


def enter_staff() -> None:
    """See every tenant's rows for the rest of the request, whose user is known to be staff."""
    _standing.set(Standing(STAFF))
