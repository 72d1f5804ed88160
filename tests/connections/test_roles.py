"""A tenant's role and schema, as PostgreSQL has them."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from orchestrator import store
from orchestrator.store import clock
from tenants import services
from tenants.actors import SYSTEM
from tenants.connections import Pools, Session, roles
from tenants.errors import InvalidValue, RolesRefused
from tenants.models import Quota, Tenant, TenantDatabase
from tests.connections.looking import home, sql


def test_a_tenant_is_made_with_its_role_and_schema(tenant: Tenant) -> None:
    found = home(tenant)
    assert (found.limit, found.wanted, found.has_schema) == (10, 10, True)
    (oid,) = sql("SELECT oid FROM pg_database WHERE datname = current_database()")[0]
    assert found.role == f"millrace_{oid}_t_{tenant.pk}"
    flags = sql(
        "SELECT rolcanlogin, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls"
        " FROM pg_roles WHERE rolname = %s",
        found.role,
    )
    assert flags == [(True, False, False, False, False, False)]
    password = roles.password_of(tenant.database.password)
    assert len(password) >= 43
    assert password.encode() not in bytes(tenant.database.password)


def test_a_tenant_that_is_not_made_leaves_nothing(db: None) -> None:
    before = sql("SELECT count(*) FROM pg_roles")
    with pytest.raises(InvalidValue):
        services.create_tenant(slug="other", max_connections=-1, actor=SYSTEM)
    assert sql("SELECT count(*) FROM pg_roles") == before


def test_the_roles_limit_follows_the_quota(tenant: Tenant) -> None:
    services.set_quota(tenant=tenant, max_connections=3, actor=SYSTEM)
    assert home(tenant).limit == 3


def test_the_clock_brings_a_limit_that_changed_by_itself(tenant: Tenant) -> None:
    Quota.objects.filter(tenant=tenant).update(max_connections=4)
    assert clock.follow_limits(store.connection()) == 1
    assert clock.follow_limits(store.connection()) == 0
    assert home(tenant).limit == 4


def test_a_connection_is_the_tenants(session: Session, tenant: Tenant) -> None:
    link = session.open()
    row = link.execute("SELECT current_user, session_user, current_schema()").fetchone()
    assert row == (home(tenant).role, home(tenant).role, f"tenant_{tenant.pk}")
    link.execute("CREATE TABLE mine (n int)")
    assert sql(f"SELECT count(*) FROM tenant_{tenant.pk}.mine") == [(0,)]


def test_what_is_missing_is_made_again(tenant: Tenant, session: Session) -> None:
    role = home(tenant).role
    sql(f"DROP SCHEMA tenant_{tenant.pk}; DROP OWNED BY {role}; DROP ROLE {role}")
    assert home(tenant).limit is None
    assert services.repair_databases() == [tenant.slug]
    assert home(tenant).is_well
    assert services.repair_databases() == []
    assert session.open().execute("SELECT 1").fetchone() == (1,)


def test_a_role_that_is_gone_is_made_again_when_a_step_needs_it(
    tenant: Tenant, session: Session
) -> None:
    role = home(tenant).role
    sql(f"DROP OWNED BY {role}; DROP ROLE {role}")
    assert session.open().execute("SELECT current_user::text").fetchone() == (role,)


def test_a_password_that_the_tenant_changed_is_set_back(pools: Pools, tenant: Tenant) -> None:
    first = Session(pools, tenant.pk)
    first.open().execute("ALTER ROLE CURRENT_USER PASSWORD 'mine'")
    first.close()
    pools.close()
    second = Session(pools, tenant.pk)
    assert second.open().execute("SELECT 1").fetchone() == (1,)
    second.close()


def test_a_password_that_cannot_be_read_is_replaced_by_a_repair(
    tenant: Tenant, session: Session
) -> None:
    TenantDatabase.objects.filter(tenant=tenant).update(password=b"sealed with another key")
    assert services.repair_databases(slug=tenant.slug) == [tenant.slug]
    assert session.open().execute("SELECT 1").fetchone() == (1,)


def test_the_password_is_in_no_statement(tenant: Tenant, make: Callable[..., Tenant]) -> None:
    with CaptureQueriesContext(connection) as queries:
        other = make()
    password = roles.password_of(other.database.password)
    assert all(password not in query["sql"] for query in queries)


def test_a_login_that_may_not_make_roles_is_told_what_to_do(make: Callable[..., Tenant]) -> None:
    name = sql("SELECT current_database()")[0][0]
    sql("CREATE ROLE weak_owner")
    try:
        sql("GRANT weak_owner TO CURRENT_USER")
        sql("GRANT CREATE ON SCHEMA public TO weak_owner")
        sql("ALTER FUNCTION tenant_role_settle OWNER TO weak_owner")
        sql("GRANT SELECT ON pg_roles TO weak_owner")
        with pytest.raises(RolesRefused) as caught:
            make()
        assert "CREATEROLE" in caught.value.message
        assert f"ON DATABASE {name}" in caught.value.message
        assert not Tenant.objects.filter(slug__startswith="c").exists()
    finally:
        sql("ALTER FUNCTION tenant_role_settle OWNER TO CURRENT_USER")
        sql("DROP OWNED BY weak_owner; DROP ROLE weak_owner")


def test_sessions_of_a_role_end_on_command(pools: Pools, tenant: Tenant) -> None:
    session = Session(pools, tenant.pk)
    link = session.open()
    assert sql("SELECT tenant_role_end(%s, %s)", tenant.pk + 1, session.backend_pid) == [(False,)]
    assert sql("SELECT tenant_role_end(%s, %s)", tenant.pk, session.backend_pid) == [(True,)]
    with pytest.raises(psycopg.OperationalError):
        link.execute("SELECT 1")
    session.close()
