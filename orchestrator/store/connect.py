"""Connections: Django's own, for work inside a request's transaction, and plain ones for processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from django.db import connections

from tenants import fence

Connection = psycopg.Connection[tuple[Any, ...]]


def connection() -> Connection:
    """Django's psycopg connection of this thread, inside whatever transaction is open."""
    wrapper = connections["default"]
    wrapper.ensure_connection()
    return wrapper.connection  # type: ignore[no-any-return]


_SET_ROLE = """
SELECT set_config('role', 'millrace_' || oid || '_' || %s, false)
  FROM pg_database WHERE datname = current_database()
"""


def connect(*, name: str, direct: bool = False, role: str | None = None) -> Connection:
    """A connection of our own, in autocommit, with statements prepared at their first use.

    `direct` ones may not pass a pooler (they hold session locks): DATABASE_DIRECT_URL.  Its role in
    the database is `role`, else what this process serves as; it stays the connection's."""
    opened = _open(name, direct=direct)
    role = role or fence.current().role
    if role is not None:
        try:
            opened.execute(_SET_ROLE, (role,))
        except BaseException:
            opened.close()
            raise
    return opened


def _open(name: str, *, direct: bool) -> Connection:
    settings: dict[str, Any] = {
        "application_name": f"millrace {name}",
        "autocommit": True,
        "prepare_threshold": 0,
        "connect_timeout": 5,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "options": "-c timezone=UTC",
    }
    if direct and (url := os.environ.get("DATABASE_DIRECT_URL")):
        return psycopg.connect(url, **settings)
    params = dict(connections["default"].get_connection_params())
    for key in ("cursor_factory", "context", "prepare_threshold", "options", "application_name"):
        params.pop(key, None)
    return psycopg.connect(**params, **settings)


@contextmanager
def for_a_moment() -> Iterator[None]:
    """In a thread of its own that uses Django's connection now and then: it is closed afterwards."""
    try:
        yield
    finally:
        let_go()


def let_go() -> None:
    """Close Django's connection of this thread, unless it has none or is in a transaction."""
    wrapper = connections["default"]
    if wrapper.connection is not None and not wrapper.in_atomic_block:
        wrapper.close()


@contextmanager
def alone(what: str) -> Iterator[None]:
    """While no other process on the same database does this too; waits for it to end.

    Raises Django's OperationalError, as every command tells it."""
    connection()
    with connect(name=what, direct=True) as holder:
        holder.execute("SELECT pg_advisory_lock(hashtext(%s))", (f"millrace {what}",))
        yield


def try_turn(connection: Connection, what: str, tenant_id: int) -> bool:
    """Whether nobody else does this for the tenant; nobody else may until the transaction ends."""
    row = connection.execute(
        "SELECT pg_try_advisory_xact_lock(hashtext(%s), %s::int)", (f"millrace {what}", tenant_id)
    ).fetchone()
    assert row is not None
    return bool(row[0])


@dataclass(frozen=True, slots=True)
class PoolUse:
    """This process's pool of connections: given out, at most, and who waits for one."""

    used: int
    most: int
    waiting: int


def pool_use() -> PoolUse | None:
    """How Django's pool of this process is used; None: it has none (web processes have)."""
    wrapper: Any = connections["default"]
    if not wrapper.settings_dict["OPTIONS"].get("pool"):
        return None
    stats = wrapper.pool.get_stats()
    return PoolUse(
        used=stats.get("pool_size", 0) - stats.get("pool_available", 0),
        most=stats.get("pool_max", 0),
        waiting=stats.get("requests_waiting", 0),
    )
