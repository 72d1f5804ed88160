"""Bulk actions, always of a tenant: what they do, and how far they are."""

from __future__ import annotations

from uuid import UUID

from orchestrator.domain.errors import ActionNotFound
from orchestrator.models import Action
from orchestrator.selectors.payloads import Payload
from tenants.models import Tenant


def access_action(*, tenant: Tenant, action_id: str) -> Action:
    """The tenant's action.  Raises ActionNotFound."""
    try:
        found = UUID(action_id) if len(action_id) == 36 else None
    except ValueError:
        found = None
    action = Action.objects.filter(tenant=tenant, pk=found).first() if found is not None else None
    if action is None:
        raise ActionNotFound(action_id=action_id)
    return action


def open_actions(*, tenant: Tenant, limit: int) -> list[Action]:
    """The newest actions, those under way first."""
    rows = Action.objects.filter(tenant=tenant).order_by("-created_at", "-id")[:limit]
    return sorted(rows, key=lambda row: row.finished_at is not None)


def action_view(action: Action) -> dict[str, object]:
    """An Action as the API shows it."""
    return {
        "id": action.pk,
        "action": action.kind,
        "state": "running" if action.finished_at is None else "finished",
        "filter": Payload(action.filter),
        "total": action.total,
        "done": action.done_count,
        "passed_over": action.passed_count,
        "rate_per_s": action.rate_per_s,
        "actor": action.actor,
        "created_at": action.created_at,
        "finished_at": action.finished_at,
    }
