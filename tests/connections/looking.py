"""What tests of connections ask the server's own database."""

from __future__ import annotations

from typing import Any

from django.db import connection

from tenants.connections import roles
from tenants.connections.roles import Home
from tenants.models import Tenant


def sql(statement: str, *params: Any) -> list[tuple[Any, ...]]:
    """Ask as the server's own login."""
    with connection.cursor() as cursor:
        cursor.execute(statement, params or None)
        return cursor.fetchall() if cursor.description else []


def home(tenant: Tenant) -> Home:
    """The tenant's role and schema."""
    return next(one for one in roles.homes() if one.tenant_id == tenant.pk)


def sessions(tenant: Tenant) -> int:
    """How many sessions the tenant's role has."""
    return int(
        sql(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = tenant_role_name(%s)", tenant.pk
        )[0][0]
    )
