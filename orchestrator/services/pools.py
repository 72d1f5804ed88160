"""Pools: made, resized while work runs, deleted.  `tenant` None: the server's own."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TypedDict

from django.db import IntegrityError, transaction
from django.db.models import F
from django.db.models.functions import Least, Now

from orchestrator.domain.definition import LABEL_PATTERN, Known
from orchestrator.domain.definition.reader import Raw, Reader
from orchestrator.domain.errors import InvalidRequest, PoolInUse
from orchestrator.domain.rates import parse_rate
from orchestrator.models import Pool, VersionStep
from orchestrator.selectors.pools import access_pool, lock_pool, visible_names
from orchestrator.services.limits import wake_idle
from tenants.actors import Actor
from tenants.errors import AlreadyThere
from tenants.models import Tenant
from tenants.services import record

FIELDS = ("name", "limit", "rate")
LARGEST_LIMIT = 100_000
NAMED_AT_MOST = 5
_NAME = re.compile(LABEL_PATTERN)


class _Rate(TypedDict):
    """The columns of a rate."""

    rate: str
    rate_step: timedelta | None
    rate_slack: timedelta | None


def known_pools(tenant: Tenant) -> Known:
    """Whether a definition of the tenant may name a pool: its own, or the server's."""
    names = visible_names(tenant=tenant)
    return lambda name: name in names


@transaction.atomic
def create_pool(*, tenant: Tenant | None, body: object, actor: Actor) -> Pool:
    """A new pool; `body`: `{name, limit, rate?}`.  Raises InvalidRequest, AlreadyThere."""
    reader = Reader()
    raw = _mapping(reader, body)
    reader.required(raw, "", ("name", "limit"))
    name = reader.name(raw, "", "name", _NAME) or ""
    limit = reader.integer(raw, "", "limit", 0, least=0, most=LARGEST_LIMIT)
    rate = _rate(reader, raw)
    _done(reader)
    try:
        with transaction.atomic():
            pool = Pool.objects.create(tenant=tenant, name=name, max_places=limit, **rate)
    except IntegrityError:
        raise AlreadyThere(f"The pool {name} is there already.", pool=name) from None
    record(tenant=tenant, actor=actor, action="pool.created", target=name, after=_facts(pool))
    transaction.on_commit(wake_idle)
    return pool


@transaction.atomic
def change_pool(*, tenant: Tenant | None, name: str, body: object, actor: Actor) -> Pool:
    """Set a pool's `limit`, its `rate` (null: none), or both; what `body` leaves out stays.

    A lowered limit lets what runs end; 0 pauses.  Raises PoolNotFound, InvalidRequest."""
    access_pool(tenant=tenant, name=name)
    reader = Reader()
    raw = _mapping(reader, body)
    if "name" in raw and raw["name"] != name:
        reader.note("/name", f"must be {name}, as in the URL", "name_mismatch")
    if not reader.problems and not {"limit", "rate"} & raw.keys():
        reader.required(raw, "", ("limit",))
    limit = reader.integer(raw, "", "limit", 0, least=0, most=LARGEST_LIMIT)
    rate = _rate(reader, raw)
    _done(reader)
    pool = lock_pool(tenant=tenant, name=name)
    before = _facts(pool)
    if "limit" in raw:
        pool.max_places = limit
    changes: dict[str, object] = {"max_places": pool.max_places}
    if "rate" in raw and rate["rate"] != pool.rate:
        pool.rate = rate["rate"]
        step = rate["rate_step"]
        # a slow rate's next start is not waited for under a quick one
        changes |= {**rate, "next_at": None if step is None else Least(F("next_at"), Now() + step)}
    if _facts(pool) != before:
        Pool.objects.filter(pk=pool.pk).update(**changes, updated_at=Now())
        record(
            tenant=tenant,
            actor=actor,
            action="pool.changed",
            target=name,
            before=before,
            after=_facts(pool),
        )
        transaction.on_commit(wake_idle)
    return pool


@transaction.atomic
def delete_pool(*, tenant: Tenant | None, name: str, actor: Actor) -> None:
    """Delete a pool that nothing needs.  Raises PoolNotFound, PoolInUse."""
    pool = lock_pool(tenant=tenant, name=name)
    if pool.in_use:
        raise PoolInUse(
            f"Steps hold {pool.in_use} of its places; set its limit to 0 and wait for their ends.",
            pool=name,
            in_use=pool.in_use,
        )
    if workflows := _named_by(tenant, name):
        raise PoolInUse(
            f"Steps of {', '.join(workflows)} name it; publish them without it first.",
            pool=name,
            workflows=workflows,
        )
    record(tenant=tenant, actor=actor, action="pool.deleted", target=name, before=_facts(pool))
    pool.delete()
    transaction.on_commit(wake_idle)


def _named_by(tenant: Tenant | None, name: str) -> list[str]:
    """Workflows whose newest version would name nothing without this pool, the first few."""
    steps = VersionStep.objects.filter(
        pool=name,
        version__version=F("version__workflow__newest"),
        version__workflow__archived_at__isnull=True,
    )
    others = Pool.objects.filter(name=name)
    if tenant is None:
        steps = steps.exclude(tenant__in=others.filter(tenant__isnull=False).values("tenant"))
    elif others.filter(tenant__isnull=True).exists():
        return []
    else:
        steps = steps.filter(tenant=tenant)
    found = steps.order_by("version__workflow__name").values_list("version__workflow__name")
    return [row[0] for row in found.distinct()[:NAMED_AT_MOST]]


def _mapping(reader: Reader, body: object) -> Raw:
    raw = reader.mapping(body, "", FIELDS)
    if raw is None:
        raise InvalidRequest(problems=reader.problems)
    return raw


def _rate(reader: Reader, raw: Raw) -> _Rate:
    text = raw.get("rate")
    if text is not None:
        if isinstance(text, str):
            try:
                rate = parse_rate(text)
                return {"rate": text, "rate_step": rate.step, "rate_slack": rate.slack}
            except ValueError as error:
                reader.note("/rate", str(error), "bad_rate")
        else:
            reader.note("/rate", "must be text", "wrong_type")
    return {"rate": "", "rate_step": None, "rate_slack": None}


def _done(reader: Reader) -> None:
    if reader.problems:
        raise InvalidRequest(problems=reader.problems)


def _facts(pool: Pool) -> dict[str, object]:
    return {"limit": pool.max_places, "rate": pool.rate or None}
