"""How parts are looked at: side by side, each within its time, on few connections."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Lock

import psycopg

from orchestrator.domain.health import Check, State
from orchestrator.store import connect, gauges
from orchestrator.store.connect import Connection
from tenants import fence

LIMIT_S = 2.0
"""Within which all checks answer; one that does not is down."""
PART_S = 0.6
"""What one statement of a part may take, so that those after it on its connection still answer."""
FRESH_S = 2.0
"""How long an answer is used again: any number of pages ask once."""
SPARE_S = 60.0
"""How long a connection is kept that nobody has asked for."""

MEND = {
    "database": "Start PostgreSQL, or correct DATABASE_URL.",
    "broker": "Start the broker, or correct BROKER_URL. Work goes on meanwhile, a second slower.",
    "channel_layer": "Start its Redis, or correct CHANNELS_URL. Pages poll meanwhile.",
    "clock": "Start one: manage.py clock. Without it no retry, timeout or lost step is taken up.",
    "workers": "Start one: celery -A orchestrator worker -Q io,cpu.",
    "backlog": "Look at the workers: they serve these queues, but do not claim.",
    "disk": "Free space, or move DATA_DIR.",
}
Outside = Callable[[], Check]
Inside = Callable[[Connection], Check]


class Lane:
    """One connection to the database and the parts that are looked at over it, one after the other.

    The connection is kept between looks, so that looking costs no new process of PostgreSQL."""

    def __init__(self, parts: Mapping[str, Inside]) -> None:
        self.parts = parts
        self._lock = Lock()
        self._spare: tuple[Connection, float] | None = None

    def look(self, futures: Mapping[str, Future[Check]]) -> None:
        """Look at all parts; each future gets its answer, or why there is none."""
        left = list(self.parts)
        try:
            connection = self._take()
            while left:
                name = left[0]
                try:
                    futures[name].set_result(self.parts[name](connection))
                except psycopg.errors.QueryCanceled:
                    futures[name].set_result(late(name, PART_S))
                except psycopg.OperationalError:
                    raise
                except Exception as error:
                    futures[name].set_exception(error)
                left.pop(0)
            self._give(connection)
        except Exception as error:  # the database does not answer: nor does any part that is left
            for name in left:
                futures[name].set_exception(error)

    def close(self) -> None:
        """Drop the connection that is kept."""
        with self._lock:
            spare, self._spare = self._spare, None
        if spare is not None:
            spare[0].close()

    def _take(self) -> Connection:
        with self._lock:
            spare, self._spare = self._spare, None
        if spare is not None:
            connection, since = spare
            if time.monotonic() - since < SPARE_S and _answers(connection):
                return connection
            connection.close()
        connection = connect(name="health", role=fence.MONITOR)
        gauges.bound(connection, PART_S)
        return connection

    def _give(self, connection: Connection) -> None:
        with self._lock:
            other, self._spare = self._spare, (connection, time.monotonic())
        if other is not None:
            other[0].close()


def _answers(connection: Connection) -> bool:
    try:
        connection.execute("")
    except psycopg.Error:
        return False
    return True


class Looker:
    """Looks at parts outside the database, each in a thread, and inside, lane by lane."""

    def __init__(self, outside: Mapping[str, Outside], lanes: tuple[Lane, ...]) -> None:
        self._outside = outside
        self._lanes = lanes
        self._threads = ThreadPoolExecutor(max_workers=16, thread_name_prefix="health")

    def look(self) -> dict[str, Check]:
        """Every part's check, within `LIMIT_S`."""
        begun = time.monotonic()
        futures = {name: self._threads.submit(part) for name, part in self._outside.items()}
        for lane in self._lanes:
            made: dict[str, Future[Check]] = {name: Future() for name in lane.parts}
            futures |= made
            self._threads.submit(lane.look, made)
        wait(futures.values(), timeout=LIMIT_S)
        left = max(LIMIT_S - (time.monotonic() - begun), 0)
        return {name: answer(name, future, left) for name, future in futures.items()}

    def forget(self) -> None:
        """Drop what is kept between looks."""
        for lane in self._lanes:
            lane.close()


def late(name: str, limit_s: float) -> Check:
    """What is said of a part that has not answered in time."""
    return Check(name, State.DOWN, f"No answer within {limit_s:g} s.", MEND.get(name, ""))


def answer(name: str, future: Future[Check], timeout_s: float) -> Check:
    """A part's check, whatever became of looking at it."""
    try:
        return future.result(timeout=timeout_s)
    except TimeoutError:
        return late(name, LIMIT_S)
    except psycopg.Error as error:
        return of_database_error(name, error)
    except Exception as error:  # whatever a client library raises is the finding
        return Check(name, State.DOWN, f"{type(error).__name__}: {error}"[:300], MEND.get(name, ""))


def of_database_error(name: str, error: psycopg.Error) -> Check:
    """What an error of the database says of a part."""
    words = str(error).strip().splitlines()
    detail = words[0] if words else type(error).__name__
    if not isinstance(error, psycopg.OperationalError):
        said = f"The database refused: {detail}"
        return Check(name, State.DOWN, said, "Run manage.py migrate.")
    mend = MEND["database"] if name == "database" else "Mend the database first."
    return Check(name, State.DOWN, f"The database does not answer: {detail}", mend)
