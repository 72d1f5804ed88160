"""The audit log of a tenant: pages of it, newest first, and the whole of a window, oldest first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q, QuerySet

from orchestrator.selectors.paging import DEFAULT_LIMIT, Page, seal_number, unseal_number
from tenants.models import AuditEntry, Tenant

CURSOR = "audit"
CHUNK = 1_000
FIELDS = ("id", "at", "actor", "action", "target", "origin", "before", "after")


@dataclass(frozen=True, slots=True)
class AuditFilters:
    """What narrows the log.  `action` and `actor` are whole words or, with a `*` behind, beginnings."""

    actor: str | None = None
    action: str | None = None
    target: str | None = None
    origin: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def _rows(tenant: Tenant, filters: AuditFilters) -> QuerySet[AuditEntry]:
    rows = AuditEntry.objects.filter(tenant=tenant)
    wanted = Q()
    for name in ("actor", "action"):
        text: str | None = getattr(filters, name)
        if text and text.endswith("*"):
            wanted &= Q(**{f"{name}__startswith": text[:-1]})
        elif text:
            wanted &= Q(**{name: text})
    if filters.target:
        wanted &= Q(target=filters.target)
    if filters.origin:
        wanted &= Q(origin=filters.origin)
    if filters.since:
        wanted &= Q(at__gte=filters.since)
    if filters.until:
        wanted &= Q(at__lt=filters.until)
    return rows.filter(wanted)


def entry_view(row: AuditEntry) -> dict[str, object]:
    """An entry as the API shows it."""
    return {name: getattr(row, "pk" if name == "id" else name) for name in FIELDS}


def list_entries(
    *,
    tenant: Tenant,
    filters: AuditFilters,
    limit: int = DEFAULT_LIMIT,
    cursor: str | None = None,
) -> Page:
    """A page of the log, newest first.  Raises InvalidCursor."""
    rows = _rows(tenant, filters)
    if cursor is not None:
        rows = rows.filter(pk__lt=unseal_number(CURSOR, cursor))
    found = list(rows.order_by("-pk")[: limit + 1])
    more = len(found) > limit
    found = found[:limit]
    return Page(
        [entry_view(row) for row in found], seal_number(CURSOR, found[-1].pk) if more else None
    )


def chunks(*, tenant: Tenant, filters: AuditFilters) -> Iterator[list[Mapping[str, object]]]:
    """Every entry that the filters leave, oldest first, some at a time: each is a query of its own, so
    that a long export holds no transaction open."""
    rows = _rows(tenant, filters).order_by("pk")
    last = 0
    while found := list(rows.filter(pk__gt=last)[:CHUNK]):
        yield [entry_view(row) for row in found]
        last = found[-1].pk
