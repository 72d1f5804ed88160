"""How many connections a tenant gets, and what happens where PostgreSQL gives none."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.conf import conf
from orchestrator.services.sessions import make_pools
from orchestrator.store import connection
from tenants import services
from tenants.actors import SYSTEM
from tenants.connections import ConnectionRefused, Opening, Pools, Session
from tenants.models import Tenant, TenantDatabase
from tests.connections.looking import sessions


def test_the_server_gives_no_more_than_the_limit(pools: Pools, make: Callable[..., Tenant]) -> None:
    tenant = make(max_connections=2)
    held = [Session(pools, tenant.pk) for _ in range(2)]
    for one in held:
        one.open()
    third = Session(pools, tenant.pk)
    began = time.monotonic()
    with pytest.raises(ConnectionRefused, match="within 2 s"):
        third.open()
    assert time.monotonic() - began >= 2
    for one in held:
        one.close()


def test_who_waits_gets_what_is_given_back_elsewhere(
    pools: Pools, make: Callable[..., Tenant]
) -> None:
    tenant = make(max_connections=1)
    elsewhere = make_pools(replace(conf(), connection_wait_s=10.0))  # another process
    first, second = Session(pools, tenant.pk), Session(elsewhere, tenant.pk)
    first.open()
    threading.Timer(0.2, first.close).start()
    assert second.open().execute("SELECT 1").fetchone() == (1,)
    second.close()
    elsewhere.tell(connection())
    row = TenantDatabase.objects.get(tenant=tenant)
    assert row.wait_count == 1
    assert 0.15 < row.waited_s < 10
    assert row.waited_at is not None
    elsewhere.tell(connection())
    assert TenantDatabase.objects.get(tenant=tenant).wait_count == 1
    elsewhere.close()


def test_a_raised_limit_is_used_by_who_waits(pools: Pools, make: Callable[..., Tenant]) -> None:
    tenant = make(max_connections=1)
    first, second = Session(pools, tenant.pk), Session(pools, tenant.pk)
    first.open()
    done: list[Any] = []
    waiter = threading.Thread(target=lambda: done.append(second.open()))
    waiter.start()
    services.set_quota(tenant=tenant, max_connections=2, actor=SYSTEM)
    waiter.join(5)
    assert done
    assert sessions(tenant) == 2
    first.close()
    second.close()


def test_a_step_that_is_cancelled_while_it_waits_holds_nothing(
    pools: Pools, tenant: Tenant
) -> None:
    session = Session(pools, tenant.pk)

    async def ask() -> None:
        await Opening(session)

    async def step() -> None:
        for delay in (0, 0.0005, 0.001, 0.002, 0.004):
            asked = asyncio.create_task(ask())
            await asyncio.sleep(delay)
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
        await session.aclose()

    asyncio.run(step())
    pools.threads.shutdown(wait=True)
    pools.close()
    end = time.monotonic() + 5
    while sessions(tenant):
        assert time.monotonic() < end, "a session was left open"
        time.sleep(0.02)
