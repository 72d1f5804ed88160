"""Connections: Django's own, for work inside a request's transaction, and plain ones for processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import connections

Connection = psycopg.Connection[tuple[Any, ...]]


def connection() -> Connection:
    """Django's psycopg connection of this thread, inside whatever transaction is open."""
    wrapper = connections["default"]
    wrapper.ensure_connection()
    return wrapper.connection  # type: ignore[no-any-return]


def connect(*, name: str, direct: bool = False) -> Connection:
    """A connection of our own, in autocommit, with statements prepared at their first use.

    `direct` ones may not pass a pooler (they hold session locks): DATABASE_DIRECT_URL."""
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
def alone(what: str) -> Iterator[None]:
    """While no other process on the same database does this too; waits for it to end.

    Raises Django's OperationalError, as every command tells it."""
    connection()
    with connect(name=what, direct=True) as holder:
        holder.execute("SELECT pg_advisory_lock(hashtext(%s))", (f"millrace {what}",))
        yield
