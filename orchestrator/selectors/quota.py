"""A tenant's limits: each with its base, what was set for a time, its use, and when it will be used up."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Max, Sum
from django.utils import timezone

from orchestrator.domain.forecast import exhausted_at
from orchestrator.models import (
    Rollup,
    Schedule,
    StepRun,
    Storage,
    TenantLoad,
    Usage,
    WorkflowVersion,
)
from tenants import keys, limits
from tenants.limits import Limit
from tenants.models import Quota, QuotaChange, QuotaOverride, Tenant

SEEN = timedelta(days=7)
"""How far back a forecast looks."""
COUNT_AT_MOST = 10_000
CHANGES = 20
_FORECAST = {"max_active_runs": "peak_active_runs", "max_storage_bytes": "storage_bytes"}


@dataclass(frozen=True, slots=True)
class LimitUse:
    """A limit now.  `value` None: none; `use` None: there is nothing to count.

    `override` is what is set for a time, `base` comes back after it (and is `value` without one).
    `exhausted_at`: when it will be reached if use goes on as in the last week."""

    limit: Limit
    value: float | None
    base: float | None
    use: float | None
    override: QuotaOverride | None
    exhausted_at: datetime | None

    @property
    def name(self) -> str:
        """The limit's name."""
        return self.limit.name

    @property
    def is_used_up(self) -> bool:
        """Whether it has no room now."""
        return self.value is not None and self.use is not None and self.use >= self.value


def limits_in_use(*, tenant: Tenant, now: datetime | None = None) -> list[LimitUse]:
    """Every limit of the tenant, in the order of `tenants.limits`."""
    moment = now or timezone.now()
    quota = Quota.objects.get(pk=tenant.pk)
    overrides = {row.name: row for row in QuotaOverride.objects.filter(tenant=tenant)}
    uses = _uses(tenant, quota, moment)
    points = _points(tenant, moment)
    found = []
    for limit in limits.ALL:
        value, use = getattr(quota, limit.name), uses.get(limit.name)
        override = overrides.get(limit.name)
        ends = None
        if value is not None and use is not None and limit.name in _FORECAST:
            ends = exhausted_at([*points[limit.name], (moment, use)], limit=value, now=moment)
        base = value if override is None else override.base
        found.append(LimitUse(limit, value, base, use, override, ends))
    return found


def last_changes(*, tenant: Tenant) -> list[QuotaChange]:
    """What limits of the tenant became lately, newest first."""
    return list(QuotaChange.objects.filter(tenant=tenant).order_by("-id")[:CHANGES])


def _uses(tenant: Tenant, quota: Quota, moment: datetime) -> dict[str, int]:
    load = TenantLoad.objects.filter(tenant_id=tenant.pk).first() or TenantLoad(
        in_use=0, ready_count=0, active_runs=0
    )
    aside = StepRun.objects.filter(tenant=tenant, state="ready", parked__isnull=False)
    versions = WorkflowVersion.objects.filter(tenant=tenant, workflow__archived_at__isnull=True)
    stored = Storage.objects.filter(tenant_id=tenant.pk).values_list("bytes", flat=True).first()
    return {
        "max_connections": load.in_use,
        "max_active_runs": load.active_runs,
        "max_waiting_steps": load.ready_count + aside.order_by()[:COUNT_AT_MOST].count(),
        "submissions_per_minute": _submissions(tenant, quota, load, moment),
        "max_steps": versions.aggregate(most=Max("step_count"))["most"] or 0,
        "max_storage_bytes": stored or 0,
        "max_schedules": Schedule.objects.filter(tenant=tenant).count(),
        "max_api_keys": keys.in_force(tenant).count(),
    }


def _submissions(tenant: Tenant, quota: Quota, load: TenantLoad, moment: datetime) -> int:
    """Of the allowance what is spent; without one, the runs of the last minute."""
    if quota.submissions_per_minute is not None:
        if load.submit_at is None or load.submit_at <= moment:
            return 0
        share = (load.submit_at - moment) / timedelta(minutes=1)
        return min(math.ceil(share * quota.submissions_per_minute), quota.submissions_per_minute)
    rows = Rollup.objects.filter(
        tenant_id=tenant.pk, workflow_id=0, width_s=10, at__gte=moment - timedelta(minutes=1)
    )
    return rows.aggregate(sum=Sum("submitted"))["sum"] or 0


def _points(tenant: Tenant, moment: datetime) -> dict[str, list[tuple[datetime, float]]]:
    """What was seen of the last week, an hour a point."""
    rows = list(
        Usage.objects.filter(
            tenant_id=tenant.pk, width_s=3600, at__gte=moment - SEEN, at__lt=moment
        ).order_by("at")
    )
    return {
        name: [(row.at, float(getattr(row, column))) for row in rows]
        for name, column in _FORECAST.items()
    }
