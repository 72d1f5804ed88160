"""The clock: duties done again and again, each in its own thread, on its own connection, under its
own advisory lock, so that urgent ones never wait for slow ones and any number of clocks may run."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import psycopg

from orchestrator import broadcast, dispatch
from orchestrator.conf import Conf
from orchestrator.services import actions, maintenance, rollups
from orchestrator.services.firing import Firing
from orchestrator.store import Connection, clock, connect

logger = logging.getLogger(__name__)

NOTE_EVERY_S = 2.0
"""How often a duty writes down that it is done, when nothing came of it."""
LOCK_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Duty:
    """Something to do every `interval_s`; `act` answers how much it changed."""

    name: str
    interval_s: float
    act: Callable[[Connection], int]


class Publisher:
    """Tells the channel layer which tenants and runs changed, at most once per tick and tenant."""

    def __init__(self) -> None:
        self._told: dict[int, int] | None = None
        self._loop = asyncio.new_event_loop()

    def __call__(self, connection: Connection) -> int:
        now = clock.positions(connection)
        if self._told is None:
            self._told = now
            return 0
        changed = [(tenant, seq) for tenant, seq in now.items() if seq > self._told.get(tenant, 0)]
        for tenant, seq in changed:
            runs = clock.touched_runs(
                connection,
                tenant_id=tenant,
                after=self._told.get(tenant, 0),
                upto=seq,
                limit=broadcast.MANY + 1,
            )
            self._loop.run_until_complete(broadcast.tell(tenant, runs, seq))
            self._told[tenant] = seq
        return len(changed)


def duties(conf: Conf) -> list[Duty]:
    """Every duty of the clock, urgent ones first."""

    def due(connection: Connection) -> int:
        queues = clock.due(connection)
        dispatch.wake(queues)
        return len(queues)

    def wake(connection: Connection) -> int:
        queues = clock.eligible(connection, lease_s=conf.lease_s)
        dispatch.wake(queues)
        return len(queues)

    def unserved(connection: Connection) -> int:
        queues = clock.unserved(connection, lease_s=conf.lease_s)
        dispatch.wake(queues)
        return len(queues)

    return [
        Duty("due", 0.2, due),
        Duty("publish", 0.2, Publisher()),
        Duty("expire", 0.25, clock.expire),
        Duty("schedules", 0.1, Firing()),
        Duty("wake", 0.25, wake),
        Duty("act", 0.25, actions.act),
        Duty("reap", 1.0, maintenance.Reaper(conf.lease_s)),
        Duty("unserved", 1.0, unserved),
        Duty("caches", 1.0, clock.tend_caches),
        Duty("drop_outputs", 1.0, clock.drop_outputs),
        Duty("reconcile", 60.0, maintenance.reconcile),
        Duty("roll", 1.0, lambda connection: rollups.roll(connection=connection)),
        Duty("prune_rollups", 600.0, lambda connection: rollups.prune(connection=connection)),
        Duty("retain", 600.0, lambda connection: maintenance.retain(connection, conf)),
    ]


class Clock:
    """Runs duties until it is told to stop."""

    def __init__(self, todo: list[Duty]) -> None:
        self._duties = todo
        self._stop = threading.Event()

    def stop(self) -> None:
        """End all duties after their present tick."""
        self._stop.set()

    def run(self) -> None:
        """Do the duties; returns after `stop`."""
        threads = [
            threading.Thread(
                target=self._keep, args=(duty,), name=f"clock-{duty.name}", daemon=True
            )
            for duty in self._duties
        ]
        for thread in threads:
            thread.start()
        self._stop.wait()
        for thread in threads:
            thread.join(5)

    def _keep(self, duty: Duty) -> None:
        while not self._stop.is_set():
            try:
                with connect(name=f"clock {duty.name}", direct=True) as connection:
                    if clock.lock_duty(connection, duty.name):
                        self._tick(connection, duty)
            except psycopg.OperationalError as error:
                logger.warning(
                    "clock %s: the database does not answer: %s", duty.name, str(error).strip()
                )
            except Exception:
                logger.exception("clock %s: begun again", duty.name)
            self._stop.wait(LOCK_EVERY_S * random.uniform(0.8, 1.2))  # noqa: S311  (spread, no secret)

    def _tick(self, connection: Connection, duty: Duty) -> None:
        """Do one duty on a connection that holds its lock, until something fails."""
        noted = 0.0
        ticks = changed = 0
        while not self._stop.is_set():
            begun = time.monotonic()
            try:
                changed += duty.act(connection)
                ticks += 1
            except psycopg.OperationalError:
                raise
            except Exception as error:
                clock.tick(
                    connection, duty.name, interval_ms=round(duty.interval_s * 1000), ticks=ticks,
                    changed=changed, error=f"{type(error).__name__}: {error}"[:500],
                )  # fmt: skip
                raise
            if begun - noted >= NOTE_EVERY_S:
                clock.tick(
                    connection, duty.name, interval_ms=round(duty.interval_s * 1000), ticks=ticks,
                    changed=changed, error="",
                )  # fmt: skip
                noted, ticks, changed = begun, 0, 0
            self._stop.wait(max(0.0, duty.interval_s - (time.monotonic() - begun)))
