"""Servers from outside, for the tests marked `external`.  A pytest plugin (see pyproject.toml): where
nothing answers, those tests are left out and the header says so.

EXTERNAL_DATABASE_URL is a PostgreSQL in which databases may be made, EXTERNAL_BROKER_URL the broker,
EXTERNAL_CHANNELS_URL the Redis of the channel layer; by default this machine's standard ports.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

DEFAULTS = {
    "EXTERNAL_DATABASE_URL": "postgresql://postgres@127.0.0.1:5432/postgres",
    "EXTERNAL_BROKER_URL": "redis://127.0.0.1:6379/9",
    "EXTERNAL_CHANNELS_URL": "redis://127.0.0.1:6379/9",
}


def address(name: str) -> str:
    """The address that a variable names, or its default."""
    return os.environ.get(name) or DEFAULTS[name]


@cache
def silent() -> tuple[str, ...]:
    """The servers (host:port) that do not answer."""
    places = {urlsplit(address(name)) for name in DEFAULTS}
    return tuple(
        sorted(f"{p.hostname}:{p.port}" for p in places if not _answers(p.hostname, p.port))
    )


@contextmanager
def servers() -> Iterator[dict[str, str]]:
    """Environment variables of a system on them, with a new database that is dropped at the end."""
    database, admin = f"millrace_test_{uuid4().hex[:12]}", address("EXTERNAL_DATABASE_URL")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
    try:
        yield {
            "DATABASE_URL": urlunsplit(urlsplit(admin)._replace(path=f"/{database}")),
            "BROKER_URL": address("EXTERNAL_BROKER_URL"),
            "CHANNELS_URL": address("EXTERNAL_CHANNELS_URL"),
        }
    finally:
        with psycopg.connect(admin, autocommit=True) as connection:
            roles = connection.execute(
                "SELECT rolname FROM pg_roles, pg_database"
                " WHERE datname = %s AND starts_with(rolname, format('millrace_%%s_', pg_database.oid))",
                (database,),
            ).fetchall()
            drop = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database))
            connection.execute(drop)
            for (role,) in roles:  # they are the cluster's, and stay when their database goes
                connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the marked tests out where a server is missing."""
    left_out = [item for item in items if item.get_closest_marker("external")]
    if not left_out or not silent():
        return
    items[:] = [item for item in items if not item.get_closest_marker("external")]
    config.hook.pytest_deselected(items=left_out)


def pytest_report_collectionfinish() -> str:
    """What the header says of them."""
    if silent():
        return f"left out the tests marked external: nothing answers at {', '.join(silent())}"
    return f"tests marked external use {address('EXTERNAL_BROKER_URL').split(':')[0]} as broker"


def _answers(host: str | None, port: int | None) -> bool:
    try:
        with socket.create_connection((host or "127.0.0.1", port or 0), timeout=2):
            return True
    except OSError:
        return False
