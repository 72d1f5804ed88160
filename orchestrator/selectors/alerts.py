"""Alerts, of a tenant or (tenant None) of the server: one with its timeline, a page of them, counts."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from django.db.models import Count, Q

from orchestrator.domain import jsonvalue
from orchestrator.domain.alerts import ALARMED, AlertState
from orchestrator.domain.errors import AlertNotFound
from orchestrator.models import Alert, AlertChange, Run, Sla
from orchestrator.selectors.paging import DEFAULT_LIMIT, Page, seal_moment, unseal_moment
from tenants.models import Tenant

CURSOR = "alerts"
MOST_CHANGES = 500
LAST = 20
_SLA = re.compile(r"sla:([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class AlertFilters:
    """What narrows a list of alerts.  `muted`: only those that are muted, or only those that are not."""

    states: Collection[str] = ()
    severity: str | None = None
    rule: str | None = None
    workflow: str | None = None
    muted: bool | None = None


@dataclass(frozen=True, slots=True)
class AlertCounts:
    """Alerts that people have to look after, and those of which they are not told."""

    firing: int
    acknowledged: int
    muted: int
    pending: int
    critical: int


def access_alert(*, tenant: Tenant | None, alert_id: UUID | str) -> Alert:
    """The alert.  Raises AlertNotFound; absent and foreign look the same."""
    try:
        key = alert_id if isinstance(alert_id, UUID) else UUID(alert_id)
    except ValueError:
        raise AlertNotFound(alert=str(alert_id)[:80]) from None
    found = Alert.objects.filter(tenant=tenant, pk=key).first()
    if found is None:
        raise AlertNotFound(alert=str(key))
    return found


def alert_view(row: Alert) -> dict[str, object]:
    """An Alert as the API shows it; what is over is silenced by nothing."""
    is_muted = row.muted_by is not None and row.state in ALARMED
    return {
        "id": row.pk,
        "rule": row.rule,
        "name": row.name,
        "labels": jsonvalue.decode(row.labels),
        "severity": row.severity,
        "state": row.state,
        "silenced": is_muted,
        "muted_by": row.muted_by if is_muted else None,
        "value": row.value,
        "threshold": row.threshold,
        "unit": row.unit,
        "summary": row.summary,
        "run_ids": row.run_ids,
        "started_at": row.started_at,
        "fired_at": row.fired_at,
        "acknowledged_at": row.acknowledged_at,
        "acknowledged_by": row.acknowledged_by,
        "resolved_at": row.resolved_at,
        "resolved_by": row.resolved_by,
    }


def timeline(row: Alert) -> list[dict[str, object]]:
    """What became of an alert, oldest first; of a very long story the newest part."""
    found = list(
        AlertChange.objects.filter(tenant_id=row.tenant_id, alert=row).order_by("-pk")[
            :MOST_CHANGES
        ]
    )
    return [
        {"at": one.at, "kind": one.kind, "actor": one.actor or None, "detail": one.detail}
        for one in reversed(found)
    ]


def known_runs(row: Alert) -> set[UUID]:
    """Those of an alert's runs that are still kept, and are its tenant's."""
    if row.tenant_id is None:
        return set()
    found = Run.objects.filter(tenant_id=row.tenant_id, pk__in=row.run_ids)
    return set(found.values_list("pk", flat=True))


def sla_of(row: Alert) -> str | None:
    """The name of the SLA whose alert it is, as long as there is such an SLA of the tenant's."""
    found = _SLA.fullmatch(row.rule)
    if found is None or row.tenant_id is None:
        return None
    slas = Sla.objects.filter(tenant_id=row.tenant_id, pk=int(found[1]))
    return slas.values_list("name", flat=True).first()


def last_of_sla(sla: Sla, limit: int = LAST) -> list[dict[str, object]]:
    """The last alerts of an SLA that fired, or that may, those that began last first."""
    rows = Alert.objects.filter(tenant_id=sla.tenant_id, rule=f"sla:{sla.pk}")
    rows = rows.exclude(state=AlertState.OK).order_by("-started_at", "-pk")
    return [alert_view(row) for row in rows[:limit]]


def list_alerts(
    *,
    tenant: Tenant | None,
    filters: AlertFilters | None = None,
    limit: int = DEFAULT_LIMIT,
    cursor: str | None = None,
) -> Page:
    """A page of alerts, those that began last first.  Raises InvalidCursor."""
    rows = Alert.objects.filter(tenant=tenant)
    asked = filters or AlertFilters()
    if asked.states:
        rows = rows.filter(state__in=list(asked.states))
    for name in ("severity", "rule", "workflow"):
        value = getattr(asked, name)
        if value:
            rows = rows.filter(**{name: value})
    if asked.muted is not None:
        is_muted = Q(muted_by__isnull=False, state__in=sorted(ALARMED))
        rows = rows.filter(is_muted if asked.muted else ~is_muted)
    if cursor is not None:
        at, alert_id = unseal_moment(CURSOR, cursor)
        rows = rows.filter(Q(started_at__lt=at) | Q(started_at=at, pk__lt=alert_id))
    found = list(rows.order_by("-started_at", "-pk")[: limit + 1])
    more = len(found) > limit
    found = found[:limit]
    after = seal_moment(CURSOR, found[-1].started_at, found[-1].pk) if more else None
    return Page([alert_view(row) for row in found], after)


def alert_counts(*, tenant: Tenant | None) -> AlertCounts:
    """How many alerts are open, by what people have to do about them."""
    told, alarmed = Q(muted_by__isnull=True), Q(state__in=sorted(ALARMED))
    firing = Q(state=AlertState.FIRING)
    found = Alert.objects.filter(
        tenant=tenant, state__in=[AlertState.PENDING, *sorted(ALARMED)]
    ).aggregate(
        firing=Count("pk", filter=firing & told),
        acknowledged=Count("pk", filter=Q(state=AlertState.ACKNOWLEDGED)),
        muted=Count("pk", filter=alarmed & ~told),
        pending=Count("pk", filter=Q(state=AlertState.PENDING)),
        critical=Count("pk", filter=firing & told & Q(severity="critical")),
    )
    return AlertCounts(**found)
