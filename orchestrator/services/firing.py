"""Schedules carried out: what is due is looked at, decided and submitted.  A duty of the clock.

What becomes of a nominal time and the run that it starts are one transaction under the tenant's
mutex, and the time is the key of what became of it: however many clocks look, each fires once.
Whatever is wrong with one schedule becomes its outcome, and hinders no other."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import psycopg
from uuid_utils.compat import uuid7

from orchestrator import dispatch
from orchestrator.domain import jsonvalue
from orchestrator.domain.calendar import Cron, Due, Every, Missed, Timing, look
from orchestrator.domain.expressions import ExpressionFailed
from orchestrator.domain.overlap import MOST_QUEUED, Decision, Overlap, decide, room
from orchestrator.services.schedule_runs import ACTOR, Facts, close, new_run, read_facts, refuse
from orchestrator.store import Connection, schedules
from orchestrator.store.schedules import ActiveRun, DueSchedule, Fire, WaitingTime
from orchestrator.store.submit import NewRun, submit

logger = logging.getLogger(__name__)

AT_ONCE = 50
"""Schedules of a tenant that are carried out in one transaction, before the next tenant's turn."""
BUSY_S = 0.5
SOONEST_S, LATEST_S = 0.25, 5.0
"""How soon a schedule with times that wait is looked at again: the longer its runs take, the later."""
MOST_FACTS = 256
PASSING = ("tenant_suspended", "workflow_paused")
"""What ends by itself being lifted: times that wait go on waiting."""
BLOCKED = {
    "tenant_suspended": "The tenant is suspended.",
    "workflow_paused": "The workflow is paused.",
    "workflow_archived": "The workflow is archived: it takes no new runs until it is published again.",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """A schedule with what is due.  `blocked`: why nothing may start, as (outcome, reason, detail)."""

    row: DueSchedule
    timing: Timing
    due: Due
    blocked: tuple[str, str, str] | None


@dataclass(slots=True)
class Settled:
    """What is to be written for one schedule."""

    fires: list[Fire] = field(default_factory=list)
    cancel: list[UUID] = field(default_factory=list)
    waits: bool = False


def timing_of(
    *, cron: str | None, zone: str, interval: timedelta | None, anchor_at: datetime
) -> Timing:
    """A schedule's columns as its timing."""
    if cron is not None:
        return Cron(cron, zone)
    assert interval is not None
    return Every(interval, anchor_at)


class Firing:
    """Looks at what is due; what it keeps between looks are facts of versions."""

    def __init__(self) -> None:
        self._facts: OrderedDict[int, Facts | Exception] = OrderedDict()

    def __call__(self, connection: Connection) -> int:
        """One look at all tenants in turn; answers how many times were decided."""
        end = time.monotonic() + BUSY_S
        decided = 0
        while tenants := schedules.due_tenants(connection):
            for tenant_id in tenants:
                decided += self.fire_tenant(connection, tenant_id)
            if time.monotonic() > end:
                break
        return decided

    def fire_tenant(self, connection: Connection, tenant_id: int) -> int:
        """Carry out what is due of a tenant, at most so many schedules; answers how many times were
        decided.  Raises psycopg.OperationalError where the database is away."""
        rows = schedules.due_schedules(connection, tenant_id=tenant_id, limit=AT_ONCE)
        self._read_facts(connection, rows)
        plans = []
        for row in rows:
            try:
                plans.append(self._plan(row))
            except Exception as error:
                # its zone, or its workflow's schema, is not understood any more
                logger.warning("schedule %s is paused: %s", row.id, error)
                schedules.give_up(connection, row, f"It cannot be carried out: {error}")
        try:
            return self._carry_out(connection, tenant_id, plans)
        except psycopg.OperationalError:
            raise
        except Exception:
            logger.exception("schedules of tenant %s: one by one", tenant_id)
        return sum(self._alone(connection, tenant_id, plan) for plan in plans)

    def _plan(self, row: DueSchedule) -> Plan:
        timing = timing_of(
            cron=row.cron, zone=row.zone, interval=row.interval, anchor_at=row.anchor_at
        )
        if row.next_at is None:
            due = Due((), False, (), None, None)
        else:
            due = look(
                timing,
                next_at=row.next_at,
                now=row.now,
                missed=Missed(row.missed),
                limit=row.missed_limit,
                jitter=row.jitter,
                seed=str(row.id),
            )
        return Plan(row, timing, due, self._blocked(row))

    def _blocked(self, row: DueSchedule) -> tuple[str, str, str] | None:
        if row.blocked is not None:
            return "skipped", row.blocked, BLOCKED[row.blocked]
        facts = self._facts[row.version_id]
        if isinstance(facts, Exception):
            raise facts
        if facts.validator is None:
            return None
        problems = facts.validator.problems(jsonvalue.decode(row.input), "/input")
        if not problems:
            return None
        told = "; ".join(f"{one.path}: {one.message}" for one in problems[:3])
        return "failed", "invalid_input", told[:1000]

    def _read_facts(self, connection: Connection, rows: Sequence[DueSchedule]) -> None:
        wanted = {row.version_id for row in rows}
        missing = [number for number in wanted if number not in self._facts]
        if missing:
            for number, text in schedules.documents(connection, missing).items():
                try:
                    self._facts[number] = read_facts(text)
                except Exception as error:
                    self._facts[number] = error
        for number in wanted:
            self._facts.move_to_end(number)
        while len(self._facts) > max(MOST_FACTS, len(wanted)):
            self._facts.popitem(last=False)

    def _carry_out(self, connection: Connection, tenant_id: int, plans: Sequence[Plan]) -> int:
        """The transaction: decide, write down, submit."""
        wake: list[str] = []
        with connection.transaction():
            held = schedules.hold(
                connection, tenant_id=tenant_id, schedules=[plan.row for plan in plans]
            )
            mine = {plan.row.id: plan for plan in plans if plan.row.id in held}
            if not mine:
                return 0
            active = defaultdict(list)
            for run in schedules.active_runs(connection, list(mine)):
                active[run.schedule_id].append(run)
            waiting = defaultdict(list)
            for one in schedules.waiting_times(connection, list(mine), limit=MOST_QUEUED):
                waiting[one.schedule_id].append(one)
            settled = {
                number: settle(plan, active[number], waiting[number])
                for number, plan in mine.items()
            }
            fires = [fire for one in settled.values() for fire in one.fires]
            decided = schedules.record_fires(connection, tenant_id=tenant_id, fires=fires)
            runs = self._runs(
                connection,
                [
                    (mine[fire.schedule_id].row, fire)
                    for fire in fires
                    if fire.run_id is not None and (fire.schedule_id, fire.nominal_at) in decided
                ],
            )
            cancel = {run_id for one in settled.values() for run_id in one.cancel}
            known = {run.run_id for runs in active.values() for run in runs}
            close(connection, tenant_id, cancel & known)
            if runs:
                made = submit(connection, tenant_id=tenant_id, runs=runs, actor=ACTOR)
                wake = made.wake
                refuse(connection, made.results)
            close(connection, tenant_id, cancel - known)
            schedules.move_on(
                connection,
                [
                    (number, plan.due.next_at, again(plan, settled[number], active[number]))
                    for number, plan in mine.items()
                ],
            )
        dispatch.wake(wake)
        return len(decided)

    def _runs(
        self, connection: Connection, starting: Sequence[tuple[DueSchedule, Fire]]
    ) -> list[NewRun]:
        """The runs of these times; one whose key of concurrency has no value is none."""
        runs = []
        for row, fire in starting:
            facts = self._facts[row.version_id]
            assert isinstance(facts, Facts)
            try:
                runs.append(new_run(row, fire, facts.concurrency))
            except (ExpressionFailed, jsonvalue.NotJson) as error:
                told = f"/input: the workflow's concurrency.key cannot be evaluated for it: {error}"
                assert fire.run_id is not None
                schedules.refuse(
                    connection, run_ids=[fire.run_id], reason="invalid_input", detail=told[:1000]
                )
        return runs

    def _alone(self, connection: Connection, tenant_id: int, plan: Plan) -> int:
        """One schedule by itself; what goes wrong is written down, and the schedule moves on."""
        try:
            return self._carry_out(connection, tenant_id, [plan])
        except psycopg.OperationalError:
            raise
        except Exception as error:
            logger.exception("schedule %s has failed", plan.row.id)
            told = f"{type(error).__name__}: {error}"[:1000]
        failed = Plan(plan.row, plan.timing, plan.due, ("failed", "internal_error", told))
        try:
            return self._carry_out(connection, tenant_id, [failed])
        except psycopg.OperationalError:
            raise
        except Exception:
            logger.exception("schedule %s is paused", plan.row.id)
            schedules.give_up(connection, plan.row, f"It cannot be carried out: {told}")
        return 0


def settle(plan: Plan, active: Sequence[ActiveRun], waiting: Sequence[WaitingTime]) -> Settled:
    """What becomes of the times that wait, then of those that are due, oldest first."""
    row, overlap = plan.row, Overlap(plan.row.overlap)
    found = Settled()
    going = [run.run_id for run in active if not run.filled_in]
    running, queue = len(active), list(waiting)
    before = {one.nominal_at for one in waiting}  # which a backfill has
    missed = [nominal for nominal in plan.due.missed if nominal not in before]
    if missed:
        found.fires.append(_missed(row, missed))
    if plan.blocked is None:
        while queue and running < room(overlap, row.overlap_limit):
            one = queue.pop(0)
            found.fires.append(_start(row, one))
            running += 1
    elif plan.blocked[1] not in PASSING:
        outcome, reason, detail = plan.blocked
        found.fires += [
            Fire(row.id, one.nominal_at, outcome, reason, detail, waited=True) for one in queue
        ]
        queue = []
    for nominal in plan.due.fire:
        if nominal in before:
            continue
        made_up = plan.due.late
        if plan.blocked is not None:
            outcome, reason, detail = plan.blocked
            found.fires.append(Fire(row.id, nominal, outcome, reason, detail, made_up=made_up))
            continue
        decision = decide(
            overlap,
            row.overlap_limit,
            active=running,
            waiting=len(queue),
            besides=sum(one.made_up for one in queue),
            made_up=made_up,
        )
        if decision is Decision.REPLACE:
            found.cancel += going
            running -= len(going)
            going = []
        if decision in (Decision.START, Decision.REPLACE):
            run_id = uuid7()
            fire = Fire(row.id, nominal, "started", run_id=run_id, made_up=made_up)
            going.append(run_id)
            running += 1
        elif decision is Decision.WAIT:
            queue.append(WaitingTime(row.id, nominal, None, made_up))
            fire = Fire(row.id, nominal, "waiting", "overlap", made_up=made_up)
        else:
            reason = "queue_full" if overlap is Overlap.QUEUE else "overlap"
            fire = Fire(row.id, nominal, "skipped", reason, _still(running), made_up=made_up)
        found.fires.append(fire)
    found.waits = bool(queue)
    return found


def _start(row: DueSchedule, one: WaitingTime) -> Fire:
    return Fire(
        row.id, one.nominal_at, "started", run_id=uuid7(), made_up=True,
        backfill_id=one.backfill_id, waited=True,
    )  # fmt: skip


def _missed(row: DueSchedule, missed: Sequence[datetime]) -> Fire:
    detail = "The clock was not there in time, and the schedule says not to make up for it."
    return Fire(
        row.id, missed[-1], "missed", "missed", detail, missed_count=len(missed), since_at=missed[0]
    )


def _still(running: int) -> str:
    went = "An earlier run has" if running == 1 else f"{running} earlier runs have"
    return f"{went} not ended."


def again(plan: Plan, settled: Settled, active: Sequence[ActiveRun]) -> datetime | None:
    """When the clock looks at the schedule next: at its next time, or sooner while times wait."""
    if not settled.waits:
        return plan.due.look_at
    now = plan.row.now
    age = min((now - run.created_at for run in active), default=timedelta(0)).total_seconds()
    patience = LATEST_S if plan.blocked else min(max(age / 4, SOONEST_S), LATEST_S)
    sooner = now + timedelta(seconds=patience)
    return sooner if plan.due.look_at is None else min(sooner, plan.due.look_at)
