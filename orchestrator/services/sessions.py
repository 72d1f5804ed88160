"""The sessions that steps of this process get to their tenants' databases."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from orchestrator.conf import Conf, conf, names
from orchestrator.domain.definition.reader import Reader
from orchestrator.domain.errors import InvalidRequest
from orchestrator.store import connect, for_a_moment
from tenants import services
from tenants.actors import Actor
from tenants.connections import Pools
from tenants.connections.external import LONGEST, Rules
from tenants.errors import InvalidValue
from tenants.models import Tenant


def rules(conf: Conf) -> Rules:
    """Which databases tenants may name."""
    return Rules(names(conf.database_allow), conf.database_allow_private)


def set_database(*, tenant: Tenant, body: object, actor: Actor) -> None:
    """Let the tenant's steps use the database of `{address}`.  Raises InvalidRequest."""
    reader = Reader()
    raw = reader.mapping(body, "", ("address",)) or {}
    if not reader.problems:
        reader.required(raw, "", ("address",))
    address = reader.text(raw, "", "address", longest=LONGEST)
    if not reader.problems:
        try:
            services.set_external_database(
                tenant=tenant, address=address, rules=rules(conf()), actor=actor
            )
        except InvalidValue as error:
            reader.note("/address", error.message, "bad_address")
    if reader.problems:
        raise InvalidRequest(problems=reader.problems)


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
