"""Pools as people and programs see them: a tenant's own, and the server's that none of them hides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q, QuerySet
from django.utils import timezone

from orchestrator.domain.errors import PoolNotFound
from orchestrator.models import Pool, StepRun
from orchestrator.selectors.paging import DEFAULT_LIMIT, Page, seal, unseal
from tenants.models import Tenant

CURSOR = "pools"
COUNT_AT_MOST = 10_000
"""Waiting steps beyond this are not counted."""


@dataclass(frozen=True, slots=True)
class HeldBack:
    """What a pool waits for, and until when, where that is known."""

    detail: str
    until: datetime | None = None


def access_pool(*, tenant: Tenant | None, name: str) -> Pool:
    """The tenant's own pool (None: the server's).  Raises PoolNotFound."""
    return _found(Pool.objects.all(), tenant, name)


def lock_pool(*, tenant: Tenant | None, name: str) -> Pool:
    """The same, locked against the engine until the transaction ends.  Raises PoolNotFound."""
    return _found(Pool.objects.select_for_update(), tenant, name)


def _found(rows: QuerySet[Pool], tenant: Tenant | None, name: str) -> Pool:
    found = None
    if "\0" not in name:
        found = rows.filter(name=name, **_of(tenant)).first()
    if found is None:
        raise PoolNotFound(pool=name)
    return found


def _of(tenant: Tenant | None) -> dict[str, object]:
    return {"tenant__isnull": True} if tenant is None else {"tenant": tenant}


def visible_names(*, tenant: Tenant) -> frozenset[str]:
    """The names that a definition of the tenant may use."""
    return frozenset(_visible(tenant).values_list("name", flat=True))


def visible_pools(*, tenant: Tenant, names: Collection[str]) -> Mapping[str, Pool]:
    """What these names mean to the tenant: its own pool, else the server's."""
    if not names:
        return {}
    return _unhidden(_visible(tenant).filter(name__in=names))


def _visible(tenant: Tenant) -> QuerySet[Pool]:
    return Pool.objects.filter(Q(tenant=tenant) | Q(tenant__isnull=True))


def _unhidden(rows: QuerySet[Pool]) -> dict[str, Pool]:
    found: dict[str, Pool] = {}
    for pool in rows:
        if pool.tenant_id is not None or pool.name not in found:
            found[pool.name] = pool
    return found


def list_pools(*, tenant: Tenant, limit: int = DEFAULT_LIMIT, cursor: str | None = None) -> Page:
    """Pools that the tenant's steps may name, by name.  Raises InvalidCursor."""
    rows = _visible(tenant)
    if cursor is not None:
        (after,) = unseal(CURSOR, cursor, 1)
        rows = rows.filter(name__gt=after)
    # at most two of a name, of which one is hidden
    found = sorted(
        _unhidden(rows.order_by("name", "tenant")[: 2 * limit + 2]).values(),
        key=lambda pool: pool.name,
    )
    more = len(found) > limit
    found = found[:limit]
    waiting = waiting_steps(tenant=tenant)
    items = [_view(pool, waiting[pool.name]) for pool in found]
    return Page(items, seal(CURSOR, found[-1].name) if more else None)


def pool_view(*, tenant: Tenant, name: str) -> dict[str, object]:
    """One of them.  Raises PoolNotFound."""
    pool = visible_pools(tenant=tenant, names={name}).get(name) if "\0" not in name else None
    if pool is None:
        raise PoolNotFound(pool=name)
    return _view(pool, waiting_steps(tenant=tenant, name=name)[name])


def waiting_steps(*, tenant: Tenant, name: str | None = None) -> Counter[str]:
    """By pool, how many of the tenant's ready steps stand in its lane; of 10,000 at most."""
    rows = StepRun.objects.filter(tenant=tenant, state="ready", parked__isnull=True)
    rows = rows.exclude(pool="") if name is None else rows.filter(pool=name)
    return Counter(rows.order_by().values_list("pool", flat=True)[:COUNT_AT_MOST])


def _view(pool: Pool, waiting: int) -> dict[str, object]:
    """A pool's shape; of a server's pool `in_use` counts all tenants' steps, `waiting` one's own."""
    return {
        "name": pool.name,
        "limit": pool.max_places,
        "rate": pool.rate or None,
        "scope": "server" if pool.tenant_id is None else "tenant",
        "in_use": pool.in_use,
        "waiting": waiting,
        "created_at": pool.created_at,
        "updated_at": pool.updated_at,
    }


def held_back(name: str, pool: Pool | None) -> HeldBack | None:
    """Why a step that names this pool may not start now; None: the pool lets it."""
    if pool is None:
        return HeldBack(f'There is no pool "{name}" any more; make one and the step goes on.')
    if pool.max_places == 0:
        return HeldBack(f'The pool "{name}" is paused: its limit is 0; raising it frees the step.')
    if pool.in_use >= pool.max_places:
        return HeldBack(
            f'{pool.in_use} of the {pool.max_places} places of the pool "{name}" are in use;'
            " a step that holds one must end, or its limit be raised."
        )
    if pool.next_at is not None and pool.rate_slack is not None:
        until = pool.next_at - pool.rate_slack
        if until > timezone.now():
            detail = f'The pool "{name}" lets {pool.rate} start; the next one may then.'
            return HeldBack(detail, until)
    return None
