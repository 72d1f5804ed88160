"""A slice: one stretch of a worker process executing steps, as one loop.

    settle what has ended -> write it and claim what fits (one round trip) -> start it -> wait

It ends when nothing is in flight and nothing was claimed.  A busy process so needs no broker, and
completions batch by themselves under load: whatever ended while the last round trip was under way
goes with the next one."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID

import psycopg

from orchestrator import broadcast, dispatch
from orchestrator.domain.maps import SOURCE
from orchestrator.domain.undo import UNDO
from orchestrator.executor import deciding, invoke, payloads, secrets
from orchestrator.executor.ending import TIMEOUTS, conclude, isolate
from orchestrator.executor.flights import Flight
from orchestrator.executor.heartbeat import Heartbeats
from orchestrator.executor.later import Later
from orchestrator.executor.loading import load, prepare
from orchestrator.executor.logs import Logs
from orchestrator.store import Connection, closing, work
from orchestrator.store.settling import Settled
from orchestrator.store.work import Claimed, Completion, Verdict, Wanted

if TYPE_CHECKING:
    from orchestrator.executor.child import Child

logger = logging.getLogger(__name__)

CLAIM_MOST = 50
"""Steps taken at once: as many as keep a process busy for some milliseconds, so that others get theirs."""
WAKE_EVERY_S = 0.1
ALONE_EVERY_S = 0.25
"""How often a busy process asks for steps that were lost before, which run in processes of their own."""
ASYNC_SLACK_S = 0.1
"""A cancelled coroutine ends within a turn of its loop; after this its outcome is written without it."""
STUCK_S = 2.0
"""Code that still runs so long after it was cut off makes its process retire."""


class Slice:
    """The control loop's state; it runs in one thread of its child process."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.conf = child.conf
        self.flights: dict[Flight, None] = {}
        self.stuck: dict[Flight, None] = {}
        self.completions: list[Completion] = []
        self.verdicts: list[Verdict | Settled] = []
        self.released: list[Claimed] = []
        self.heartbeats = Heartbeats(child)
        self.logs = Logs(child)
        self.woke_at = 0.0
        self.polled_at = 0.0
        self.later = Later()
        self.alone_at = 0.0
        self.draining_since: float | None = None
        self.retiring = False

    def run(self) -> None:
        """Until there is nothing to do.  Gives everything back when it must end by an exception."""
        try:
            while self._turn():
                pass
        except BaseException:
            logger.exception("the slice died: its steps go back")
            self._abandon()
            raise

    def _turn(self) -> bool:
        self._settle()
        self._watch()
        if not self.heartbeats.flush(self.flights) or not self.logs.flush():
            return True
        wanted = self._wanted()
        claimed = self._exchange(wanted)
        if claimed:
            self._start(claimed)
        if self.completions or self.verdicts or self.released:
            return True
        if not self.flights and not self.stuck and not claimed:
            return self.draining_since is None and self.later.wait(self.child.landing)
        if self._is_spent():
            return False
        if not claimed:
            self.child.landing.wait(self._patience())
        return True

    # -- what has ended ------------------------------------------------------------------------

    def _settle(self) -> None:
        for flight, result in self.child.landing.take():
            if flight in self.stuck:
                del self.stuck[flight]
                self.released.append(flight.claimed)
                continue
            if flight not in self.flights:
                continue
            del self.flights[flight]
            self.heartbeats.landed(flight)
            self.logs.landed(flight)
            self.child.costs.observe(flight.claimed, flight.plan, flight.seconds)
            self.child.breakers.observe(flight, result)
            self.completions.append(self._concluded(flight, result))

    def _concluded(self, flight: Flight, result: object) -> Completion:
        done = conclude(flight, result, max_bytes=self.conf.payload_bytes)
        done.ended = flight.started + flight.seconds
        return done

    # -- what must end -------------------------------------------------------------------------

    def _watch(self) -> None:
        now = time.monotonic()
        self._notice_draining(now)
        for flight in list(self.flights):
            if flight.ending is None and flight.deadline <= now:
                self._end(flight, "timeout", now)
            silent_at = flight.silent_at
            if flight.ending is None and silent_at is not None and silent_at <= now:
                self._end(flight, "heartbeat_timeout", now)
            if flight.cut_at and flight.cut_at <= now:
                self._cut(flight, now)
        if not self.retiring and any(now - flight.cut_at > STUCK_S for flight in self.stuck):
            logger.warning(
                "a handler did not end after its cut-off: this process hands back its work and retires"
            )
            self.retiring = True
            if self.draining_since is None:
                self.draining_since = min(flight.cut_at for flight in self.stuck)
            self._notice_draining(now)

    def _is_spent(self) -> bool:
        """Nothing is left but code that does not end although it has had its grace: only the end of
        the process ends it, and gives back what it holds."""
        now = time.monotonic()
        return (
            self.retiring
            and not self.flights
            and all(
                now >= max(flight.asked_at + self.conf.grace_s, flight.cut_at + STUCK_S)
                for flight in self.stuck
            )
        )

    def _end(self, flight: Flight, why: str, now: float) -> None:
        """Ask a flight to end, and fix when it is cut off if it does not."""
        flight.ending = why
        flight.asked_at = now
        flight.stop.asked = True
        kind = flight.plan.kind
        if why in TIMEOUTS:
            grace = ASYNC_SLACK_S if kind == "async" or flight.claimed.suspect else 0.0
        else:
            grace = self.conf.grace_s
        flight.cut_at = now + grace
        if kind == "async":
            self.child.loop.cancel(flight)
        elif kind == "cpu" and grace:
            self.child.helpers.cancel(flight)

    def _cut(self, flight: Flight, now: float) -> None:
        """It has not ended: stop its code where that can be done, else write its outcome without it."""
        self.child.end_session(flight)
        if flight.plan.kind == "cpu":
            flight.cut_at = 0.0
            self.child.helpers.kill(flight)  # its end comes at once
            return
        if flight.plan.kind == "blocking":
            self.child.threads.cut(flight)
        del self.flights[flight]
        self.stuck[flight] = None
        self.heartbeats.landed(flight)
        self.logs.landed(flight)
        flight.seconds = now - flight.started
        completion = self._concluded(flight, invoke.Fault("cancelled", "cut off", retry=False))
        completion.held = True
        if completion.outcome == "ready":  # any process would start it while this code still runs
            completion.outcome, completion.reason, completion.delay_s = "waiting", "retry", 0.0
        self.completions.append(completion)

    def _notice_draining(self, now: float) -> None:
        if not (self.child.draining or self.retiring):
            return
        if self.draining_since is None:
            self.draining_since = now
        if now - self.draining_since >= self.conf.grace_s:
            for flight in self.flights:
                if flight.ending is None:
                    self._end(flight, "drain", now)
                    flight.asked_at = self.draining_since
                    flight.cut_at = now + ASYNC_SLACK_S

    def _cancel_closing(self, closing_runs: dict[UUID, bool]) -> None:
        now = time.monotonic()
        for flight in self.flights:
            late = closing_runs.get(flight.claimed.run_id)
            if late is None or flight.ending is not None or flight.claimed.batch == UNDO:
                continue
            if flight.plan.step.trigger_rule != "always" or late:
                self._end(flight, "cancel", now)

    def _cancel_maps(self, connection: Connection) -> None:
        """Batches and sources of maps that have failed; never their compensations and undos."""
        batches = [
            flight
            for flight in self.flights
            if (flight.claimed.batch > 0 or flight.claimed.batch == SOURCE) and not flight.ending
        ]
        failed = closing.failed_maps(connection, {f.claimed.key[1:3] for f in batches})
        for flight in batches:
            if flight.claimed.key[1:3] in failed:
                self._end(flight, "cancel", time.monotonic())

    # -- the round trip ------------------------------------------------------------------------

    def _wanted(self) -> Wanted | None:
        if self.draining_since is not None or not self.child.alive:
            return None
        cpu = suspects = 0
        for flight in self.flights:
            cpu += flight.plan.kind == "cpu"
            suspects += flight.claimed.suspect
        room = (
            min(self.conf.async_limit, self.conf.thread_limit)
            - (len(self.flights) - cpu)
            - len(self.stuck)
        )
        now = time.monotonic()
        alone = suspects < self.conf.suspect_limit and (
            not self.flights or now - self.alone_at >= ALONE_EVERY_S
        )
        if alone:
            self.alone_at = now
        return Wanted(
            queues=self.child.queues,
            handlers=self.child.handler_ids,
            costs=self.child.costs.means,
            want=max(0, min(room, CLAIM_MOST)),
            want_cpu=max(0, self.conf.cpu_limit - (cpu - suspects)),
            alone=alone,
            outputs_bytes=self.conf.outputs_bytes,
        )

    def _exchange(self, wanted: Wanted | None) -> list[Claimed]:
        """One round trip.  When the database does not answer, everything is sent again until it does."""
        completions, verdicts, released = self.completions, self.verdicts, self.released
        if not completions and not verdicts and not released and wanted is None:
            self._poll()
            return []
        try:
            connection = self.child.connection()
            self.child.breakers.tell(connection)
            self.child.pools.tell(connection)
            if released:
                work.unhold(connection, self.child.worker_id, released)
                self.released = []
            payloads.put_away(connection, self.child.plans, completions)
            verdicts = self.verdicts = payloads.verdicts_put_away(connection, verdicts)
            late, claimed = work.exchange(
                connection, self.child.worker_id, completions, verdicts, wanted
            )
            ended = (one.claimed for one in (*completions, *verdicts))
            broadcast.hint({one.tenant_id for one in (*ended, *claimed)})
            self.later.heed(claimed)
            self.completions, self.verdicts = [], []
            if late:
                logger.warning("%s late results were refused", len(late))
            self._poll()
            self.child.plans.need(connection, (c.version_id for c in claimed))
            self.heartbeats.read(connection, claimed)
            claimed = secrets.opening(connection, self.child.plans, claimed)
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            self.child.disconnected(error)
            return []
        except psycopg.DataError:
            isolate(self.child.connection(), self.child.worker_id, completions)
            self.completions = []
            self.verdicts = []  # were not written; they are asked for again after a second
            return []
        if wanted is not None and claimed and len(claimed) >= wanted.want:
            self._wake_another()
        if any(one.suspect for one in claimed):
            self.alone_at = 0.0  # more were lost with it, as likely as not
        return claimed

    def _poll(self) -> None:
        """Ask which of the runs in flight are closing, at most every `poll_s`."""
        now = time.monotonic()
        if not self.flights or now - self.polled_at < self.conf.poll_s:
            return
        self.polled_at = now
        runs = {flight.claimed.run_id for flight in self.flights}
        try:
            connection = self.child.connection()
            self._cancel_closing(closing.closing_runs(connection, list(runs)))
            self._cancel_maps(connection)
            self.child.breakers.refresh(connection, self.flights)
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            self.child.disconnected(error)

    def _wake_another(self) -> None:
        """There may be more than this process takes: wake one more, which does the same."""
        now = time.monotonic()
        if now - self.woke_at >= WAKE_EVERY_S:
            self.woke_at = now
            dispatch.wake(self.child.queues)

    # -- what was claimed ----------------------------------------------------------------------

    def _start(self, claims: Iterable[Claimed]) -> None:
        coroutines: list[Flight] = []
        # all plans first: deciding may fetch others, and those may take these ones' place
        planned = [(claim, self.child.plans.get(claim.version_id)) for claim in claims]
        for claim, plan in planned:
            claimed = claim
            if claimed.kind != "step":
                verdict = deciding.decide(self.child, plan, claimed)
                self.verdicts += [] if verdict is None else [verdict]
                continue
            step = plan.of(claimed)
            if claimed.suspect:
                # a process died under it: it takes no bystander with it twice
                step = replace(step, kind="cpu")
            flight = prepare(self.child, self.heartbeats, self.logs, plan.tenant, step, claimed)
            try:
                load(self.child.connection(), plan, flight, max_bytes=self.conf.payload_bytes)
            except invoke.Fault as fault:
                self.completions.append(self._concluded(flight, fault))
                continue
            if held := self.child.breakers.held(self.child.connection(), flight):
                self.completions.append(held)
                continue
            self.flights[flight] = None
            if step.kind == "async":
                coroutines.append(flight)
            elif step.kind == "cpu":
                self.child.helpers.start(flight)
            else:
                self.child.threads.start(flight)
        if coroutines:
            self.child.loop.start(coroutines)

    def _patience(self) -> float:
        """Seconds until something must be looked at, if nothing ends before."""
        patience = self.conf.poll_s
        now = time.monotonic()
        for flight in self.flights:
            at = flight.cut_at
            if flight.ending is None:
                at = min(flight.deadline, flight.silent_at or flight.deadline)
            if at:
                patience = min(patience, at - now)
        return max(0.001, self.later.within(patience))

    def _abandon(self) -> None:
        """This slice dies by an exception: its claims go back at once."""
        given_back = [
            Completion(flight.claimed, "ready", 0.0, counts=False) for flight in self.flights
        ]
        try:
            self.child.drop_connection()
            for flight in self.flights:
                self.logs.landed(flight)
            self.logs.flush()
            work.exchange(
                self.child.connection(),
                self.child.worker_id,
                self.completions + given_back,
                [],
                None,
            )
        except psycopg.Error as error:
            logger.warning("they could not be given back (%s): the lease's renewal does it", error)
