"""Is the server well?  Each part's state, what was seen, and what mends it; within 2 s in all."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from threading import Lock

import psycopg
import redis
from django.conf import settings
from django.utils import timezone
from kombu.connection import Connection as BrokerConnection

from orchestrator.embedded import paths
from orchestrator.store import connect, gauges
from orchestrator.store.connect import Connection
from orchestrator.store.gauges import DutyGauge, WorkerGauge

LIMIT_S = 2.0
"""Within which all checks answer; one that does not is down."""
FRESH_S = 2.0
"""How long an answer is used again: any number of pages ask once."""
SILENT_CLOCK_S = 10.0
SILENT_WORKER_S = 15.0
SLOW_DATABASE_S = 0.25
OLD_SNAPSHOT_S = 300.0
WAITING_S = 5.0
STUCK_S = 60.0


class State(StrEnum):
    """How a part is."""

    OK = "ok"
    DEGRADED = "degraded"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Check:
    """A part of the server.  `since`: when this process first saw the present state; `mend` is
    empty where nothing is to be done."""

    name: str
    state: State
    detail: str
    mend: str = ""
    since: datetime | None = None


class _Board:
    """The last answers of this process, and since when each is what it is."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._checks: list[Check] = []
        self._until = 0.0

    def read(self, look: Callable[[], list[Check]]) -> list[Check]:
        with self._lock:
            if time.monotonic() >= self._until:
                known = {check.name: check for check in self._checks}
                self._checks = [self._dated(check, known) for check in look()]
                self._until = time.monotonic() + FRESH_S
            return list(self._checks)

    def forget(self) -> None:
        with self._lock:
            self._until = 0.0

    @staticmethod
    def _dated(check: Check, known: Mapping[str, Check]) -> Check:
        before = known.get(check.name)
        if before is not None and before.state == check.state:
            return replace(check, since=before.since)
        return replace(check, since=timezone.now())


_board = _Board()
_threads = ThreadPoolExecutor(max_workers=12, thread_name_prefix="health")
refresh = _board.forget
"""Make the next `checks` look anew."""


def checks() -> list[Check]:
    """Every part's state, at most 2 s old.  Synchronous; call it from a thread."""
    return _board.read(_look)


def overall(parts: list[Check]) -> State:
    """The worst of them."""
    states = {part.state for part in parts}
    return next((s for s in (State.DOWN, State.DEGRADED) if s in states), State.OK)


def database_ready() -> Check:
    """Whether requests can be served: the database answers within 2 s and is migrated."""
    future = _threads.submit(_ready)
    return _answer("database", future, LIMIT_S)


def _look() -> list[Check]:
    begun = time.monotonic()
    parts: dict[str, Callable[[], Check]] = {
        "broker": _broker,
        "channel_layer": _channel_layer,
        "disk": _disk,
    }
    inside: dict[str, Callable[[Connection], Check]] = {
        "database": _database,
        "clock": _clock,
        "workers": _workers,
        "backlog": _backlog,
        "breakers": _breakers,
    }
    futures = {name: _threads.submit(part) for name, part in parts.items()}
    futures |= {name: _threads.submit(_inside, part) for name, part in inside.items()}
    wait(futures.values(), timeout=LIMIT_S)
    left = max(LIMIT_S - (time.monotonic() - begun), 0)
    order = (
        "database",
        "broker",
        "channel_layer",
        "clock",
        "workers",
        "backlog",
        "breakers",
        "disk",
    )
    return [_answer(name, futures[name], left) for name in order]


def _answer(name: str, future: Future[Check], timeout_s: float) -> Check:
    try:
        return future.result(timeout=timeout_s)
    except TimeoutError:
        future.cancel()
        return Check(name, State.DOWN, f"No answer within {LIMIT_S:.0f} s.", _MEND.get(name, ""))
    except psycopg.Error as error:
        words = str(error).strip().splitlines()
        detail = words[0] if words else type(error).__name__
        if not isinstance(error, psycopg.OperationalError):
            return Check(
                name, State.DOWN, f"The database refused: {detail}", "Run manage.py migrate."
            )
        mend = _MEND["database"] if name == "database" else "Mend the database first."
        return Check(name, State.DOWN, f"The database does not answer: {detail}", mend)
    except Exception as error:  # whatever a client library raises is the finding
        return Check(
            name, State.DOWN, f"{type(error).__name__}: {error}"[:300], _MEND.get(name, "")
        )


_MEND = {
    "database": "Start PostgreSQL, or correct DATABASE_URL.",
    "broker": "Start the broker, or correct BROKER_URL. Work goes on meanwhile, a second slower.",
    "channel_layer": "Start its Redis, or correct CHANNELS_URL. Pages poll meanwhile.",
    "clock": "Start one: manage.py clock. Without it no retry, timeout or lost step is taken up.",
    "workers": "Start one: celery -A orchestrator worker -Q io,cpu.",
    "backlog": "Look at the workers: they serve these queues, but do not claim.",
    "disk": "Free space, or move DATA_DIR.",
}


def _inside(part: Callable[[Connection], Check]) -> Check:
    with connect(name="health") as connection:
        gauges.bound(connection, LIMIT_S)
        return part(connection)


def _ready() -> Check:
    with connect(name="health") as connection:
        gauges.bound(connection, LIMIT_S)
        if gauges.ready(connection):
            return Check("database", State.OK, "It answers.")
    return Check("database", State.DOWN, "It is not migrated.", "Run manage.py migrate.")


def _database(connection: Connection) -> Check:
    begun = time.perf_counter()
    seen = gauges.server(connection)
    took = time.perf_counter() - begun
    detail = (
        f"PostgreSQL {seen.version.split()[0]} answers in {took * 1000:.1f} ms;"
        f" {seen.connections} of {seen.max_connections} connections;"
        f" oldest snapshot {seen.oldest_snapshot_s:.0f} s."
    )
    if seen.connections >= seen.max_connections * 0.9:
        return Check("database", State.DEGRADED, detail, "Raise PostgreSQL's max_connections.")
    if seen.oldest_snapshot_s > OLD_SNAPSHOT_S:
        mend = (
            "End the transaction that is open so long (pg_stat_activity): nothing can be vacuumed."
        )
        return Check("database", State.DEGRADED, detail, mend)
    if took > SLOW_DATABASE_S:
        return Check(
            "database", State.DEGRADED, detail, "Look at the load of the database's machine."
        )
    return Check("database", State.OK, detail)


def _broker() -> Check:
    options = dict(settings.CELERY_BROKER_TRANSPORT_OPTIONS)
    options |= {"socket_timeout": 1, "socket_connect_timeout": 1, "max_retries": 0}
    begun = time.perf_counter()
    with BrokerConnection(
        settings.CELERY_BROKER_URL, connect_timeout=1, transport_options=options
    ) as connection:
        connection.connect()
        connection.default_channel.close()
        took = time.perf_counter() - begun
        return Check(
            "broker",
            State.OK,
            f"{connection.transport.driver_type} answers in {took * 1000:.1f} ms.",
        )


def _channel_layer() -> Check:
    url = paths.channels_url()
    if url is None:
        detail = "Within this process only: pages of other web processes poll."
        return Check("channel_layer", State.DEGRADED, detail, "Set CHANNELS_URL to a Redis.")
    begun = time.perf_counter()
    with redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1) as client:
        client.ping()
    took = time.perf_counter() - begun
    return Check("channel_layer", State.OK, f"redis answers in {took * 1000:.1f} ms.")


def _clock(connection: Connection) -> Check:
    duties = gauges.duties(connection)
    ages = [duty.silent_s for duty in duties if duty.silent_s is not None]
    if not ages:
        return Check("clock", State.DOWN, "It has never run.", _MEND["clock"])
    if min(ages) > SILENT_CLOCK_S:
        return Check("clock", State.DOWN, f"Last tick {min(ages):.0f} s ago.", _MEND["clock"])
    late = [duty.name for duty in duties if _is_late(duty)]
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


def _is_late(duty: DutyGauge) -> bool:
    allowed = 2 * duty.interval_s + SILENT_CLOCK_S
    return duty.silent_s is not None and duty.silent_s > allowed


def _workers(connection: Connection) -> Check:
    live = [one for one in gauges.workers(connection) if one.silent_s <= SILENT_WORKER_S]
    active = [one for one in live if one.state == "active"]
    unserved = gauges.unserved_queues(connection)
    if not active:
        words = "None is alive." if not live else f"All {len(live)} are draining."
        return Check("workers", State.DOWN, words, _MEND["workers"])
    detail = f"{len(active)} active, {_by_queue(active)}; {sum(one.in_flight for one in live)} steps in flight."
    if unserved:
        mend = f"Start a worker that has their handlers and serves {', '.join(unserved[:10])}."
        detail += f" Ready steps that none can run: queue {', '.join(unserved[:10])}."
        return Check("workers", State.DEGRADED, detail, mend)
    return Check("workers", State.OK, detail)


def _by_queue(workers: list[WorkerGauge]) -> str:
    queues = sorted({queue for one in workers for queue in one.queues})
    return ", ".join(f"{queue}: {sum(queue in one.queues for one in workers)}" for queue in queues)


def _backlog(connection: Connection) -> Check:
    backlog = gauges.backlog(connection)
    in_use, limit = gauges.use(connection)
    ready = sum(one.ready for one in backlog)
    oldest = max((one.oldest_s for one in backlog), default=0.0)
    unclaimed = (
        max((one.oldest_s for one in backlog if one.room), default=0.0) if in_use < limit else 0.0
    )
    detail = f"{ready} ready steps, the oldest waits {oldest:.1f} s; {in_use} of {limit} connections in use."
    if unclaimed > WAITING_S:
        state = State.DOWN if unclaimed > STUCK_S else State.DEGRADED
        return Check(
            "backlog", state, f"{detail} Nobody claims work that could run.", _MEND["backlog"]
        )
    return Check("backlog", State.OK, detail)


def _breakers(connection: Connection) -> Check:
    """Hosts that `core.http` steps wait for: somebody else's trouble, so the server stays well."""
    open_ones = gauges.breakers(connection)
    if not open_ones:
        return Check("breakers", State.OK, "No host is held off.")
    named = ", ".join(f"{slug}: {count}" for slug, count in list(open_ones.items())[:10])
    detail = f"Hosts that fail and are held off, by tenant: {named}."
    return Check("breakers", State.OK, detail, "See the hosts on the tenant's Pools page.")


def _disk() -> Check:
    folder = paths.data_dir()
    while not folder.exists():
        folder = folder.parent
    usage = shutil.disk_usage(folder)
    part = usage.free / usage.total
    detail = f"{usage.free / 2**30:.1f} GiB free of {usage.total / 2**30:.1f} GiB ({part:.0%})."
    if part < 0.02:
        return Check("disk", State.DOWN, detail, _MEND["disk"])
    if part < 0.1:
        return Check("disk", State.DEGRADED, detail, _MEND["disk"])
    return Check("disk", State.OK, detail)
