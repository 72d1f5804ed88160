"""What else happened in a stretch of time, to be marked on its charts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from django.db.models import Q

from orchestrator.models import Alert, WorkflowVersion
from tenants.models import QuotaChange, Tenant

LIMIT = 20
LONGEST_PENDING = timedelta(days=14)
"""Alerts that were bad for longer than this before they fired are not looked for: no rule's `for` is."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """Something that may have changed how things go.  `about`: the workflow's or limit's name,
    or the alert's id."""

    at: datetime
    kind: Literal["version", "quota", "alert"]
    about: str
    text: str


def list_annotations(
    *,
    tenant: Tenant,
    since: datetime,
    until: datetime,
    workflow: str | None = None,
    limit: int = LIMIT,
) -> list[Annotation]:
    """The `limit` newest ones from `since` up to `until`, oldest first.

    New versions (of one `workflow`, where it is given), changes of the tenant's limits, and alerts that
    fired (about that workflow, or about none); what first versions are is no change."""
    found = [
        *_versions(tenant, since, until, workflow, limit),
        *_quotas(tenant, since, until, limit),
        *_alerts(tenant, since, until, workflow, limit),
    ]
    return sorted(found, key=lambda one: (one.at, one.about))[-limit:]


def _versions(
    tenant: Tenant, since: datetime, until: datetime, workflow: str | None, limit: int
) -> Iterator[Annotation]:
    rows = WorkflowVersion.objects.filter(
        tenant=tenant, created_at__gte=since, created_at__lt=until, version__gt=1
    )
    if workflow is not None:
        rows = rows.filter(workflow__name=workflow)
    newest = rows.order_by("-created_at", "-id")[:limit]
    for at, name, number in newest.values_list("created_at", "workflow__name", "version"):
        yield Annotation(at, "version", name, f"version {number} of {name}")


def _quotas(tenant: Tenant, since: datetime, until: datetime, limit: int) -> Iterator[Annotation]:
    rows = QuotaChange.objects.filter(tenant=tenant, at__gte=since, at__lt=until)
    for row in rows.order_by("-id")[:limit]:
        before, after = (_amount(value) for value in (row.before, row.after))
        yield Annotation(row.at, "quota", row.name, f"{row.name} from {before} to {after}")


def _alerts(
    tenant: Tenant, since: datetime, until: datetime, workflow: str | None, limit: int
) -> Iterator[Annotation]:
    rows = Alert.objects.filter(
        tenant=tenant,
        started_at__gte=since - LONGEST_PENDING,
        started_at__lt=until,
        fired_at__gte=since,
        fired_at__lt=until,
    )
    if workflow is not None:
        rows = rows.filter(Q(workflow=workflow) | Q(workflow__isnull=True))
    newest = rows.order_by("-fired_at", "-id")[:limit]
    for at, alert_id, name in newest.values_list("fired_at", "id", "name"):
        if at is not None:
            yield Annotation(at, "alert", str(alert_id), f"{name} fired")


def _amount(value: object) -> str:
    if value is None:
        return "no limit"
    return f"{value:,}" if isinstance(value, int | float) else str(value)
