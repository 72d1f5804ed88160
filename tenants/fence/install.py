"""Putting the fence up: after every migrate, whatever was missing (a receiver of post_migrate)."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import Any

from django.core.management.base import CommandError
from django.db import DEFAULT_DB_ALIAS, transaction
from django.db.utils import InternalError, ProgrammingError

from tenants.fence.rules import closing, declared, statements
from tenants.fence.standing import MONITOR, ROLES

INSUFFICIENT_PRIVILEGE = "42501"

_TABLES = """
SELECT c.relname,
       CASE c.relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END,
       CASE WHEN c.relname = 'tenant' THEN 'id'
            WHEN c.relkind <> 'v' AND EXISTS (SELECT 1 FROM pg_attribute a
                          WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped) THEN 'tenant_id' END,
       (SELECT d.description FROM pg_description d
         WHERE d.objoid = c.oid AND d.classoid = 'pg_class'::regclass AND d.objsubid = 0),
       c.relispartition
  FROM pg_class c
 WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v')
   AND pg_has_role(current_user, c.relowner, 'USAGE')
 ORDER BY c.relname
"""
_MISSING = """
SELECT r.name, g.rolname IS NOT NULL
  FROM unnest(%s::text[]) AS r (name) LEFT JOIN pg_roles g ON g.rolname = r.name
 WHERE g.rolname IS NULL OR NOT pg_has_role(current_user, g.oid,
           CASE WHEN current_setting('server_version_num')::int < 160000 THEN 'MEMBER' ELSE 'SET' END)
"""
_LEFT = """
SELECT rolname FROM pg_roles
 WHERE rolname ~ %s AND NOT EXISTS (
    SELECT 1 FROM pg_database d WHERE d.oid::text = split_part(rolname, '_', 2))
"""


def install_fence(using: str = DEFAULT_DB_ALIAS, plan: object = None, **_: Any) -> None:
    """Make the roles and bring every table's policies and rights to what `rules` says.

    Raises CommandError where the login may not make roles, with the statements that mend it."""
    from django.db import connections  # noqa: PLC0415, TID251  (apps are ready only now)

    if plan is None:
        return  # a flush: the tables are as they were
    wrapper = connections[using]
    with transaction.atomic(using=using), wrapper.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('millrace roles'))")
        cursor.execute(
            "SELECT 'millrace_' || oid || '_' FROM pg_database WHERE datname = current_database()"
        )
        prefix = cursor.fetchone()[0]
        _make_roles(cursor, [prefix + role for role in ROLES])
        rules = declared()
        known = {*wrapper.introspection.django_table_names(), *rules.requests}
        cursor.execute(_TABLES)
        for table, kind, tenant_column, stamp, partition in cursor.fetchall():
            if tenant_column is None and table not in known:
                continue  # another program's
            wanted = (
                closing(table)
                if partition
                else statements(table, tenant_column=tenant_column, rules=rules, prefix=prefix)
            )
            mark = "fence " + hashlib.sha256("\n".join(wanted).encode()).hexdigest()[:16]
            if stamp != mark:
                cursor.execute("; ".join(wanted))
                cursor.execute(f"COMMENT ON {kind} \"{table}\" IS '{mark}'")
        for function, roles in rules.functions.items():
            cursor.execute("SELECT to_regprocedure(%s) IS NOT NULL", [function])
            if not cursor.fetchone()[0]:
                continue  # migrated back to before there was any
            callers = ", ".join(prefix + role for role in roles)
            cursor.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")
            cursor.execute(f"GRANT EXECUTE ON FUNCTION {function} TO {callers}")


def _make_roles(cursor: Any, names: list[str]) -> None:
    """The roles, and the login a member of each.  Those of databases that are gone are removed."""
    cursor.execute(_MISSING, [names])
    missing = cursor.fetchall()
    if not missing:
        return
    wanted = [f"CREATE ROLE {name} NOLOGIN" for name, there in missing if not there]
    wanted.append(f"GRANT {', '.join(name for name, _ in missing)} TO CURRENT_USER")
    try:
        with transaction.atomic(using=cursor.db.alias):
            for statement in wanted:
                cursor.execute(statement)
    except ProgrammingError as error:
        if getattr(error.__cause__, "sqlstate", None) != INSUFFICIENT_PRIVILEGE:
            raise
        cursor.execute("SELECT current_user")
        (login,) = cursor.fetchone()
        mend = ";\n".join(wanted).replace("CURRENT_USER", f'"{login}"')
        raise CommandError(
            f"The database's login {login} may not make the roles that keep tenants apart. Let an"
            f' administrator of the database run this, or `ALTER ROLE "{login}" CREATEROLE`, and'
            f" then run migrate again:\n{mend};"
        ) from error
    cursor.execute(_LEFT, [f"^millrace_[0-9]+_({'|'.join(ROLES)})$"])
    for (name,) in cursor.fetchall():
        _try(cursor, f"DROP ROLE {name}")
    for name in names:
        if name.endswith(MONITOR):
            _try(cursor, f"GRANT pg_monitor TO {name}")


def _try(cursor: Any, statement: str) -> None:
    """Do what the login may not be allowed to do, and need not."""
    with suppress(ProgrammingError, InternalError), transaction.atomic(using=cursor.db.alias):
        cursor.execute(statement)
