"""Every table of tenants is fenced; a new one too, or a test here fails."""

from __future__ import annotations

import re

import pytest
from django.apps import apps
from django.db import connection, transaction
from django.db.utils import ProgrammingError

from orchestrator.store.functions import CLOSE, DROP, sources
from tenants import fence
from tenants.fence.rules import DOORS, declared
from tenants.fence.standing import ROLES
from tenants.models import Tenant
from tests.embedded.running import ROOT
from tests.fence.catalogue import insertion, loosen, owned, tables

REFUSED = "42501"
VIEWS = {"run_label"}
"""Views, which pass the policies: each holds the fence's condition itself, and a test here shows it."""


def execute(statement: str) -> int:
    """How many rows a statement touches; it is undone when it fails."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
        return int(cursor.rowcount)


def refused(statement: str) -> bool:
    """Whether the database refuses a statement for want of a right."""
    try:
        execute(statement)
    except ProgrammingError as error:
        return bool(getattr(error.__cause__, "sqlstate", None) == REFUSED)
    return False


def test_every_table_of_tenants_is_fenced(db: None) -> None:
    for table in tables():
        if table.partition:
            assert table.fenced, table.name
        elif table.owned or table.name == "tenant":
            assert table.fenced, table.name
            assert {"fence_app", "fence_every"} <= set(table.policies), table.name


def test_no_request_reaches_a_partition_itself(one: Tenant) -> None:
    partitions = [table.name for table in tables() if table.partition]
    assert partitions
    with fence.within(one.pk):
        for name in partitions:
            assert refused(f"SELECT 1 FROM {name}"), name


GRANTED = """
WITH whole AS (
    SELECT privilege_type FROM information_schema.role_table_grants
     WHERE table_name = %(table)s AND grantee LIKE 'millrace\\_%%\\_app'
), columns AS (
    SELECT p.privilege_type, string_agg(p.column_name, ', ' ORDER BY c.ordinal_position) AS names
      FROM information_schema.column_privileges p
      JOIN information_schema.columns c USING (table_schema, table_name, column_name)
     WHERE p.table_name = %(table)s AND p.grantee LIKE 'millrace\\_%%\\_app'
       AND p.privilege_type NOT IN (SELECT privilege_type FROM whole)
     GROUP BY 1
)
SELECT privilege_type FROM whole UNION ALL SELECT privilege_type || ' (' || names || ')' FROM columns
"""


def test_a_table_of_the_server_is_open_to_requests_only_as_its_app_says(db: None) -> None:
    said = declared().requests
    with connection.cursor() as cursor:
        for table in tables():
            if table.owned or table.name == "tenant" or table.partition:
                continue
            cursor.execute(GRANTED, {"table": table.name})
            wanted = set(re.findall(r"[A-Z]+(?: \([^)]*\))?", said.get(table.name, "")))
            assert {row[0] for row in cursor.fetchall()} == wanted, table.name


def test_another_tenants_rows_can_be_neither_seen_nor_changed(one: Tenant, other: Tenant) -> None:
    loosen()
    for table in owned():
        for tenant in (one, other):
            if table.name not in ("quota", "tenant_database"):  # every tenant has one
                execute(insertion(table.name, tenant.pk))
        foreign = f'"{table.name}" WHERE tenant_id = {one.pk}'
        rights = declared().requests.get(table.name, "SELECT, INSERT, UPDATE, DELETE").split(", ")
        assert execute(f"SELECT 1 FROM {foreign}") >= 1, table.name
        with fence.within(other.pk):
            assert execute(f"SELECT 1 FROM {foreign}") == 0, table.name
            assert execute(f'SELECT 1 FROM "{table.name}" WHERE tenant_id = {other.pk}') >= 1
            with connection.cursor() as cursor:
                cursor.execute(f'SELECT DISTINCT tenant_id FROM "{table.name}"')
                assert {row[0] for row in cursor.fetchall()} <= {other.pk}, table.name
        with fence.within(other.pk):
            for verb, statement in (
                ("UPDATE", f'UPDATE "{table.name}" SET tenant_id = tenant_id'),
                ("DELETE", f"DELETE FROM {foreign}"),
            ):
                if verb == "UPDATE" and verb in rights:
                    assert execute(f"{statement} WHERE tenant_id = {one.pk}") == 0, table.name
                    steal = f'UPDATE "{table.name}" SET tenant_id = {one.pk}'
                    assert refused(f"{steal} WHERE tenant_id = {other.pk}"), table.name
                elif verb in rights:
                    assert execute(statement) == 0, table.name
                else:
                    assert refused(statement), table.name
        with fence.as_(fence.NOBODY):
            assert execute(f'SELECT 1 FROM "{table.name}" WHERE tenant_id IS NOT NULL') == 0
        with fence.within(other.pk):
            execute_insert = insertion(table.name, one.pk)
            assert refused(execute_insert), table.name


def test_views_hold_the_condition_themselves(one: Tenant, other: Tenant) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT viewname FROM pg_views WHERE schemaname = current_schema()")
        assert {row[0] for row in cursor.fetchall()} - {
            "pg_stat_statements",
            "pg_stat_statements_info",
        } == VIEWS
    loosen()
    for tenant in (one, other):
        execute(insertion("run", tenant.pk))
    mine, all_ = f"SELECT 1 FROM run_label WHERE tenant_id = {one.pk}", "SELECT 1 FROM run_label"
    with fence.within(other.pk):
        assert (execute(mine), execute(all_)) == (0, 1)
        assert refused("DELETE FROM run_label")
    with fence.as_(fence.NOBODY):
        assert execute(all_) == 0
    with fence.as_(fence.Standing(fence.WORKER)):
        assert execute(mine) == 1


def test_a_tenants_own_row_alone_is_seen(one: Tenant, other: Tenant) -> None:
    with fence.within(one.pk):
        assert list(Tenant.objects.all()) == [one]
        for column in ("slug = 'mine'", "name = 'mine'", "suspended_at = NULL"):
            assert refused(f"UPDATE tenant SET {column}")
        assert refused(f"UPDATE tenant SET id = id + 1000 WHERE id = {one.pk}")  # its lock's column
        assert execute(f"SELECT 1 FROM tenant WHERE id = {one.pk} FOR UPDATE") == 1
        assert execute(f"SELECT 1 FROM tenant WHERE id = {other.pk} FOR NO KEY UPDATE") == 0
    with fence.as_(fence.NOBODY):
        assert not Tenant.objects.exists()


def test_functions_with_their_owners_rights_are_nobodys_from_the_first(db: None) -> None:
    with connection.cursor() as cursor, transaction.atomic():
        cursor.execute(DROP)
        for source in sources():
            cursor.execute(source)
        cursor.execute(CLOSE)
        cursor.execute(
            "SELECT proname FROM pg_proc WHERE prosecdef AND pronamespace = current_schema()::regnamespace"
            " AND proname LIKE 'engine%%' AND has_function_privilege('public', oid, 'EXECUTE')"
        )
        assert cursor.fetchall() == []
        transaction.set_rollback(True)


def test_cursors_that_pass_the_fence_are_on_sessions_with_a_role_of_their_own() -> None:
    raw = re.compile(r"\bpsycopg\.(Client|Server|Async)?Cursor\(")
    found = {
        str(file.relative_to(ROOT))
        for package in ("orchestrator", "tenants", "dashboard")
        for file in (ROOT / package).rglob("*.py")
        if raw.search(file.read_text())
    }
    # the clock's counts, the monitor's gauges and the doctor's looks, each on a connection opened as itself
    own = ("diagnosis", "gauges", "health", "rollups", "usage")
    assert found == {f"orchestrator/store/{name}.py" for name in own}


def test_no_role_of_ours_may_log_in_or_passes_the_fence(db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT rolname FROM pg_roles WHERE starts_with(rolname, 'millrace_' || ("
            " SELECT oid FROM pg_database WHERE datname = current_database()) || '_')"
            " AND (rolsuper OR rolbypassrls OR rolcanlogin OR rolcreaterole OR rolcreatedb)"
            " AND rolname !~ '_t_[0-9]+$'"
        )
        assert cursor.fetchall() == []


def test_the_workers_role_changes_every_tenants_rows_and_no_table(
    one: Tenant, other: Tenant
) -> None:
    with fence.as_(fence.Standing(fence.WORKER)):
        assert Tenant.objects.filter(pk__in=[one.pk, other.pk]).update(name="n") == 2
        assert refused("ALTER TABLE tenant ADD COLUMN x int")
        assert refused("UPDATE audit_entry SET actor = 'nobody'")
        assert refused("DELETE FROM audit_entry")
        assert refused("CREATE TABLE anything (x int)")


def test_every_role_is_known_to_the_cluster(db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT substring(rolname from '[a-z]+$') FROM pg_roles WHERE starts_with(rolname,"
            " 'millrace_' || (SELECT oid FROM pg_database WHERE datname = current_database()) || '_')"
        )
        assert set(ROLES) <= {row[0] for row in cursor.fetchall()}


def test_apps_say_only_what_is_there(db: None) -> None:
    names = {table.name for table in tables()} | VIEWS
    for config in apps.get_app_configs():
        rules = getattr(config, "fence", None)
        if rules is not None:
            assert {*rules.requests, *rules.all} <= names


@pytest.mark.parametrize("door", DOORS)
def test_a_door_leads_to_its_tables_alone(one: Tenant, door: str) -> None:
    with fence.through(door):
        for table in tables():
            seen = DOORS[door].get(table.name)
            if seen is None:
                assert refused(f'SELECT 1 FROM "{table.name}"'), table.name
            assert refused(f'DELETE FROM "{table.name}"'), table.name
