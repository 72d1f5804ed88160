"""Changing limits while work runs: written and audited, then idle workers are told to look."""

from __future__ import annotations

from datetime import datetime
from typing import Unpack

from django.db import transaction
from django.utils import timezone

from orchestrator import dispatch, store
from orchestrator.conf import conf
from orchestrator.domain.durations import parse_duration
from orchestrator.domain.times import parse_time
from orchestrator.models import ServerLoad
from orchestrator.store import clock
from tenants import services
from tenants.actors import Actor
from tenants.errors import InvalidValue
from tenants.models import Quota, Tenant
from tenants.services import QuotaChanges

LARGEST_TOTAL = 100_000


@transaction.atomic
def change_quota(
    *,
    tenant: Tenant,
    actor: Actor,
    reason: str = "",
    until: datetime | None = None,
    **changes: Unpack[QuotaChanges],
) -> Quota:
    """Set limits of a tenant, for good or until a time.  Raised ones are used at once, lowered ones as
    running steps end; what was accepted stays.

    Raises InvalidValue, naming the limit."""
    quota = services.set_quota(tenant=tenant, actor=actor, reason=reason, until=until, **changes)
    transaction.on_commit(wake_idle)
    return quota


@transaction.atomic
def end_override(*, tenant: Tenant, name: str, actor: Actor) -> bool:
    """Let a limit that is set for a time come back now.  False where none is."""
    changed = services.end_override(tenant=tenant, name=name, actor=actor)
    transaction.on_commit(wake_idle)
    return changed


def read_until(text: str) -> datetime | None:
    """A time (RFC 3339) or a duration from now (`2h`); None for nothing.  Raises InvalidValue."""
    text = text.strip()
    if not text:
        return None
    try:
        until = parse_time(text) if "-" in text else timezone.now() + parse_duration(text)
    except ValueError:
        raise InvalidValue(
            "until", "until: say a duration such as 2h, or a time such as 2026-12-31T18:00:00Z."
        ) from None
    services.check_until(until)
    return until


@transaction.atomic
def change_total(*, max_connections: int, actor: Actor, reason: str = "") -> None:
    """Set the connections of the whole server.  Raises InvalidValue."""
    if not 0 <= max_connections <= LARGEST_TOTAL:
        raise InvalidValue(
            "max_connections", f"max_connections: a number from 0 to {LARGEST_TOTAL:,} is needed."
        )
    row = ServerLoad.objects.get(slot=-1)
    if row.max_connections == max_connections:
        return
    services.record(
        tenant=None,
        actor=actor,
        action="server.max_connections_set",
        before={"max_connections": row.max_connections},
        after={"max_connections": max_connections} | ({"reason": reason} if reason else {}),
    )
    ServerLoad.objects.filter(slot=-1).update(max_connections=max_connections)
    transaction.on_commit(wake_idle)


@transaction.atomic
def resume_tenant(*, tenant: Tenant, actor: Actor) -> bool:
    """Lift a suspension and let what is ready start.  False where there was none."""
    changed = services.resume(tenant=tenant, actor=actor)
    transaction.on_commit(wake_idle)
    return changed


def wake_idle() -> None:
    """Send a hint to each queue with work that could run now."""
    dispatch.wake(clock.eligible(store.connection(), lease_s=conf().lease_s))
