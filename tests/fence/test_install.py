"""The fence is put up by migrate, and by nobody who may not."""

from __future__ import annotations

import pytest
from django.core.management.base import CommandError
from django.db import connection, transaction

from tenants.fence.install import _make_roles, install_fence


def comments() -> dict[str, str]:
    """Each table's mark: the fence as it was put up."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.relname, d.description FROM pg_description d JOIN pg_class c ON c.oid = d.objoid"
            " WHERE d.classoid = 'pg_class'::regclass AND d.description LIKE 'fence %%'"
        )
        return dict(cursor.fetchall())


def test_what_was_taken_down_is_put_up_again_and_the_rest_left_alone(db: None) -> None:
    install_fence(plan=())  # partitions that other tests have made
    before = comments()
    with connection.cursor() as cursor:
        cursor.execute("DROP POLICY fence_app ON pool")
        cursor.execute("COMMENT ON TABLE pool IS NULL")
        install_fence(plan=())
        cursor.execute("SELECT count(*) FROM pg_policies WHERE tablename = 'pool'")
        assert cursor.fetchone() == (3,)
    assert comments() == before


def test_a_new_table_of_tenants_is_fenced_by_itself(db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE novelty (tenant_id int NOT NULL, text text)")
        install_fence(plan=())
        cursor.execute("SELECT policyname FROM pg_policies WHERE tablename = 'novelty' ORDER BY 1")
        assert cursor.fetchall() == [("fence_app",), ("fence_every",)]


def test_a_login_that_may_not_make_roles_is_told_what_mends_it(db: None) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("CREATE ROLE millrace_poor")
        cursor.execute("GRANT millrace_poor TO CURRENT_USER")
        cursor.execute("SET LOCAL ROLE millrace_poor")
        with pytest.raises(CommandError) as caught:
            _make_roles(cursor, ["millrace_0_app"])
        cursor.execute("SET LOCAL ROLE NONE")
        cursor.execute("DROP ROLE millrace_poor")
    assert 'ALTER ROLE "millrace_poor" CREATEROLE' in str(caught.value)
    assert "CREATE ROLE millrace_0_app NOLOGIN;" in str(caught.value)
    assert 'GRANT millrace_0_app TO "millrace_poor";' in str(caught.value)


def test_roles_of_databases_that_are_gone_are_removed(db: None) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("CREATE ROLE millrace_1_app")  # 1 is template1's number: not gone
        cursor.execute("CREATE ROLE millrace_4294967295_app")
        cursor.execute("CREATE ROLE millrace_4294967295_more")
        _make_roles(cursor, ["millrace_1_monitor"])
        cursor.execute(r"SELECT rolname FROM pg_roles WHERE rolname ~ '^millrace_(1|4294967295)_'")
        left = {name for (name,) in cursor.fetchall()}
        transaction.set_rollback(True)
    assert left == {"millrace_1_app", "millrace_1_monitor", "millrace_4294967295_more"}
