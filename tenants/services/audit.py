"""The audit row of a change."""

from __future__ import annotations

from contextlib import nullcontext

from tenants import fence
from tenants.actors import Actor
from tenants.models import AuditEntry, Tenant


def record(
    *,
    tenant: Tenant | None,
    actor: Actor,
    action: str,
    target: str = "",
    before: object = None,
    after: object = None,
    origin: str = "",
) -> AuditEntry:
    """Write the audit row of a change; `tenant` None: the server itself.

    `before` and `after` are JSON values; `origin` defaults to the actor's."""
    with nullcontext() if tenant else fence.through(fence.RECORDS):
        return AuditEntry.objects.create(
            tenant=tenant,
            actor=str(actor),
            action=action,
            target=target,
            before=before,
            after=after,
            origin=origin or actor.origin,
        )
