"""Schedules, always of a tenant: one, a page of them, their next times, what became of past ones."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Count, Max, Min, OuterRef, Q, Subquery

from orchestrator.domain import jsonvalue
from orchestrator.domain.calendar import BadCalendar, Cron, Every, Missed, Timing, upcoming
from orchestrator.domain.durations import format_duration
from orchestrator.domain.errors import BackfillNotFound, ScheduleNotFound
from orchestrator.domain.overlap import Overlap
from orchestrator.domain.times import format_time
from orchestrator.models import Run, Schedule, ScheduleFire
from orchestrator.selectors.paging import (
    DEFAULT_LIMIT,
    EPOCH,
    Page,
    seal,
    seal_number,
    unseal,
    unseal_time,
)
from orchestrator.selectors.payloads import Payload
from tenants.models import Tenant

CURSOR = "schedules"
FIRES_CURSOR = "fires"
NEXT = 10
"""Coming times that are shown."""
MICROSECOND = timedelta(microseconds=1)


def access_schedule(*, tenant: Tenant, name: str, lock: bool = False) -> Schedule:
    """The tenant's schedule.  Raises ScheduleNotFound; absent and foreign look the same."""
    rows = Schedule.objects.select_for_update(of=("self",)) if lock else Schedule.objects.all()
    found = None
    if "\0" not in name:
        found = rows.select_related("workflow").filter(tenant=tenant, name=name).first()
    if found is None:
        raise ScheduleNotFound(schedule=name)
    return found


def timing(row: Schedule) -> Timing:
    """When it is due."""
    if row.cron is not None:
        return Cron(row.cron, row.zone)
    assert row.interval is not None
    return Every(row.interval, row.anchor_at)


def next_times(row: Schedule, count: int = NEXT) -> list[datetime]:
    """Its coming times, without jitter; none while it is paused."""
    if row.next_at is None:
        return []
    try:
        return upcoming(timing(row), row.next_at - MICROSECOND, count)
    except (BadCalendar, KeyError):
        return []  # its zone is not known any more: the clock says so when it looks


def document(row: Schedule) -> dict[str, object]:
    """What a body says to make the same schedule."""
    found: dict[str, object] = {"name": row.name, "workflow": row.workflow.name}
    if row.cron is not None:
        found |= {"cron": row.cron, "timezone": row.zone}
    else:
        assert row.interval is not None
        found["interval"] = format_duration(row.interval)
    overlap: object = row.overlap
    if row.overlap == Overlap.ALLOW:
        overlap = {"allow": row.overlap_limit}
    missed: object = row.missed
    if row.missed == Missed.ALL:
        missed = {"all": row.missed_limit}
    return {
        **found,
        "start_at": None if row.start_at is None else format_time(row.start_at),
        "input": jsonvalue.decode(row.input),
        "labels": jsonvalue.decode(row.labels),
        "priority": row.priority,
        "overlap": overlap,
        "missed": missed,
        "jitter": format_duration(row.jitter),
    }


def schedule_view(row: Schedule) -> dict[str, object]:
    """A Schedule as the API shows it."""
    said = document(row)
    return {
        "name": row.name,
        "workflow": said["workflow"],
        "cron": row.cron,
        "interval": said.get("interval"),
        "timezone": row.zone if row.cron is not None else None,
        "start_at": row.start_at,
        "input": Payload(row.input),
        "labels": said["labels"],
        "priority": row.priority,
        "overlap": said["overlap"],
        "missed": said["missed"],
        "jitter": said["jitter"],
        "state": "active" if row.paused_at is None else "paused",
        "paused_at": row.paused_at,
        "paused_reason": row.paused_reason or None,
        "next_at": row.next_at,
        "next": next_times(row),
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "updated_by": row.updated_by,
    }


def list_schedules(
    *,
    tenant: Tenant,
    workflow: str | None = None,
    limit: int = DEFAULT_LIMIT,
    cursor: str | None = None,
) -> tuple[list[Schedule], str | None]:
    """A page of the tenant's schedules by name, and the next page's cursor.  Raises InvalidCursor."""
    rows = Schedule.objects.filter(tenant=tenant).select_related("workflow")
    if workflow is not None:
        rows = rows.filter(workflow__name=workflow)
    if cursor is not None:
        (after,) = unseal(CURSOR, cursor, 1)
        rows = rows.filter(name__gt=after)
    found = list(rows.order_by("name")[: limit + 1])
    more = len(found) > limit
    found = found[:limit]
    return found, seal(CURSOR, found[-1].name) if more else None


def fires_page(
    *,
    row: Schedule,
    limit: int = DEFAULT_LIMIT,
    cursor: str | None = None,
    backfill: str | None = None,
) -> Page:
    """What became of a schedule's times, newest first; `backfill`: of that one alone.

    Raises InvalidCursor, BackfillNotFound."""
    rows = ScheduleFire.objects.filter(schedule=row)
    if backfill is not None:
        rows = rows.filter(backfill_id=_uuid(backfill))
    if cursor is not None:
        rows = rows.filter(nominal_at__lt=unseal_time(FIRES_CURSOR, cursor))
    found = list(rows.order_by("-nominal_at")[: limit + 1])
    more = len(found) > limit
    found = found[:limit]
    return Page(
        _fires(row.tenant_id, found),
        seal_number(FIRES_CURSOR, (found[-1].nominal_at - EPOCH) // MICROSECOND) if more else None,
    )


def _fires(tenant_id: int, rows: Sequence[ScheduleFire]) -> list[dict[str, object]]:
    ids = [row.run_id for row in rows if row.run_id is not None]
    states = dict(Run.objects.filter(tenant_id=tenant_id, pk__in=ids).values_list("pk", "state"))
    return [
        {
            "scheduled_at": row.nominal_at,
            "at": row.decided_at,
            "outcome": row.outcome,
            "reason": row.reason,
            "detail": row.detail,
            "run_id": row.run_id,
            "run_state": states.get(row.run_id) if row.run_id is not None else None,
            "missed": row.missed_count,
            "since": row.since_at,
            "made_up": row.made_up,
            "backfill_id": row.backfill_id,
        }
        for row in rows
    ]


def last_fires(rows: Sequence[Schedule]) -> dict[int, dict[str, object]]:
    """What became of the newest time of each of these schedules, by id."""
    newest = ScheduleFire.objects.filter(schedule=OuterRef("pk")).order_by("-nominal_at")
    keys = (
        Schedule.objects.filter(pk__in=[row.pk for row in rows])
        .annotate(newest_at=Subquery(newest.values("nominal_at")[:1]))
        .filter(newest_at__isnull=False)
        .values_list("pk", "newest_at")
    )
    found = list(ScheduleFire.objects.filter(pk__in=list(keys)))
    if not found:
        return {}
    shown = _fires(found[0].tenant_id, found)
    return {row.schedule_id: fire for row, fire in zip(found, shown, strict=True)}


def backfill_view(*, row: Schedule, backfill_id: str) -> dict[str, object]:
    """How far a backfill is.  Raises BackfillNotFound."""
    found = _uuid(backfill_id)
    counts = ScheduleFire.objects.filter(schedule=row, backfill_id=found).aggregate(
        count=Count("nominal_at"),
        waiting=Count("nominal_at", filter=Q(outcome="waiting")),
        started=Count("nominal_at", filter=Q(outcome="started")),
        skipped=Count("nominal_at", filter=Q(outcome="skipped")),
        failed=Count("nominal_at", filter=Q(outcome="failed")),
        first_at=Min("nominal_at"),
        last_at=Max("nominal_at"),
    )
    if not counts["count"]:
        raise BackfillNotFound(schedule=row.name, backfill=backfill_id)
    return {"id": found, **counts}


def _uuid(text: str) -> UUID:
    try:
        return UUID(text) if len(text) == 36 else UUID(int=0)
    except ValueError:
        return UUID(int=0)  # which none has


def schedule_of_run(*, tenant: Tenant, run_id: UUID) -> tuple[str, datetime] | None:
    """The schedule that started a run, and the time for which it did."""
    return (
        ScheduleFire.objects.filter(tenant_id=tenant.pk, run_id=run_id)
        .values_list("schedule__name", "nominal_at")
        .first()
    )
