"""The sessions that steps of this process get to their tenants' databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import Lock

from orchestrator.conf import Conf, conf, names
from orchestrator.domain.definition.reader import Reader
from orchestrator.domain.errors import InvalidRequest, OverQuota
from orchestrator.store import connect, for_a_moment
from orchestrator.store.release import release
from tenants import services
from tenants.actors import Actor
from tenants.connections import Pools, asking
from tenants.connections.external import LONGEST, Rules
from tenants.errors import InvalidValue
from tenants.models import Tenant

ASKED_AT_ONCE = 4
"""Databases elsewhere that a process waits for at most, one of a tenant; each keeps a thread of the API."""
_asked: set[int] = set()
_lock = Lock()


def rules(conf: Conf) -> Rules:
    """Which databases tenants may name."""
    return Rules(names(conf.database_allow), conf.database_allow_private)


def set_database(*, tenant: Tenant, body: object, actor: Actor) -> None:
    """Let the tenant's steps use the database of `{address}`, which is asked first: meanwhile this thread
    has no connection.  Raises InvalidRequest, OverQuota."""
    reader = Reader()
    raw = reader.mapping(body, "", ("address",)) or {}
    if not reader.problems:
        reader.required(raw, "", ("address",))
    address = reader.text(raw, "", "address", longest=LONGEST)
    if not reader.problems:
        try:
            with _turn(tenant):
                release()
                services.set_external_database(
                    tenant=tenant, address=address, rules=rules(conf()), actor=actor
                )
        except InvalidValue as error:
            reader.note("/address", error.message, "bad_address")
    if reader.problems:
        raise InvalidRequest(problems=reader.problems)


@contextmanager
def _turn(tenant: Tenant) -> Iterator[None]:
    """While no other database is asked for the tenant, and few for others.  Raises OverQuota."""
    with _lock:
        if tenant.pk in _asked:
            raise OverQuota(quota="database_checks", value=1, use=1, retry_after=asking.WITHIN_S)
        if len(_asked) >= ASKED_AT_ONCE:
            raise OverQuota(quota="server_database_checks", value=ASKED_AT_ONCE, use=ASKED_AT_ONCE)
        _asked.add(tenant.pk)
    try:
        yield
    finally:
        with _lock:
            _asked.discard(tenant.pk)


def make_pools(conf: Conf, *, on_wait: Callable[[int, float], None] | None = None) -> Pools:
    """The process's pools; sessions are made when steps ask for them.

    `on_wait` is told which tenant's step had to wait, and for how many seconds; without it that is
    kept until `Pools.tell`."""
    return Pools(
        server=partial(connect, name="sessions", direct=True),
        rules=rules(conf),
        wait_s=conf.connection_wait_s,
        settle=_settle,
        on_wait=on_wait,
    )


def _settle(tenant_id: int) -> None:
    """Bring a tenant's role back to what it should be, from any thread."""
    with for_a_moment():
        services.settle_database(tenant=Tenant.objects.get(pk=tenant_id))
