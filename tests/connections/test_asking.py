"""A database that a tenant names and that never answers: it keeps neither the server nor other tenants."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from orchestrator.conf import conf
from orchestrator.services.sessions import ASKED_AT_ONCE
from orchestrator.store import for_a_moment
from tenants.actors import SYSTEM
from tenants.connections import asking, external
from tenants.connections.external import BadAddress, Rules
from tenants.models import Tenant, TenantDatabase
from tenants.services import create_api_key
from tests.api.client import Answer, Api
from tests.connections.looking import sql
from tests.connections.silent import Silent

PRIVATE = Rules(allow_private=True)


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Silent]:
    monkeypatch.setenv("ORCHESTRATOR_DATABASE_ALLOW_PRIVATE", "true")
    conf.cache_clear()
    found = Silent()
    yield found
    found.close()
    conf.cache_clear()


@pytest.mark.parametrize("iterations", [0, 2**31 - 1])
def test_an_answer_is_waited_for_so_long_and_no_longer(iterations: int) -> None:
    """Silence after the handshake, and a handshake that is a quarter of an hour's calculation."""
    server = Silent(iterations=iterations)
    before = time.monotonic()
    with pytest.raises(BadAddress, match=r"app@127.* cannot be used: no answer within 3 s"):
        asking.ask(external.read(server.address), PRIVATE, within_s=3)
    assert time.monotonic() - before < 8
    assert server.asked.acquire(timeout=5)
    server.close()


def test_what_is_wrong_is_told_as_it_is() -> None:
    with pytest.raises(BadAddress, match="private address"):
        asking.ask(external.read("postgresql://a:secret@127.0.0.1:1/b"), Rules())


def test_few_are_waited_for_and_one_of_a_tenant(
    make: Callable[..., Tenant], silent: Silent
) -> None:
    tenants = [make() for _ in range(ASKED_AT_ONCE + 1)]
    clients = [Api(create_api_key(tenant=tenant, actor=SYSTEM)[1]) for tenant in tenants]

    def put(client: Api) -> Answer:
        with for_a_moment():
            return client.put("/database", {"address": silent.address})

    count = "SELECT count(*) FROM pg_stat_activity WHERE usename = current_user"
    ours = sql(count)
    with ThreadPoolExecutor(ASKED_AT_ONCE) as threads:
        waiting = [threads.submit(put, client) for client in clients[:-1]]
        for _ in waiting:
            assert silent.asked.acquire(timeout=30)
        assert sql(count) <= ours  # who waits has no connection
        again, other = put(clients[0]), put(clients[-1])
        assert clients[0].get("/database").status == 200
        silent.close()
        answers = [one.result() for one in waiting]
    assert (again.status, again.code, again.body["quota"]) == (429, "over_quota", "database_checks")
    assert again.headers["Retry-After"] == "10"
    assert (other.status, other.body["quota"]) == (429, "server_database_checks")
    for answer in [*answers, put(clients[0])]:
        assert (answer.status, answer.findings) == (422, {("/address", "bad_address")})
        assert "secret" not in answer.text
    assert not TenantDatabase.objects.filter(tenant__in=tenants, external__isnull=False).exists()
