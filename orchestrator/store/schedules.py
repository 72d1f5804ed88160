"""Schedules as the clock carries them out: each door one statement, in `sql/schedule_*.sql`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

from orchestrator.store.connect import Connection

_FOLDER = Path(__file__).parent / "sql"


def _text(name: str) -> str:
    return (_FOLDER / f"schedule_{name}.sql").read_text()


_DUE, _HOLD, _ACTIVE = _text("due"), _text("hold"), _text("active")
_WAITING, _RECORD, _BACKFILL = _text("waiting"), _text("record"), _text("backfill")


@dataclass(frozen=True, slots=True)
class DueSchedule:
    """A schedule to be looked at.  `blocked` is why no run of its workflow may begin, or None;
    `now` the database's clock; `version_id` its workflow's newest version."""

    id: int
    name: str
    revision: int
    cron: str | None
    zone: str
    interval: timedelta | None
    anchor_at: datetime
    input: str
    labels: str
    priority: int | None
    overlap: str
    overlap_limit: int
    missed: str
    missed_limit: int
    jitter: timedelta
    next_at: datetime | None
    version_id: int
    now: datetime
    blocked: str | None
    tenant: str


@dataclass(frozen=True, slots=True)
class ActiveRun:
    """A run of a schedule that has not ended.  `filled_in`: it belongs to a backfill."""

    schedule_id: int
    run_id: UUID
    filled_in: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class WaitingTime:
    """A nominal time whose run is to begin when there is room."""

    schedule_id: int
    nominal_at: datetime
    backfill_id: UUID | None
    made_up: bool


@dataclass(frozen=True, slots=True)
class Fire:
    """What becomes of a nominal time; see `models.ScheduleFire`.  `waited`: it is written down already,
    as waiting."""

    schedule_id: int
    nominal_at: datetime
    outcome: str
    reason: str | None = None
    detail: str | None = None
    run_id: UUID | None = None
    missed_count: int = 0
    since_at: datetime | None = None
    made_up: bool = False
    backfill_id: UUID | None = None
    waited: bool = False


def due_tenants(connection: Connection) -> list[int]:
    """The tenants with a schedule to be looked at.  While there is none, one look at an index."""
    if (
        connection.execute(
            "SELECT 1 FROM schedule WHERE look_at <= clock_timestamp() LIMIT 1"
        ).fetchone()
        is None
    ):
        return []
    rows = connection.execute(
        "SELECT t.id FROM tenant t WHERE (SELECT true FROM schedule s WHERE s.tenant_id = t.id"
        " AND s.look_at <= clock_timestamp() LIMIT 1) ORDER BY t.id"
    )
    return [tenant_id for (tenant_id,) in rows]


def due_schedules(connection: Connection, *, tenant_id: int, limit: int) -> list[DueSchedule]:
    """The tenant's schedules to be looked at, the longest due first."""
    rows = connection.execute(_DUE, {"tenant_id": tenant_id, "limit": limit})
    return [DueSchedule(*row) for row in rows]


def hold(connection: Connection, *, tenant_id: int, schedules: Sequence[DueSchedule]) -> set[int]:
    """Take the tenant's mutex, then those of these schedules that are as they were read."""
    connection.execute("SELECT engine_lock(ARRAY[%s::int])", (tenant_id,))
    rows = connection.execute(
        _HOLD,
        {
            "tenant_id": tenant_id,
            "ids": [one.id for one in schedules],
            "revisions": [one.revision for one in schedules],
            "nexts": [one.next_at for one in schedules],
        },
    )
    return {schedule_id for (schedule_id,) in rows}


def active_runs(connection: Connection, schedule_ids: Sequence[int]) -> list[ActiveRun]:
    """The runs of these schedules that have not ended.  Under the tenant's mutex."""
    return [ActiveRun(*row) for row in connection.execute(_ACTIVE, {"ids": list(schedule_ids)})]


def waiting_times(
    connection: Connection, schedule_ids: Sequence[int], *, limit: int
) -> list[WaitingTime]:
    """The times that wait, oldest first: at most `limit` of each schedule, and of those that are not
    made up for `limit` too."""
    rows = connection.execute(_WAITING, {"ids": list(schedule_ids), "limit": limit})
    return [WaitingTime(*row) for row in rows]


def record_fires(
    connection: Connection, *, tenant_id: int, fires: Sequence[Fire]
) -> set[tuple[int, datetime]]:
    """Write down what becomes of these times; answers (schedule, time) of those that this decided."""
    rows = connection.execute(
        _RECORD,
        {
            "tenant_id": tenant_id,
            "schedules": [fire.schedule_id for fire in fires],
            "nominals": [fire.nominal_at for fire in fires],
            "outcomes": [fire.outcome for fire in fires],
            "reasons": [fire.reason for fire in fires],
            "details": [fire.detail for fire in fires],
            "runs": [fire.run_id for fire in fires],
            "counts": [fire.missed_count for fire in fires],
            "sinces": [fire.since_at for fire in fires],
            "made_up": [fire.made_up for fire in fires],
            "waited": [fire.waited for fire in fires],
        },
    )
    return {(schedule_id, nominal_at) for schedule_id, nominal_at in rows}


def refuse(connection: Connection, *, run_ids: Sequence[UUID], reason: str, detail: str) -> None:
    """Write down that these runs, of times just recorded as started, were not made after all."""
    if run_ids:
        connection.execute(
            "UPDATE schedule_fire SET outcome = 'failed', reason = %s, detail = %s, run_id = NULL,"
            " is_active = false WHERE run_id = ANY (%s::uuid[])",
            (reason, detail, list(run_ids)),
        )


def move_on(
    connection: Connection, moves: Sequence[tuple[int, datetime | None, datetime | None]]
) -> None:
    """Set (schedule, next nominal time, when to look again) of each."""
    connection.execute(
        "UPDATE schedule s SET next_at = d.next_at, look_at = d.look_at"
        " FROM unnest(%s::bigint[], %s::timestamptz[], %s::timestamptz[]) AS d (id, next_at, look_at)"
        " WHERE s.id = d.id",
        ([one[0] for one in moves], [one[1] for one in moves], [one[2] for one in moves]),
    )


def give_up(connection: Connection, schedule: DueSchedule, reason: str) -> None:
    """Pause a schedule that cannot be carried out, with the reason; not one edited since."""
    connection.execute(
        "UPDATE schedule SET paused_at = clock_timestamp(), paused_reason = %s, next_at = NULL,"
        " look_at = NULL, revision = revision + 1 WHERE id = %s AND revision = %s",
        (reason, schedule.id, schedule.revision),
    )


def add_backfill(
    connection: Connection,
    *,
    tenant_id: int,
    schedule_id: int,
    backfill_id: UUID,
    nominals: Sequence[datetime],
) -> int:
    """Let these times wait for their runs; answers how many had none yet."""
    values = {
        "tenant_id": tenant_id,
        "schedule_id": schedule_id,
        "backfill_id": backfill_id,
        "nominals": list(nominals),
    }
    return len(connection.execute(_BACKFILL, values).fetchall())


def now(connection: Connection) -> datetime:
    """The database's clock."""
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    found: datetime = row[0]
    return found


def documents(connection: Connection, version_ids: Sequence[int]) -> dict[int, str]:
    """The definitions of these versions."""
    rows = connection.execute(
        "SELECT id, document FROM workflow_version WHERE id = ANY (%s::bigint[])",
        (list(version_ids),),
    )
    return dict(rows.fetchall())


def forget_fires(connection: Connection, *, days: int, limit: int) -> int:
    """Delete what became of times so many days ago, at most so many; answers how many."""
    return connection.execute(
        "DELETE FROM schedule_fire f USING (SELECT o.ctid AS tid FROM schedule_fire o"
        " WHERE o.decided_at < clock_timestamp() - %s * interval '1 day' AND NOT o.is_active"
        " AND o.outcome <> 'waiting' LIMIT %s) o WHERE f.ctid = o.tid",
        (days, limit),
    ).rowcount


def forget_deliveries(connection: Connection, *, days: int, limit: int) -> int:
    """Delete what became of triggers' requests so many days ago, at most so many; answers how many."""
    return connection.execute(
        "DELETE FROM trigger_delivery f USING (SELECT o.ctid AS tid FROM trigger_delivery o"
        " WHERE o.at < clock_timestamp() - %s * interval '1 day' LIMIT %s) o WHERE f.ctid = o.tid",
        (days, limit),
    ).rowcount
