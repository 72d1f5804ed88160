"""Where a tenant's sessions lead, read from its row by the processes that run steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg

from tenants.connections import external
from tenants.connections.roles import password_of
from tenants.sealing import Unreadable, unseal

Connection = psycopg.Connection[tuple[Any, ...]]

SETTINGS = {
    # What a session begins with, and returns to when it is reset.
    "timezone": "UTC",
    "statement_timeout": "3600s",  # a step's own timeout ends a statement before
    "idle_in_transaction_session_timeout": "3600s",
    "client_connection_check_interval": "1s",  # a killed process's statements end with it
    "work_mem": "16MB",
    "hash_mem_multiplier": "1",
    "temp_buffers": "8MB",
    "maintenance_work_mem": "64MB",
    "max_parallel_workers_per_gather": "0",
    "max_parallel_maintenance_workers": "0",
}
NOT_OURS = ("user", "password", "passfile", "options", "application_name", "hostaddr")
"""Of the server's own parameters: what a tenant's session does not share."""

_READ = """
SELECT tenant_role_name(t.id), tenant_schema_name(t.id), d.password, d.external
  FROM tenant t LEFT JOIN tenant_database d ON d.tenant_id = t.id
 WHERE t.id = %s
"""
_WAITED = """
UPDATE tenant_database SET wait_count = wait_count + %s, waited_s = waited_s + %s, waited_at = now()
 WHERE tenant_id = %s
"""
_FREE = """
SELECT r.rolconnlimit > (SELECT count(*) FROM pg_stat_activity a WHERE a.usesysid = r.oid)
  FROM pg_roles r WHERE r.rolname = tenant_role_name(%s)
"""


class Unusable(Exception):
    """The tenant's address cannot be read, or may not be used."""


@dataclass(frozen=True, slots=True)
class Address:
    """What to connect with.  `target`: a database elsewhere, which is judged anew for each session."""

    params: dict[str, str]
    target: external.Target | None = None


def read(connection: Connection, tenant_id: int, *, own: bool = False) -> Address:
    """The address of a tenant; with `own`, of its schema here even where it names another database.

    Raises Unusable, psycopg.Error."""
    row = connection.execute(_READ, (tenant_id,)).fetchone()
    if row is None or row[2] is None:
        raise Unusable("the tenant has no role: run manage.py tenant_repair")
    role, schema, password, elsewhere = row
    try:
        if elsewhere is not None and not own:
            address = unseal(bytes(elsewhere), purpose=external.PURPOSE)
            return Address({}, external.read(address))
        secret = password_of(password)
    except Unreadable:
        raise Unusable(
            "its password was sealed with another SECRET_KEY: name that in SECRET_KEY_FALLBACKS, or"
            " run manage.py tenant_repair with its slug"
        ) from None
    info = connection.info
    params = {k: v for k, v in info.get_parameters().items() if k not in NOT_OURS}
    settings = " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())
    return Address(
        {
            **params,
            "dbname": info.dbname,
            "user": role,
            "password": secret,
            "application_name": "millrace step",
            "options": f"{settings} -c search_path={schema}",
            "connect_timeout": "5",
            "keepalives_idle": "10",
            "keepalives_interval": "5",
            "keepalives_count": "3",
        }
    )


def has_room(connection: Connection, tenant_id: int) -> bool:
    """Whether the role could have one session more, so that a refusal has another cause."""
    row = connection.execute(_FREE, (tenant_id,)).fetchone()
    return row is None or bool(row[0])


def add_waits(connection: Connection, tenant_id: int, count: int, seconds: float) -> None:
    """Add to what the tenant's steps have waited for connections."""
    connection.execute(_WAITED, (count, seconds, tenant_id))


def end_session(connection: Connection, tenant_id: int, pid: int) -> None:
    """End a session of the tenant's role, whatever it does."""
    connection.execute("SELECT tenant_role_end(%s, %s)", (tenant_id, pid))
