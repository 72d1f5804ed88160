"""Triggers, always of a tenant: one, a page of them, what became of their requests."""

from __future__ import annotations

from uuid import UUID

from orchestrator.domain import jsonvalue
from orchestrator.domain.durations import format_duration
from orchestrator.domain.errors import TriggerNotFound
from orchestrator.models import Run, Trigger, TriggerDelivery
from orchestrator.selectors.paging import (
    DEFAULT_LIMIT,
    Page,
    seal,
    seal_number,
    unseal,
    unseal_number,
)
from orchestrator.selectors.payloads import payload
from tenants.models import Tenant

CURSOR = "triggers"
DELIVERIES_CURSOR = "deliveries"


def access_trigger(*, tenant: Tenant, name: str, lock: bool = False) -> Trigger:
    """The tenant's trigger.  Raises TriggerNotFound; absent and foreign look the same."""
    rows = Trigger.objects.select_for_update(of=("self",)) if lock else Trigger.objects.all()
    found = None
    if "\0" not in name:
        found = rows.select_related("workflow").filter(tenant=tenant, name=name).first()
    if found is None:
        raise TriggerNotFound(trigger=name)
    return found


def rate(row: Trigger) -> str:
    """How many requests it takes in which time."""
    return f"{row.rate_count}/{format_duration(row.rate_period)}"


def address(row: Trigger, tenant: Tenant) -> str:
    """Where its requests go."""
    return f"/hooks/{tenant.slug}/{row.name}"


def trigger_view(row: Trigger, tenant: Tenant) -> dict[str, object]:
    """A Trigger as the API shows it: never its secret."""
    return {
        "name": row.name,
        "workflow": row.workflow.name,
        "address": address(row, tenant),
        "scheme": row.scheme,
        "input": payload(row.input),
        "labels": jsonvalue.decode(row.labels),
        "priority": row.priority,
        "dedup_key": row.dedup_key,
        "rate": rate(row),
        "enabled": row.enabled,
        "previous_secret_until": row.previous_until,
        "refused": {
            "count": row.refused_count,
            "last_at": row.refused_at,
            "last_reason": row.refused_reason,
        },
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "updated_by": row.updated_by,
    }


def list_triggers(*, tenant: Tenant, limit: int = DEFAULT_LIMIT, cursor: str | None = None) -> Page:
    """A page of the tenant's triggers by name.  Raises InvalidCursor."""
    rows = Trigger.objects.filter(tenant=tenant).select_related("workflow")
    if cursor is not None:
        (after,) = unseal(CURSOR, cursor, 1)
        rows = rows.filter(name__gt=after)
    found = list(rows.order_by("name")[: limit + 1])
    more = len(found) > limit
    found = found[:limit]
    items = [trigger_view(row, tenant) for row in found]
    return Page(items, seal(CURSOR, found[-1].name) if more else None)


def deliveries_page(*, row: Trigger, limit: int = DEFAULT_LIMIT, cursor: str | None = None) -> Page:
    """What became of a trigger's signed requests, newest first.  Raises InvalidCursor."""
    rows = TriggerDelivery.objects.filter(trigger=row)
    if cursor is not None:
        rows = rows.filter(pk__lt=unseal_number(DELIVERIES_CURSOR, cursor))
    found = list(rows.order_by("-pk")[: limit + 1])
    more = len(found) > limit
    found = found[:limit]
    ids = [one.run_id for one in found if one.run_id is not None]
    states: dict[UUID, str] = dict(
        Run.objects.filter(tenant_id=row.tenant_id, pk__in=ids).values_list("pk", "state")
    )
    items: list[dict[str, object]] = [
        {
            "id": one.pk,
            "at": one.at,
            "outcome": one.outcome,
            "code": one.code,
            "detail": one.detail,
            "run_id": one.run_id,
            "run_state": None if one.run_id is None else states.get(one.run_id),
            "bytes": one.size_bytes,
            "origin": one.origin,
        }
        for one in found
    ]
    return Page(items, seal_number(DELIVERIES_CURSOR, found[-1].pk) if more else None)
