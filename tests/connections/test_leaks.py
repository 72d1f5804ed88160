"""Nothing of one step reaches the next, though they share a session of the server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg.types.string import TextLoader

from tenants.connections import Opening, Pools, Session
from tenants.models import Tenant
from tests.connections.looking import home, sessions, sql


def left(link: Any) -> None:
    """What a careless or hostile step leaves behind."""
    link.execute("SELECT nextval('counted')")
    link.execute("SET work_mem = '1GB'")
    link.execute("SET statement_timeout = 0")
    link.execute("SET search_path = pg_temp")
    link.execute("SET my.secret = 'of the step before'")
    link.execute("CREATE TEMP TABLE left_behind (n int)")
    link.execute("LISTEN anything")
    link.execute("PREPARE left_behind AS SELECT 1")
    link.execute("DECLARE left_behind CURSOR WITH HOLD FOR SELECT 1")
    link.execute("ALTER ROLE CURRENT_USER SET work_mem = '1GB'")
    link.row_factory = dict_row
    link.adapters.register_loader("int4", TextLoader)
    link.prepare_threshold = 0
    link.execute("BEGIN")
    link.execute("SET LOCAL search_path TO DEFAULT")
    link.execute("CREATE TABLE never_committed (n int)")


def seen(link: Any) -> dict[str, object]:
    """What of that another step sees."""
    asked = {
        "work_mem": "SHOW work_mem",
        "statement_timeout": "SHOW statement_timeout",
        "search_path": "SHOW search_path",
        "secret": "SELECT nullif(current_setting('my.secret', true), '')",
        "temp": "SELECT count(*) FROM pg_class WHERE relname = 'left_behind'",
        "channels": "SELECT count(*) FROM pg_listening_channels()",
        "prepared": "SELECT count(*) FROM pg_prepared_statements",
        "cursors": "SELECT count(*) FROM pg_cursors",
        "table": "SELECT to_regclass('never_committed')",
        "session": "SELECT session_user = current_user",
        "number": "SELECT 1",
    }
    return {name: link.execute(query).fetchone()[0] for name, query in asked.items()}


def test_a_step_finds_the_session_as_new(pools: Pools, tenant: Tenant) -> None:
    first = Session(pools, tenant.pk)
    link = first.open()
    link.execute("CREATE SEQUENCE counted")
    fresh = seen(link)
    left(link)
    pid = first.backend_pid
    first.close()
    second = Session(pools, tenant.pk)
    assert seen(second.open()) == fresh
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        second.open().execute("SELECT currval('counted')")
    second.close()
    settings = sql(
        "SELECT setconfig FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole"
        " WHERE rolname = %s",
        home(tenant).role,
    )
    assert settings in ([], [(["temp_file_limit=2GB"],)])
    assert pid is not None


def test_a_session_is_used_again_and_its_object_is_not(pools: Pools, tenant: Tenant) -> None:
    first = Session(pools, tenant.pk)
    link = first.open()
    assert first.open() is link
    pid = first.backend_pid
    first.close()
    second = Session(pools, tenant.pk)
    other = second.open()
    assert second.backend_pid == pid
    assert other is not link
    assert link.closed
    with pytest.raises(psycopg.OperationalError):
        link.execute("SELECT 1")
    with pytest.raises(RuntimeError, match="has ended"):
        first.open()
    second.close()


def test_an_idle_session_is_closed_within_a_second(pools: Pools, tenant: Tenant) -> None:
    session = Session(pools, tenant.pk)
    session.open()
    assert sessions(tenant) == 1
    session.close()
    until(lambda: sessions(tenant) == 0, 1.5)


def until(condition: Callable[[], bool], within_s: float) -> None:
    """Look until it holds."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_session_that_was_lost_meanwhile_is_not_given_out(pools: Pools, tenant: Tenant) -> None:
    first = Session(pools, tenant.pk)
    first.open()
    pid = first.backend_pid
    first.close()
    sql("SELECT pg_terminate_backend(%s, 5000)", pid)
    second = Session(pools, tenant.pk)
    assert second.open().execute("SELECT 1").fetchone() == (1,)
    assert second.backend_pid != pid
    second.close()


def test_with_ends_a_transaction_and_keeps_the_connection(session: Session) -> None:
    link = session.open()
    with link:
        link.execute("BEGIN")
        link.execute("CREATE TABLE kept (n int)")

    def fail() -> None:
        with link:
            link.execute("BEGIN")
            link.execute("DROP TABLE kept")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert link.execute("SELECT to_regclass('kept')::text").fetchone() == ("kept",)


def test_a_closed_connection_is_opened_anew(session: Session) -> None:
    session.open().close()
    assert session.open().execute("SELECT 1").fetchone() == (1,)


def test_items_side_by_side_take_turns(pools: Pools, tenant: Tenant) -> None:
    session = Session(pools, tenant.pk)
    inside = 0

    async def item() -> None:
        nonlocal inside
        async with Opening(session) as link:
            inside += 1
            assert inside == 1
            async with link.transaction():
                await link.execute("SELECT pg_sleep(0.005)")
            async with Opening(session) as same:  # a block inside is part of it
                assert same is link
            inside -= 1

    async def step() -> None:
        await asyncio.gather(*(item() for _ in range(8)))
        await session.aclose()

    asyncio.run(step())
    assert sessions(tenant) == 1


def test_a_statement_left_behind_is_cut_off(pools: Pools, tenant: Tenant) -> None:
    session = Session(pools, tenant.pk)

    async def step() -> None:
        link = await Opening(session)
        behind = asyncio.create_task(link.execute("SELECT pg_sleep(60)"))
        await asyncio.sleep(0.05)
        await session.aclose()
        with pytest.raises(psycopg.OperationalError):
            await asyncio.wait_for(behind, 5)

    asyncio.run(step())
