"""As whom a statement is sent: with it, for it alone, whatever went before."""

from __future__ import annotations

import threading

import pytest
from django.db import connection, transaction
from django.db.utils import DataError, ProgrammingError
from psycopg import NotSupportedError

from orchestrator import store
from tenants import fence
from tenants.models import Tenant
from tests.store.test_round_trips import traffic

WHO = "SELECT current_user::text, current_setting('millrace.tenant', true)"


def who() -> tuple[str, str]:
    """The role's last word, and the tenant, of the next statement."""
    with connection.cursor() as cursor:
        cursor.execute(WHO)
        user, tenant = cursor.fetchone()
        return user.rsplit("_", 1)[-1], tenant or ""


@pytest.mark.django_db(transaction=True)
def test_nothing_stays_on_the_connection() -> None:
    with fence.within(7):
        assert who() == ("app", "7")
        assert store.connection().execute(WHO).fetchone()[1] == "7"  # type: ignore[index]
    assert who() == ("millrace", "")
    with pytest.raises(DataError), fence.within(7), connection.cursor() as cursor:
        cursor.execute("SELECT 1 / 0")
    assert who() == ("millrace", "")


@pytest.mark.django_db(transaction=True)
def test_the_fence_costs_no_round_trip() -> None:
    with fence.within(7):
        who()  # asks once a connection what its database's roles are called
        with traffic(store.connection()) as counted:
            who()
        assert (counted.statements, counted.round_trips) == (1, 1)


def test_standings_nest_within_a_transaction(db: None) -> None:
    with fence.within(7):
        with transaction.atomic():
            with fence.within(8):
                assert who() == ("app", "8")
            assert who() == ("app", "7")
        with fence.as_(fence.NOBODY):
            assert who() == ("app", "")
        with fence.through(fence.STAFF):
            assert who()[0] == "staff"
        with fence.as_(fence.OWNER):
            assert who()[0] == "millrace"
        assert who() == ("app", "7")
    assert who()[0] == "millrace"


def test_a_savepoint_that_is_rolled_back_opens_nothing(db: None) -> None:
    savepoint = transaction.savepoint()
    with fence.within(7):
        assert who() == ("app", "7")
        with pytest.raises(DataError), connection.cursor() as cursor:
            cursor.execute("SELECT 1 / 0")
        transaction.savepoint_rollback(savepoint)
        assert who() == ("app", "7")


def test_many_statements_and_pipelines_are_fenced_too(one: Tenant, other: Tenant) -> None:
    with fence.within(one.pk):
        with connection.cursor() as cursor:
            cursor.executemany("SELECT id FROM tenant WHERE id = %s", [(other.pk,), (one.pk,)])
            assert cursor.fetchall() == [(one.pk,)]
        inner = store.connection()
        with inner.pipeline():
            mine, foreign = (
                inner.execute("SELECT id FROM tenant WHERE id = %s", (tenant.pk,))
                for tenant in (one, other)
            )
            assert (mine.fetchall(), foreign.fetchall()) == ([(one.pk,)], [])


def test_statements_keep_their_results_and_parameters(one: Tenant) -> None:
    with fence.within(one.pk), connection.cursor() as cursor:
        cursor.execute("SELECT %s::text, '100%%'", ["; SELECT 'x' %s"])
        assert cursor.fetchall() == [("; SELECT 'x' %s", "100%")]
        assert cursor.rowcount == 1
        cursor.execute(b"SELECT 1")  # type: ignore[arg-type]  # psycopg takes bytes too
        assert cursor.fetchone() == (1,)


def test_copy_is_the_owners_alone(one: Tenant) -> None:
    with (
        fence.within(one.pk),
        pytest.raises(NotSupportedError, match="passes the fence"),
        store.connection().cursor() as cursor,
        cursor.copy("COPY tenant TO STDOUT"),
    ):
        pass
    with store.connection().cursor() as cursor, cursor.copy("COPY tenant TO STDOUT") as copied:
        assert one.slug.encode() in b"".join(bytes(block) for block in copied)


@pytest.mark.parametrize("subject", ["x'; RESET ROLE; --", "ü", "a b", "\\"])
def test_a_doors_subject_is_a_word_or_nobody(db: None, subject: str) -> None:
    with fence.through(fence.KEYS, subject), connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('millrace.subject')")
        assert cursor.fetchone() == ("",)


def test_each_thread_has_its_own(db: None) -> None:
    seen: list[fence.Standing] = []
    with fence.within(7):
        thread = threading.Thread(target=lambda: seen.append(fence.current()))
        thread.start()
        thread.join()
    assert seen == [fence.OWNER]


def test_a_process_serves_as_what_it_says() -> None:
    fence.serve_as(fence.NOBODY)
    try:
        assert fence.current() == fence.NOBODY
        with fence.within(7):
            assert fence.current() == fence.Standing(fence.APP, 7)
    finally:
        fence.serve_as(fence.OWNER)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("role", [fence.MONITOR, fence.WORKER])
def test_a_connection_of_ones_own_has_a_role_for_as_long_as_it_lives(role: str) -> None:
    with store.connect(name="test", role=role) as own:
        for _ in range(2):
            row = own.execute("SELECT current_user::text").fetchone()
            assert row is not None
            assert row[0].endswith(f"_{role}")
        if role == fence.MONITOR:
            with pytest.raises(Exception, match="permission denied"):
                own.execute("DELETE FROM tenant")


def test_what_the_fence_refuses_is_an_error_of_rights(one: Tenant, other: Tenant) -> None:
    with (
        fence.within(other.pk),
        pytest.raises(ProgrammingError, match="row-level security"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute("INSERT INTO control (tenant_id, run_id, ordinal, kind) VALUES"
                       " (%s, gen_random_uuid(), 0, 'x')", [one.pk])  # fmt: skip
