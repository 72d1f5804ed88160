"""The SQL functions that make and mend tenants' roles and schemas, installed after every migrate."""

from __future__ import annotations

from pathlib import Path

from django.db import connections, transaction

FOLDER = Path(__file__).parent / "sql"

# They run with their owner's rights, so tenants' roles, which are of PUBLIC too, may not call them;
# the server's own that make tenants and run steps may, where it has such.
GUARD = """
DO $$
DECLARE
    v_ours text := format('millrace_%s_', (SELECT oid FROM pg_database WHERE datname = current_database()));
    v_function regprocedure;
    v_role name;
BEGIN
    FOR v_function IN SELECT p.oid::regprocedure FROM pg_proc p
                       WHERE p.pronamespace = current_schema()::regnamespace
                         AND p.proname LIKE 'tenant\\_role\\_%' AND p.prosecdef LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', v_function);
        FOR v_role IN SELECT rolname FROM pg_roles
                       WHERE rolname IN (v_ours || 'staff', v_ours || 'worker') LOOP
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', v_function, v_role);
        END LOOP;
    END LOOP;
    -- Advisory locks: the clock and the workers rely on theirs, so no tenant may take any.
    FOR v_function IN SELECT oid::regprocedure FROM pg_proc
                       WHERE pronamespace = 'pg_catalog'::regnamespace
                         AND proname ~ '^pg_(try_)?advisory_(xact_)?lock(_shared)?$'
                         AND has_function_privilege(oid, 'EXECUTE WITH GRANT OPTION') LOOP
        IF has_function_privilege('public', v_function, 'EXECUTE') THEN
            EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', v_function);
        END IF;
        FOR v_role IN SELECT rolname FROM pg_roles
                       WHERE starts_with(rolname, v_ours) AND NOT starts_with(rolname, v_ours || 't_') LOOP
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', v_function, v_role);
        END LOOP;
    END LOOP;
END
$$
"""


def install_functions(using: str = "default", plan: object = None, **_: object) -> None:
    """Put the functions of this release into the database (a receiver of post_migrate)."""
    if plan is None:
        return  # a flush: they are there
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        cursor.execute(
            "SELECT quote_ident(current_schema()), to_regclass('tenant_database') IS NOT NULL"
        )
        here, is_there = cursor.fetchone()
        if not is_there:
            return  # migrated back to before there were any
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('millrace functions'))")
        for file in sorted(FOLDER.glob("*.sql")):
            cursor.execute(file.read_text().replace("@here@", here))
        cursor.execute(GUARD)


def guard_functions(using: str = "default", plan: object = None, **_: object) -> None:
    """Say again who may call them (a receiver of post_migrate, once the server's own roles are there)."""
    if plan is None:
        return
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        cursor.execute(GUARD)
