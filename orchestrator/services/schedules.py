"""Schedules: made, edited, paused, filled in.  What they start, `services.firing` starts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import F
from uuid_utils.compat import uuid7

from orchestrator import store
from orchestrator.domain.calendar import Every, first, newest
from orchestrator.domain.definition.reader import Reader
from orchestrator.domain.errors import InvalidRequest, StateConflict
from orchestrator.domain.times import format_time, parse_time
from orchestrator.models import Schedule
from orchestrator.selectors.schedules import access_schedule, document, timing
from orchestrator.services.schedule_documents import EARLIEST, ScheduleSpec, read_schedule
from orchestrator.store import schedules
from tenants.actors import Actor
from tenants.errors import AlreadyThere
from tenants.models import Tenant
from tenants.services import check_count, record

MOST_FILLED_IN = 1000
LONGEST_REASON = 1000
TIMING = ("cron", "zone", "interval", "start_at")


@dataclass(frozen=True, slots=True)
class Backfill:
    """Times that were asked for: `count` of them, `accepted` had no run yet and get one."""

    id: UUID
    since: datetime
    until: datetime
    count: int
    accepted: int


def create_schedule(*, tenant: Tenant, body: object, actor: Actor) -> Schedule:
    """A new schedule, named by its body.  Raises InvalidRequest, InvalidInput, AlreadyThere,
    QuotaUsedUp."""
    spec = read_schedule(tenant=tenant, body=body, name=None)
    made, created = _write(tenant, spec, actor, replace=False)
    assert created
    return made


def replace_schedule(
    *, tenant: Tenant, name: str, body: object, actor: Actor
) -> tuple[Schedule, bool]:
    """The schedule `name` as `body` says, and whether it is new.  What became of its times stays, and
    a paused one stays paused.  Raises InvalidRequest, InvalidInput, QuotaUsedUp."""
    spec = read_schedule(tenant=tenant, body=body, name=name)
    return _write(tenant, spec, actor, replace=True)


@transaction.atomic
def _write(
    tenant: Tenant, spec: ScheduleSpec, actor: Actor, *, replace: bool
) -> tuple[Schedule, bool]:
    rows = Schedule.objects.select_for_update().filter(tenant=tenant, name=spec.name)
    row = rows.first()
    if row is not None and not replace:
        raise AlreadyThere(f"The schedule {spec.name} is there already.", schedule=spec.name)
    now = schedules.now(store.connection())
    before = None if row is None else document(row)
    created = row is None
    if row is None:
        known = Schedule.objects.filter(tenant=tenant)
        check_count(tenant=tenant, quota="max_schedules", rows=known)
        row = Schedule(tenant=tenant, name=spec.name, revision=0, anchor_at=now)
    timed = tuple(getattr(row, key) for key in TIMING)
    for key in ScheduleSpec.__slots__:
        setattr(row, key, getattr(spec, key))
    row.revision += 1
    row.updated_at, row.updated_by = now, str(actor)
    if created or timed != tuple(getattr(row, key) for key in TIMING):
        row.anchor_at = spec.start_at or now.replace(microsecond=0)
        _begin(row, now)
    elif row.paused_at is None:
        row.look_at = now  # the clock sees what is new, and when to look next
    try:
        with transaction.atomic():
            row.save()
    except IntegrityError:
        if not created:
            raise
        raise AlreadyThere(
            f"The schedule {spec.name} is there already.", schedule=spec.name
        ) from None
    row.refresh_from_db()
    record(
        tenant=tenant,
        actor=actor,
        action="schedule.created" if created else "schedule.changed",
        target=spec.name,
        before=before,
        after=document(row),
    )
    return row, created


def _begin(row: Schedule, now: datetime) -> None:
    """The next time is the first after now; what went by before is no concern of the schedule's."""
    if row.paused_at is not None:
        return
    row.next_at = first(timing(row), now=now, start_at=row.start_at)
    row.look_at = now


@transaction.atomic
def delete_schedule(*, tenant: Tenant, name: str, actor: Actor) -> None:
    """Delete a schedule with what became of its times; its runs stay.  Raises ScheduleNotFound."""
    row = access_schedule(tenant=tenant, name=name, lock=True)
    record(tenant=tenant, actor=actor, action="schedule.deleted", target=name, before=document(row))
    row.delete()


@transaction.atomic
def pause_schedule(*, tenant: Tenant, name: str, reason: str = "", actor: Actor) -> Schedule:
    """Let nothing start until it is resumed; what goes by meanwhile is not made up for.

    Raises ScheduleNotFound, StateConflict (it is paused)."""
    row = access_schedule(tenant=tenant, name=name, lock=True)
    if row.paused_at is not None:
        raise StateConflict(state="paused", action="pause")
    Schedule.objects.filter(pk=row.pk).update(
        paused_at=schedules.now(store.connection()),
        paused_reason=reason[:LONGEST_REASON],
        next_at=None,
        look_at=None,
        revision=F("revision") + 1,
    )
    record(
        tenant=tenant,
        actor=actor,
        action="schedule.paused",
        target=name,
        after={"reason": reason[:LONGEST_REASON]},
    )
    row.refresh_from_db()
    return row


@transaction.atomic
def resume_schedule(*, tenant: Tenant, name: str, actor: Actor) -> Schedule:
    """Go on with the next time after now.  Raises ScheduleNotFound, StateConflict (not paused)."""
    row = access_schedule(tenant=tenant, name=name, lock=True)
    if row.paused_at is None:
        raise StateConflict(state="active", action="resume")
    record(
        tenant=tenant,
        actor=actor,
        action="schedule.resumed",
        target=name,
        before={"reason": row.paused_reason},
    )
    row.paused_at, row.paused_reason = None, ""
    row.revision += 1
    _begin(row, schedules.now(store.connection()))
    row.save()
    return row


@transaction.atomic
def backfill_schedule(*, tenant: Tenant, name: str, body: object, actor: Actor) -> Backfill:
    """Start runs for the times from `from` to `to`, both included, that had none: at most 1,000, one
    after the other as the schedule's overlap allows.

    Raises ScheduleNotFound, InvalidRequest, StateConflict (paused)."""
    row = access_schedule(tenant=tenant, name=name, lock=True)
    now = schedules.now(store.connection())
    since, until, nominals = _asked(row, body, now)
    if row.paused_at is not None:
        raise StateConflict(state="paused", action="backfill")
    backfill_id = uuid7()
    accepted = schedules.add_backfill(
        store.connection(),
        tenant_id=tenant.pk,
        schedule_id=row.pk,
        backfill_id=backfill_id,
        nominals=nominals,
    )
    Schedule.objects.filter(pk=row.pk).update(look_at=now)
    asked = {"id": str(backfill_id), "from": format_time(since), "to": format_time(until)}
    record(
        tenant=tenant,
        actor=actor,
        action="schedule.backfilled",
        target=name,
        after={**asked, "count": len(nominals), "accepted": accepted},
    )
    return Backfill(backfill_id, since, until, len(nominals), accepted)


def _asked(row: Schedule, body: object, now: datetime) -> tuple[datetime, datetime, list[datetime]]:
    """`{from, to}` and the times between.  Raises InvalidRequest."""
    reader = Reader()
    raw = reader.mapping(body, "", ("from", "to"))
    ends: dict[str, datetime] = {}
    if raw is not None:
        reader.required(raw, "", ("from", "to"))
        for key in ("from", "to"):
            if key not in raw:
                continue
            try:
                ends[key] = parse_time(raw[key])
            except ValueError as error:
                reader.note(f"/{key}", str(error), "bad_time")
    if reader.problems or len(ends) < 2:
        raise InvalidRequest(problems=reader.problems)
    since, until = ends["from"], ends["to"]
    if since < EARLIEST:
        reader.note("/from", "is before 1970", "out_of_range")
    elif until > now:
        reader.note("/to", "is in the future", "out_of_range")
    elif since > until or since < until - timedelta(days=366 * 10):
        reader.note("/from", "is after `to`, or more than ten years before it", "out_of_range")
    else:
        nominals = _between(row, since, until)
        if 0 < len(nominals) <= MOST_FILLED_IN:
            return since, until, nominals
        found = f"more than {MOST_FILLED_IN} times" if nominals else "no time"
        reader.note("/from", f"there is {found} between `from` and `to`", "out_of_range")
    raise InvalidRequest(problems=reader.problems)


def _between(row: Schedule, since: datetime, until: datetime) -> list[datetime]:
    when = timing(row)
    if isinstance(when, Every) and since < when.anchor:
        # an interval has no beginning here: the same beat, before its first time
        steps = (when.anchor - since) // when.interval + 1
        when = Every(when.interval, when.anchor - steps * when.interval)
    return newest(when, since=since, until=until, most=MOST_FILLED_IN + 1)
