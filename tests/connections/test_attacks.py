"""A tenant's SQL as an attacker writes it: what its role may not see, change or take from others."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import errors

from tenants.connections import Pools, Session
from tenants.models import Tenant
from tests.connections.looking import home, sql

Link = psycopg.Connection[tuple[Any, ...]]

REFUSED = [
    # the engine's tables
    "SELECT * FROM public.tenant",
    "SELECT * FROM public.tenant_database",
    "SELECT * FROM public.run",
    "UPDATE public.quota SET max_connections = 1000",
    "DELETE FROM public.audit_entry",
    "INSERT INTO public.tenant (slug) VALUES ('mine')",
    "TRUNCATE public.step_run CASCADE",
    "COPY public.api_key TO STDOUT",
    "DROP TABLE public.run",
    "BEGIN; LOCK TABLE public.tenant_load",
    "CREATE TRIGGER t BEFORE UPDATE ON public.run EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE TABLE public.mine (n int)",
    "CREATE FUNCTION public.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    # what makes and ends roles
    "SELECT public.tenant_role_settle(1, 'x', 1000)",
    "SELECT public.tenant_role_limit(1, 1000)",
    "SELECT public.tenant_role_drop(1)",
    "SELECT public.tenant_role_end(1, 1)",
    "CREATE ROLE mine",
    "ALTER ROLE CURRENT_USER CONNECTION LIMIT 1000",
    "ALTER ROLE CURRENT_USER SUPERUSER",
    "ALTER ROLE CURRENT_USER CREATEROLE",
    "GRANT pg_read_all_data TO CURRENT_USER",
    "SET ROLE pg_monitor",
    "SET ROLE {owner}",
    "SET SESSION AUTHORIZATION {owner}",
    # its own schema is the server's
    "ALTER SCHEMA {schema} RENAME TO other",
    "DROP SCHEMA {schema}",
    "CREATE SCHEMA mine",
    # other tenants
    "SELECT * FROM {other_schema}.secret",
    "CREATE TABLE {other_schema}.mine (n int)",
    "DROP TABLE {other_schema}.secret",
    "SET ROLE {other_role}",
    "ALTER ROLE {other_role} PASSWORD 'mine'",
    "SELECT pg_terminate_backend({other_pid})",
    "SELECT pg_cancel_backend({other_pid})",
    # files and programs
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_read_binary_file('PG_VERSION')",
    "SELECT pg_ls_dir('.')",
    "SELECT pg_stat_file('PG_VERSION')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT lo_export(1, '/tmp/mine')",
    "COPY (SELECT 1) TO '/tmp/mine'",
    "COPY (SELECT 1) TO PROGRAM 'id'",
    "CREATE FUNCTION f() RETURNS int LANGUAGE c AS 'libc.so.6', 'system'",
    "LOAD 'libc.so.6'",
    "SELECT current_setting('data_directory')",
    "SELECT pg_current_logfile()",
    # the server
    "ALTER SYSTEM SET work_mem = '64GB'",
    "ALTER DATABASE {database} SET work_mem = '64GB'",
    "SELECT pg_reload_conf()",
    "SELECT pg_switch_wal()",
    "SELECT pg_stat_reset()",
    "SELECT pg_advisory_lock(1)",
    "SELECT pg_try_advisory_lock_shared(1, 2)",
    "SELECT pg_advisory_xact_lock(hashtext('millrace functions'))",
    "CREATE EXTENSION dblink",
    "CREATE DATABASE mine",
    "CREATE EVENT TRIGGER t ON ddl_command_end EXECUTE FUNCTION pg_catalog.now()",
    "CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1' PUBLICATION p",
    "CREATE PUBLICATION p FOR ALL TABLES",
    "SET temp_file_limit = -1",
    "SET session_preload_libraries = 'mine'",
    "SET session_replication_role = replica",
    "SELECT * FROM pg_authid",
    "SELECT * FROM pg_file_settings",
    "SELECT * FROM pg_hba_file_rules",
]


@pytest.fixture
def other(make: Callable[..., Tenant], pools: Pools) -> Any:
    """Another tenant with a secret, and a step that runs."""
    tenant = make()
    session = Session(pools, tenant.pk)
    session.open().execute("CREATE TABLE secret AS SELECT 'hidden' AS text")
    session.open().execute("SELECT 'a statement of another tenant'")
    yield tenant, session
    session.close()


def test_what_a_tenants_role_may_not(link: Link, tenant: Tenant, other: Any) -> None:
    foreign, session = other
    names = {
        "owner": sql("SELECT quote_ident(current_user)")[0][0],
        "database": sql("SELECT quote_ident(current_database())")[0][0],
        "schema": f"tenant_{tenant.pk}",
        "other_schema": f"tenant_{foreign.pk}",
        "other_role": home(foreign).role,
        "other_pid": str(session.backend_pid),
    }
    allowed = []
    for statement in REFUSED:
        text = statement
        for name, value in names.items():
            text = text.replace("{" + name + "}", value)
        try:
            link.execute(text)
        except (errors.InsufficientPrivilege, errors.InvalidGrantOperation):
            link.rollback()
        except psycopg.Error as error:
            allowed.append(f"{text}: {error.sqlstate} {error}")
        else:
            allowed.append(text)
    assert allowed == []
    assert session.open().execute("SELECT text FROM secret").fetchone() == ("hidden",)


def test_no_relation_outside_its_schema_is_open_to_it(link: Link, tenant: Tenant) -> None:
    rows = link.execute(
        "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', %s)"
        "   AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')"
        "   AND has_schema_privilege(n.oid, 'USAGE')"
        "   AND CASE WHEN c.relkind = 'S' THEN has_sequence_privilege(c.oid, 'USAGE, SELECT, UPDATE')"
        "       ELSE has_table_privilege(c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE') END",
        (f"tenant_{tenant.pk}",),
    ).fetchall()
    assert [name for (name,) in rows if "pg_stat_statements" not in name] == []


def test_no_function_with_others_rights_is_open_to_it(link: Link) -> None:
    rows = link.execute(
        "SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
        " WHERE p.prosecdef AND n.nspname <> 'pg_catalog' AND has_function_privilege(p.oid, 'EXECUTE')"
    ).fetchall()
    assert rows == []


def test_others_statements_are_hidden_from_it(link: Link, tenant: Tenant, other: Any) -> None:
    rows = link.execute(
        "SELECT query FROM pg_stat_activity WHERE usename IS DISTINCT FROM current_user"
    ).fetchall()
    assert rows
    assert {query for (query,) in rows} <= {"<insufficient privilege>", None, ""}


def test_a_statement_that_swallows_its_cancel_is_ended(pools: Pools, tenant: Tenant) -> None:
    import threading

    from orchestrator.store import connection
    from tenants.connections import addresses

    session = Session(pools, tenant.pk)
    link = session.open()
    pid = session.backend_pid
    assert pid is not None
    failed: list[psycopg.Error] = []

    def run() -> None:
        try:
            link.execute(
                "DO $$ BEGIN LOOP BEGIN PERFORM set_config('statement_timeout', '0', false);"
                " PERFORM set_config('client_connection_check_interval', '0', false);"
                " PERFORM pg_sleep(60);"
                " EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$"
            )
        except psycopg.Error as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    wait_for(f"SELECT 1 FROM pg_stat_activity WHERE pid = {pid} AND wait_event = 'PgSleep'")
    session.cut()
    addresses.end_session(connection(), tenant.pk, pid)
    thread.join(5)
    assert failed
    wait_for(f"SELECT 1 WHERE NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = {pid})")
    session.close()


def wait_for(query: str) -> None:
    """Ask until there is a row."""
    end = time.monotonic() + 5
    while not sql(query):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_memory_begins_small_and_files_are_bounded(link: Link) -> None:
    asked = "SELECT name, setting FROM pg_settings WHERE name = ANY (%s)"
    names = ["work_mem", "hash_mem_multiplier", "temp_buffers", "temp_file_limit"]
    found: dict[str, str] = dict(link.execute(asked, (names,)).fetchall())
    assert found == {
        "work_mem": "16384",
        "hash_mem_multiplier": "1",
        "temp_buffers": "1024",
        "temp_file_limit": str(2 * 1024 * 1024),
    }
