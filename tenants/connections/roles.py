"""A tenant's role and schema, by the SQL functions beside this file; in whatever transaction is open."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction
from django.db.utils import ProgrammingError

from tenants.errors import RolesRefused
from tenants.sealing import seal, unseal

PURPOSE = "tenants' roles"
"""What the passwords are sealed for."""
REFUSED = "42501"
"""SQLSTATE insufficient_privilege."""


@dataclass(frozen=True, slots=True)
class Home:
    """How a tenant's role and schema are; `limit` None: there is no role."""

    tenant_id: int
    slug: str
    role: str
    limit: int | None
    wanted: int
    """Its `max_connections`."""
    has_schema: bool

    @property
    def is_well(self) -> bool:
        """Whether all is as it should be."""
        return self.has_schema and self.limit == self.wanted


_LOOK = """
SELECT t.id, t.slug, tenant_role_name(t.id), r.rolconnlimit, q.max_connections,
       to_regnamespace(tenant_schema_name(t.id)) IS NOT NULL AND d.tenant_id IS NOT NULL
  FROM tenant t
  JOIN quota q ON q.tenant_id = t.id
  LEFT JOIN tenant_database d ON d.tenant_id = t.id
  LEFT JOIN pg_roles r ON r.rolname = tenant_role_name(t.id)
 ORDER BY t.id
"""


_EXPOSED = """
SELECT array_remove(ARRAY[
    CASE WHEN has_schema_privilege('public', 'public', 'CREATE') THEN 'make things in the schema public' END,
    CASE WHEN has_function_privilege('public', 'pg_advisory_lock(bigint)', 'EXECUTE')
         THEN 'take advisory locks, which the clock and the workers rely on' END], NULL)
"""


def exposed() -> list[str]:
    """What PostgreSQL lets every role do, and so tenants' roles, that it should not."""
    with connection.cursor() as cursor:
        cursor.execute(_EXPOSED)
        return list(cursor.fetchone()[0])


def are_known() -> bool:
    """Whether the database is migrated so far that tenants have roles."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('tenant_database') IS NOT NULL")
        return bool(cursor.fetchone()[0])


def homes() -> list[Home]:
    """Every tenant's role and schema, as they are."""
    with connection.cursor() as cursor:
        cursor.execute(_LOOK)
        return [Home(*row) for row in cursor.fetchall()]


def settle(*, tenant_id: int, password: str, limit: int) -> None:
    """Make the role and the schema, or bring them back to what they should be.

    The password goes to PostgreSQL as a SCRAM verifier, so that no log of it can hold the password.
    Raises RolesRefused."""
    with _may(), connection.cursor() as cursor:
        cursor.execute("SELECT tenant_role_name(%s)", [tenant_id])
        (role,) = cursor.fetchone()
        link: Any = cursor.connection
        verifier = link.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
        cursor.execute(
            "SELECT tenant_role_settle(%s, %s, %s)", [tenant_id, verifier.decode(), limit]
        )


def set_limit(*, tenant_id: int, limit: int) -> bool:
    """Set how many sessions the role may have; false where that was so.  Raises RolesRefused."""
    with _may(), connection.cursor() as cursor:
        cursor.execute("SELECT tenant_role_limit(%s, %s)", [tenant_id, limit])
        return bool(cursor.fetchone()[0])


def drop(*, tenant_id: int) -> None:
    """Drop the schema with all in it, and the role.  Raises RolesRefused."""
    with _may(), connection.cursor() as cursor:
        cursor.execute("SELECT tenant_role_drop(%s)", [tenant_id])


def new_password() -> bytes:
    """A password for a role, sealed."""
    return seal(secrets.token_urlsafe(32), purpose=PURPOSE)


def password_of(sealed: bytes | memoryview) -> str:
    """The password that was sealed.  Raises Unreadable."""
    return unseal(bytes(sealed), purpose=PURPOSE)


@contextmanager
def _may() -> Iterator[None]:
    """Tell a login that may not make roles what to do about it; what came before stays whole."""
    try:
        with transaction.atomic():
            yield
    except ProgrammingError as error:
        if getattr(error.__cause__, "sqlstate", None) != REFUSED:
            raise
        with connection.cursor() as cursor:
            cursor.execute("SELECT quote_ident(session_user), quote_ident(current_database())")
            login, database = cursor.fetchone()
        raise RolesRefused(login, database, str(error.__cause__).splitlines()[0]) from None
