"""The parts that the database tells of."""

from __future__ import annotations

import time
from datetime import timedelta

from django.utils import timezone

from orchestrator.conf import conf
from orchestrator.domain.health import Check, State, judge_canary
from orchestrator.selectors.health import outside
from orchestrator.selectors.health.looking import MEND
from orchestrator.store import gauges, health, slas
from orchestrator.store.connect import Connection, pool_use
from orchestrator.store.gauges import DutyGauge, WorkerGauge

SILENT_CLOCK_S = 10.0
SILENT_WORKER_S = 15.0
SLOW_DATABASE_S = 0.25
OLD_SNAPSHOT_S = 300.0
WAITING_S = 5.0
STUCK_S = 60.0
UNCOUNTED_S = 30.0
LONG_UNCOUNTED_S = 600.0
UNSENT_S = 120.0
QUEUED_SESSIONS = 4


def database(connection: Connection) -> Check:
    """How fast it answers, its connections, its oldest snapshot."""
    seen, took = _timed(connection)
    if took > SLOW_DATABASE_S:  # once may be the machine's hiccup
        seen, again = _timed(connection)
        took = min(took, again)
    pool = pool_use()
    pooled = "" if pool is None else f", {pool.used} of {pool.most} of this process's pool"
    detail = (
        f"PostgreSQL {seen.version.split()[0]} answers in {took * 1000:.1f} ms;"
        f" {seen.connections} of {seen.max_connections} connections{pooled};"
        f" oldest snapshot {seen.oldest_snapshot_s:.0f} s."
    )
    if seen.connections >= seen.max_connections * 0.9:
        return Check("database", State.DEGRADED, detail, "Raise PostgreSQL's max_connections.")
    if seen.oldest_snapshot_s > OLD_SNAPSHOT_S:
        mend = "End the transaction that is open so long (`manage.py doctor` names it): nothing can be vacuumed."
        return Check("database", State.DEGRADED, detail, mend)
    if took > SLOW_DATABASE_S:
        mend = "Look at the load of the database's machine."
        return Check("database", State.DEGRADED, detail, mend)
    if pool is not None and pool.waiting > QUEUED_SESSIONS:
        mend = "Requests wait for a connection of this process: start more web processes."
        return Check("database", State.DEGRADED, detail, mend)
    return Check("database", State.OK, detail)


def _timed(connection: Connection) -> tuple[gauges.Server, float]:
    begun = time.perf_counter()
    seen = gauges.server(connection)
    return seen, time.perf_counter() - begun


def clock(connection: Connection) -> Check:
    """Whether every duty is done in time, and without errors."""
    duties = gauges.duties(connection)
    ages = [duty.silent_s for duty in duties if duty.silent_s is not None]
    if not ages:
        return Check("clock", State.DOWN, "It has never run.", MEND["clock"])
    if min(ages) > SILENT_CLOCK_S:
        detail = f"Last tick {min(ages):.0f} s ago."
        since = timezone.now() - timedelta(seconds=min(ages))
        return Check("clock", State.DOWN, detail, MEND["clock"], since)
    late = [f"{duty.name} by {lag(duty):.0f} s" for duty in duties if _is_late(duty)]
    wrong = [f"{duty.name} ({duty.error})" for duty in duties if duty.error]
    if late or wrong:
        said = "; ".join(
            words
            for words in (
                f"late: {', '.join(late)}" if late else "",
                f"failing: {', '.join(wrong)}" if wrong else "",
            )
            if words
        )
        return Check("clock", State.DEGRADED, f"{said}."[:400], "Look at the clock's log.")
    return Check("clock", State.OK, f"{len(duties)} duties; last tick {min(ages):.1f} s ago.")


def lag(duty: DutyGauge) -> float:
    """Seconds by which a duty is later than its interval."""
    return max((duty.silent_s or 0.0) - duty.interval_s, 0.0)


def _is_late(duty: DutyGauge) -> bool:
    allowed = 2 * duty.interval_s + SILENT_CLOCK_S
    return duty.silent_s is not None and duty.silent_s > allowed


def workers(connection: Connection) -> Check:
    """Whether any is alive, and which queues they serve."""
    live = [one for one in gauges.workers(connection) if one.silent_s <= SILENT_WORKER_S]
    active = [one for one in live if one.state == "active"]
    outside.serve(queue for one in live for queue in one.queues)
    if not active:
        words = "None is alive." if not live else f"All {len(live)} are draining."
        return Check("workers", State.DOWN, words, MEND["workers"])
    flights = sum(one.in_flight for one in live)
    drained = "" if len(live) == len(active) else f", {len(live) - len(active)} draining"
    detail = f"{len(active)} active{drained}, {_by_queue(active)}; {flights} steps in flight."
    return Check("workers", State.OK, detail)


def _by_queue(workers: list[WorkerGauge]) -> str:
    queues = sorted({queue for one in workers for queue in one.queues})
    return ", ".join(f"{queue}: {sum(queue in one.queues for one in workers)}" for queue in queues)


def handlers(connection: Connection) -> Check:
    """Ready steps that no live worker can run: a worker is missing, or a tenant's definition names
    what nobody has.  Others' steps run, so the server is not down."""
    waiting = gauges.unserved(connection)
    if not waiting:
        return Check("handlers", State.OK, "Every ready step has a worker that can run it.")
    named = ", ".join(
        f"{one.steps} of {one.handler} in queue {one.queue} ({one.slug})" for one in waiting[:10]
    )
    queues = ", ".join(sorted({one.queue for one in waiting})[:10])
    mend = (
        f"Start a worker that serves {queues} (-Q) and has these handlers (ORCHESTRATOR_HANDLERS),"
        " or let the tenants publish what there is."
    )
    return Check("handlers", State.DEGRADED, f"Steps that no worker can run: {named}."[:600], mend)


def backlog(connection: Connection) -> Check:
    """Whether work that could run is claimed."""
    found = gauges.backlog(connection)
    in_use, limit = gauges.use(connection)
    ready = sum(one.ready for one in found)
    oldest = max((one.oldest_s for one in found), default=0.0)
    unclaimed = (
        max((one.oldest_s for one in found if one.room), default=0.0) if in_use < limit else 0.0
    )
    detail = f"{ready} ready steps, the oldest waits {oldest:.1f} s; {in_use} of {limit} connections in use."
    if unclaimed > WAITING_S:
        state = State.DOWN if unclaimed > STUCK_S else State.DEGRADED
        said = f"{detail} Nobody claims work that could run{_why(connection)}."
        return Check("backlog", state, said, MEND["backlog"])
    return Check("backlog", State.OK, detail)


def _why(connection: Connection) -> str:
    """Why work lies, as far as the workers' rows say."""
    live = [one for one in gauges.workers(connection) if one.silent_s <= SILENT_WORKER_S]
    active = [one for one in live if one.state == "active"]
    if not live:
        return ": no worker is alive"
    if not active:
        return f": all {len(live)} workers are draining"
    busy = sum(one.in_flight for one in active)
    return f": {len(active)} workers are there, with {busy} steps in flight"


def events(connection: Connection) -> Check:
    """The outbox: how far what counts the events, for statistics and for SLAs, is behind; and whether
    notifications go out in time."""
    behind = gauges.outbox(connection)
    slas_s = slas.behind_s(connection)
    due, late_s = gauges.unsent(connection)
    detail = f"{behind.events} events not counted yet"
    detail += f", the oldest {behind.oldest_s:.1f} s old" if behind.events else ""
    detail += f"; SLAs are {slas_s:.0f} s behind" if slas_s > UNCOUNTED_S else ""
    detail += f"; {due} notifications due"
    detail += f", the oldest for {late_s:.0f} s." if due else "."
    state, mends = State.OK, []
    if behind.oldest_s > UNCOUNTED_S:
        state = State.DOWN if behind.oldest_s > LONG_UNCOUNTED_S else State.DEGRADED
        mends.append("See the clock's log for its duty roll; a burst is worked off by itself.")
    if slas_s > UNCOUNTED_S:
        worse = State.DOWN if slas_s > LONG_UNCOUNTED_S else State.DEGRADED
        state = worse if state is State.OK else state
        mends.append("SLAs are judged late: see the clock's log for its duty sla_count.")
    if late_s > UNSENT_S:
        state = State.DEGRADED if state is State.OK else state
        mends.append("Alerts are told late: see the clock's log for its duty notify.")
    return Check("events", state, detail, " ".join(mends))


def canary(connection: Connection) -> Check:
    """What became of the runs that the clock sends."""
    return judge_canary(health.canaries(connection), every_s=conf().canary_every_s)


def breakers(connection: Connection) -> Check:
    """Hosts that `core.http` steps wait for: somebody else's trouble, so the server stays well."""
    open_ones = gauges.breakers(connection)
    if not open_ones:
        return Check("breakers", State.OK, "No host is held off.")
    named = ", ".join(f"{slug}: {count}" for slug, count in list(open_ones.items())[:10])
    detail = f"Hosts that fail and are held off, by tenant: {named}."
    return Check("breakers", State.OK, detail, "See the hosts on the tenant's Pools page.")
