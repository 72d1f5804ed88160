"""A process that runs steps: its registration and lease, its runners, one slice at a time."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from functools import cached_property
from uuid import UUID

import psycopg

from orchestrator import logs
from orchestrator.conf import Conf
from orchestrator.executor.breakers import Breakers
from orchestrator.executor.costs import Costs
from orchestrator.executor.cpu import Helpers
from orchestrator.executor.flights import Flight, Landing
from orchestrator.executor.loop import Loop
from orchestrator.executor.plans import Plans
from orchestrator.executor.slice import Slice
from orchestrator.executor.threads import Threads
from orchestrator.handlers import Registry
from orchestrator.services.sessions import make_pools
from orchestrator.store import Connection, connect, work, workers
from orchestrator.store.work import Claimed, Completion
from tenants.connections import Pools, addresses

logger = logging.getLogger(__name__)

FALLBACK_S = 1.0
"""How often an idle process asks for work by itself, in case no hint can reach it."""
HANDLERS_EVERY_S = 3600.0
RECONNECT_S = (0.1, 0.2, 0.5, 1.0)


class Child:
    """One per prefork child (or per process, in tests).  `draining` is read, never written, here."""

    def __init__(
        self, *, conf: Conf, queues: list[str], registry: Registry, is_draining: object = None
    ) -> None:
        self.conf = conf
        self.queues = queues
        self.registry = registry
        self.worker_id = 0
        self.handler_ids: list[int] = []
        self.costs = Costs()
        self.breakers = Breakers(conf)
        self.plans = Plans(registry)
        self.landing = Landing()
        self.alive = True
        self._is_draining = is_draining
        self._drained = False
        self._ready = threading.Event()
        self._slice_lock = threading.Lock()
        self._slice: Slice | None = None
        self._runs_on = False
        self._connection: Connection | None = None
        self._failures = 0
        self._handlers_at = 0.0

    @cached_property
    def loop(self) -> Loop:
        """The event loop of async handlers, made when the first one runs."""
        return Loop(self.landing)

    @cached_property
    def threads(self) -> Threads:
        """The threads of blocking handlers."""
        return Threads(self.landing)

    @cached_property
    def helpers(self) -> Helpers:
        """The processes of cpu steps, and of steps that were lost before."""
        return Helpers(self.landing, self.pools, keep=self.conf.cpu_limit)

    @cached_property
    def pools(self) -> Pools:
        """The sessions that steps get to their tenants' databases."""
        return make_pools(self.conf)

    @property
    def draining(self) -> bool:
        """Whether the worker is stopping, or staff want it to take nothing more."""
        return self._drained or (callable(self._is_draining) and bool(self._is_draining()))

    # -- the lease -----------------------------------------------------------------------------

    def start(self) -> None:
        """Register and keep the lease, in a thread; ask for work when nothing else does, in another."""
        threading.Thread(target=self._keep_lease, name="lease", daemon=True).start()
        threading.Thread(target=self._fall_back, name="fallback", daemon=True).start()

    def _keep_lease(self) -> None:
        failures = 0
        while self.alive:
            try:
                with connect(name="lease", direct=True) as connection:
                    self._register(connection)
                    failures = 0
                    while self._renew(connection):
                        self._wait_for_renewal()
            except psycopg.Error as error:
                logger.warning("the lease's connection failed: %s", str(error).strip())
                time.sleep(RECONNECT_S[min(failures, len(RECONNECT_S) - 1)])
                failures += 1

    def _register(self, connection: Connection) -> None:
        """The lock first, then the row says that it is held."""
        self._handlers_at = time.monotonic()
        specs = self.registry.all()
        ids = workers.register_handlers(
            connection,
            [
                workers.HandlerRow(
                    s.name,
                    s.queue,
                    s.timeout,
                    s.kind,
                    s.batch,
                    {
                        "parameters": list(s.parameters),
                        "required": list(s.required),
                        "accepts_any": s.accepts_any,
                        "constant": list(s.constant),
                    },
                )
                for s in specs
            ],
        )
        if not self.worker_id:
            self.handler_ids = [ids[s.name] for s in specs]
            self.costs.reset([s.name for s in specs])
            host, pid = socket.gethostname(), os.getpid()
            logs.process["worker"] = f"{host}:{pid}"
            self.worker_id = workers.register(
                connection,
                name=f"{host}:{pid}",
                host=host,
                pid=pid,
                queues=self.queues,
                handler_ids=self.handler_ids,
            )
        deadline = time.monotonic() + self.conf.lease_s
        while not workers.lock(
            connection, self.worker_id
        ):  # a broken session may keep it for a moment
            if time.monotonic() > deadline:
                raise psycopg.OperationalError(
                    "the worker's lock is held by a session that does not end"
                )
            time.sleep(0.2)

    def _renew(self, connection: Connection) -> bool:
        if not self.alive:
            return False
        running = self._slice
        in_flight = len(running.flights) + len(running.stuck) if running else 0
        stopping = callable(self._is_draining) and bool(self._is_draining())
        draining = stopping or bool(running and running.draining_since is not None)
        drain = workers.renew(connection, self.worker_id, in_flight=in_flight, draining=draining)
        if drain is None:
            if self.alive:  # else it is we who took the row away
                self._die("its row is gone: the server gave its work to others")
            return False
        self._drained = drain
        self._ready.set()
        if in_flight:
            workers.charge(connection, self.worker_id)
        self._give_back_strays(connection)
        if time.monotonic() - self._handlers_at > HANDLERS_EVERY_S:
            self._register(connection)
        return self.alive

    def _wait_for_renewal(self) -> None:
        """Until the next renewal is due, or draining must be told."""
        until = time.monotonic() + self.conf.renew_s
        told = self.draining
        while self.alive and time.monotonic() < until and self.draining == told:
            time.sleep(0.25)

    def _give_back_strays(self, connection: Connection) -> None:
        """Steps that the database counts as ours and that we do not have (an answer was lost)."""
        held: set[tuple[int, UUID, int, int, int]] = set()
        if running := self._slice:
            known = [*running.flights, *running.stuck]
            held.update((*flight.claimed.key, flight.claimed.epoch) for flight in known)
            held.update((*c.claimed.key, c.claimed.epoch) for c in list(running.completions))
        strays = [row for row in workers.strays(connection, self.worker_id) if row not in held]
        if not strays:
            return
        logger.warning("%s steps were claimed by us and never arrived: given back", len(strays))
        completions = [
            Completion(
                Claimed(
                    "step",
                    *row[:4],
                    0,
                    row[4],
                    0,
                    0,
                    False,
                    None,
                    None,
                    "{}",
                    None,
                    None,
                    None,
                    None,
                    False,
                ),
                "ready",
                0.0,
                counts=False,
            )
            for row in strays
        ]
        work.exchange(connection, self.worker_id, completions, [], None)

    def _die(self, why: str) -> None:
        logger.error("this process ends: %s", why)
        self.alive = False
        os._exit(1)

    def retire(self) -> None:
        """Let a slice end (the fallback's is no task that Celery waits for), give back whatever is
        left and take our row away; the process ends after this.

        Where code still runs that only this process's end can end, what it holds is not given back before:
        the reaper does that."""
        ended = self._slice_lock.acquire(timeout=self.conf.grace_s + 2 * self.conf.renew_s)
        self.alive = False
        if ended:
            self._slice_lock.release()
        self.pools.close()
        if not self.worker_id or self._runs_on:
            return
        try:
            with connect(name="retire") as connection:
                workers.reap(connection, self.worker_id)
        except psycopg.Error as error:
            logger.warning("could not say goodbye (%s): the reaper notices", str(error).strip())

    # -- slices --------------------------------------------------------------------------------

    def execute(self) -> None:
        """Run a slice, or tell the one that runs that there is work."""
        if not self._ready.wait(self.conf.renew_s):
            return
        if not self._slice_lock.acquire(blocking=False):
            self.landing.ring()
            return
        try:
            self._slice = Slice(self)
            self._slice.run()
            retiring = self._slice.retiring
            self._runs_on = bool(self._slice.stuck)
            if retiring:
                self.alive = False  # the fallback begins nothing more
        finally:
            self._slice = None
            self._slice_lock.release()
        if retiring:
            self.retire()
            os._exit(0)

    def _fall_back(self) -> None:
        while self.alive:
            time.sleep(FALLBACK_S)
            self.helpers.tidy()
            if self.draining or not self._ready.is_set() or self._slice is not None:
                continue
            try:
                with self._slice_lock:
                    waits = workers.work_waits(self.connection())
            except psycopg.OperationalError as error:
                self.disconnected(error)
                continue
            if waits:
                self.execute()

    # -- the work's connection -----------------------------------------------------------------

    def connection(self) -> Connection:
        """The control loop's connection; used under the slice's lock alone."""
        if self._connection is None or self._connection.closed:
            self._connection = connect(name="worker")
        self._failures = 0
        return self._connection

    def end_session(self, flight: Flight) -> None:
        """Let a step's connection do nothing more: it is cut here and ended in the server."""
        session = flight.session
        pid = session.backend_pid
        session.cut()
        if pid is None:
            return
        try:
            addresses.end_session(self.connection(), flight.claimed.tenant_id, pid)
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            self.disconnected(error)

    def drop_connection(self) -> None:
        """Close it; the next use makes a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def disconnected(self, error: psycopg.Error) -> None:
        """The database does not answer: drop the connection and wait a little."""
        logger.warning("no answer from the database: %s", str(error).strip())
        self.drop_connection()
        pause = RECONNECT_S[min(self._failures, len(RECONNECT_S) - 1)]
        self._failures += 1
        self.landing.wait(pause)
