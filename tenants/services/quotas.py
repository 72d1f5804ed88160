"""Limits: set for good, set for a time, and what was set for a time ended."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, TypedDict, Unpack

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from tenants import limits
from tenants.actors import Actor
from tenants.connections import roles
from tenants.errors import InvalidValue, QuotaUsedUp
from tenants.models import Quota, QuotaChange, QuotaOverride, Tenant
from tenants.services.audit import record
from tenants.services.checking import check

LONGEST_REASON = 1000
LONGEST_OVERRIDE = timedelta(days=366)
COUNTED_AGAIN_S = 60
"""`Retry-After` of what only its owner can make room for."""


class QuotaChanges(TypedDict, total=False):
    """The limits that may be set; see Quota for units and ranges.  None is no limit."""

    max_connections: int
    weight: float
    max_active_runs: int | None
    max_waiting_steps: int | None
    submissions_per_minute: int | None
    max_steps: int
    max_payload_bytes: int
    max_storage_bytes: int | None
    retention_days: int | None
    max_schedules: int | None
    max_api_keys: int | None
    keep_outputs: bool


@transaction.atomic
def set_quota(
    *,
    tenant: Tenant,
    actor: Actor,
    reason: str = "",
    until: datetime | None = None,
    **changes: Unpack[QuotaChanges],
) -> Quota:
    """Set limits of `tenant`, for good or until a time; running workers read them at their next claim.

    What is set for good ends what was set for a time, at the same value too.  What does not change
    writes nothing.
    Raises InvalidValue, naming the limit."""
    reason = reason.strip()[:LONGEST_REASON]
    if until is not None:
        check_until(until)
        if "keep_outputs" in changes:
            raise InvalidValue("until", "until: keep_outputs can only be set for good.")
    quota = Quota.objects.select_for_update().get(tenant=tenant)
    overrides = {row.name: row for row in QuotaOverride.objects.filter(tenant=tenant)}
    before: dict[str, object] = {}
    after: dict[str, object] = {}
    for name, value in changes.items():
        if name not in QuotaChanges.__annotations__:
            raise InvalidValue(name, f"{name}: there is no such limit.")
        old = getattr(quota, name)
        if old != value or until is not None or name in overrides:
            before[name], after[name] = old, value
            setattr(quota, name, value)
    check(quota)
    if after:
        Quota.objects.filter(pk=quota.pk).update(**after, updated_at=Now())
        if "max_connections" in after:
            roles.set_limit(tenant_id=tenant.pk, limit=quota.max_connections)
        for name, value in after.items():
            if name in limits.BY_NAME:
                base = overrides[name].base if name in overrides else before[name]
                _keep(tenant, name, base, value, until, reason, actor)
        _note(tenant, actor, before, after, "base" if until is None else "override", until, reason)
    return quota


def check_until(until: datetime) -> None:
    """Whether a limit can be set until then.  Raises InvalidValue."""
    now = timezone.now()
    if until <= now:
        raise InvalidValue("until", "until: is in the past.")
    if until > now + LONGEST_OVERRIDE:
        raise InvalidValue("until", "until: is more than a year away; set it for good.")


def _keep(
    tenant: Tenant,
    name: str,
    base: object,
    value: object,
    until: datetime | None,
    reason: str,
    actor: Actor,
) -> None:
    """What is to come back after `until`; None: nothing is."""
    if until is None:
        QuotaOverride.objects.filter(tenant=tenant, name=name).delete()
        return
    facts = {"base": base, "value": value, "expires_at": until, "reason": reason}
    QuotaOverride.objects.update_or_create(
        tenant=tenant, name=name, defaults={**facts, "actor": str(actor), "created_at": Now()}
    )


def _note(
    tenant: Tenant,
    actor: Actor,
    before: dict[str, object],
    after: dict[str, object],
    kind: str,
    until: datetime | None,
    reason: str,
) -> None:
    """The limits' history, and the audit row."""
    QuotaChange.objects.bulk_create(
        QuotaChange(
            tenant=tenant, name=name, kind=kind, before=before[name], after=value,
            expires_at=until, reason=reason, actor=str(actor),
        )
        for name, value in after.items()
    )  # fmt: skip
    facts = {"until": until.isoformat()} if until else {}
    record(
        tenant=tenant,
        actor=actor,
        action="quota.override_ended" if kind == "ended" else "quota.set",
        target=tenant.slug,
        before=before,
        after=after | facts | ({"reason": reason} if reason else {}),
    )


@transaction.atomic
def end_override(*, tenant: Tenant, name: str, actor: Actor, reason: str = "") -> bool:
    """Let a limit that is set for a time come back now.  False where none is."""
    quota = Quota.objects.select_for_update().get(tenant=tenant)
    row = QuotaOverride.objects.filter(tenant=tenant, name=name).first()
    if row is None:
        return False
    old = getattr(quota, name)
    row.delete()
    Quota.objects.filter(pk=quota.pk).update(**{name: row.base}, updated_at=Now())
    if name == "max_connections":
        roles.set_limit(tenant_id=tenant.pk, limit=int(row.base or 0))
    reason = reason.strip()[:LONGEST_REASON]
    _note(tenant, actor, {name: old}, {name: row.base}, "ended", None, reason)
    return True


@transaction.atomic
def keep_override(*, tenant: Tenant, name: str, actor: Actor, reason: str = "") -> bool:
    """Let the present value of a limit that is set for a time hold for good.  False where none is."""
    quota = Quota.objects.select_for_update().get(tenant=tenant)
    if not QuotaOverride.objects.filter(tenant=tenant, name=name).exists():
        return False
    value = {name: getattr(quota, name)}
    set_quota(tenant=tenant, actor=actor, reason=reason, **value)
    return True


def check_count(*, tenant: Tenant, quota: str, rows: QuerySet[Any]) -> None:
    """Whether the tenant may have one more of the rows that the quota counts; inside a transaction,
    which holds back whoever else asks for the same tenant.  Raises QuotaUsedUp."""
    value = getattr(Quota.objects.select_for_update().get(tenant=tenant), quota)
    if value is not None and (use := rows.count()) >= value:
        raise QuotaUsedUp(quota=quota, value=value, use=use, retry_after=COUNTED_AGAIN_S)
