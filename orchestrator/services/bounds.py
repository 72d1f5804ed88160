"""Bounds that are one for all tenants: how many of a thing are kept, and how often a thing is done."""

from __future__ import annotations

from datetime import datetime, timedelta
from math import ceil
from typing import Any

from django.db.models import QuerySet

from orchestrator import store
from orchestrator.domain.errors import OverQuota
from tenants.models import Quota, Tenant

COUNTED_AGAIN_S = 60
"""When to try again what has no room: somebody has to delete one first."""
TURN_S = 5
"""The same where somebody else's turn is."""


def check_room(*, tenant: Tenant | None, quota: str, value: int, rows: QuerySet[Any]) -> None:
    """Whether one more of these rows is kept; inside a transaction, which holds back whoever else asks
    for the same tenant.  `tenant` None: the server's.  Raises OverQuota."""
    if tenant is not None:
        Quota.objects.select_for_update().filter(tenant=tenant).first()
    if (use := rows.count()) >= value:
        raise OverQuota(
            f"There are {use:,} of {value:,} ({quota}), and no more are kept: delete one first.",
            quota=quota, value=value, use=use, retry_after=COUNTED_AGAIN_S,
        )  # fmt: skip


def check_rate(*, quota: str, value: int, rows: QuerySet[Any], now: datetime) -> None:
    """Whether these rows, each with the time `at` when something was done, leave room for one more
    within an hour.  Raises OverQuota."""
    since = now - timedelta(hours=1)
    recent = rows.filter(at__gt=since).order_by("-id").values_list("at", flat=True)[:value]
    if len(recent) >= value:
        wait = max(1, ceil((min(recent) - since).total_seconds()))
        raise OverQuota(quota=quota, value=value, use=value, retry_after=wait)


def take_turn(*, tenant: Tenant, quota: str) -> None:
    """Be the only one of the tenant to do this until the transaction ends.  Raises OverQuota."""
    if not store.try_turn(store.connection(), quota, tenant.pk):
        raise OverQuota(quota=quota, value=1, use=1, retry_after=TURN_S)
