"""Circuit breakers of `core.http`, per tenant and host: while one is open its steps wait, and use
neither an attempt nor a connection.

The truth is in PostgreSQL, shared by all processes.  A process asks for a tenant's troubled hosts at
most four times a second, and only while it runs `core.http`; a host that answers costs nothing more."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import psycopg

from orchestrator.conf import Conf
from orchestrator.executor.flights import Flight
from orchestrator.executor.gates import Gate, host_of, verdict
from orchestrator.executor.invoke import set_aside
from orchestrator.executor.items import ItemCalls
from orchestrator.store import Connection, breakers
from orchestrator.store.work import Claimed, Completion

HANDLER = "core.http"
FRESH_S = 0.25


@dataclass(frozen=True, slots=True)
class News:
    """What a call came to; `tried`: it was the one that tried an open host."""

    tenant_id: int
    host: str
    well: bool
    tried: bool


class Breakers:
    """What a process knows of breakers; used by the control loop alone."""

    def __init__(self, conf: Conf) -> None:
        self._failures = conf.breaker_failures
        self._pause_s = conf.breaker_pause_s
        self._troubled: dict[int, tuple[float, set[str]]] = {}
        self._trials: set[tuple[object, ...]] = set()
        self._news: list[News] = []

    def held(self, connection: Connection, flight: Flight) -> Completion | None:
        """What becomes of a flight whose host is held off; None: it may start.  A map's batch starts,
        behind a gate that its items pass one by one."""
        if flight.plan.step.handler != HANDLER:
            return None
        if isinstance(flight.work, ItemCalls):
            flight.work.gate = self._gate(connection, flight.claimed, flight.work)
            return None
        wait_s = self.wait_s(connection, flight.claimed, flight.args)
        if not wait_s:
            return None
        return set_aside(flight.claimed, flight.evaluated, reason="breaker", delay_s=wait_s)

    def wait_s(self, connection: Connection, claimed: Claimed, args: Mapping[str, object]) -> float:
        """Seconds that this call must wait for its host; 0: it may go."""
        host = host_of(args, claimed.mask)
        if host is None:
            return 0.0
        try:
            if host not in self._hosts(connection, claimed.tenant_id):
                return 0.0
            said = breakers.try_host(connection, claimed.tenant_id, host, pause_s=self._pause_s)
        except (psycopg.OperationalError, psycopg.InterfaceError):
            return 0.0  # the database is away, which the exchange deals with; the call may go
        if said < 0:
            self._trials.add((*claimed.key, claimed.epoch))
        return max(said, 0.0)

    def observe(self, flight: Flight, result: object) -> None:
        """A flight has ended: keep what that says of its host until `tell`."""
        if flight.plan.step.handler != HANDLER:
            return
        if isinstance(flight.work, ItemCalls):
            _items_ended(flight.work, late=flight.ending == "timeout")
            return
        claimed = flight.claimed
        place = (*claimed.key, claimed.epoch)
        tried = place in self._trials
        self._trials.discard(place)
        host = host_of(flight.args, claimed.mask)
        well = _verdict(flight, result)
        if host is None or well is None:
            return
        _, troubled = self._troubled.get(claimed.tenant_id, (0.0, set()))
        if tried or not well or host in troubled:
            self._news.append(News(claimed.tenant_id, host, well, tried))

    def refresh(self, connection: Connection, flights: Iterable[Flight]) -> None:
        """Let the gates of batches in flight know which hosts are held off by now."""
        gates = [
            (flight.claimed.tenant_id, flight.work.gate)
            for flight in flights
            if isinstance(flight.work, ItemCalls) and flight.work.gate is not None
        ]
        held = {
            tenant_id: breakers.held_hosts(connection, tenant_id)
            for tenant_id in {tenant_id for tenant_id, _ in gates}
        }
        for tenant_id, gate in gates:
            for host, left_s in held[tenant_id].items():
                gate.hold(host, left_s)

    def tell(self, connection: Connection) -> None:
        """Write down what was observed; what cannot be written now stays."""
        while self._news:
            one = self._news[0]
            _, troubled = self._troubled.setdefault(one.tenant_id, (0.0, set()))
            if one.well:
                breakers.answered(connection, one.tenant_id, one.host, tried=one.tried)
                troubled.discard(one.host)
            else:
                breakers.failed(
                    connection, one.tenant_id, one.host, tried=one.tried,
                    failures=self._failures, pause_s=self._pause_s,
                )  # fmt: skip
                troubled.add(one.host)
            del self._news[0]

    def _gate(self, connection: Connection, claimed: Claimed, calls: ItemCalls) -> Gate:
        """A gate for these items, which knows of the tenant's hosts what is known now."""
        held: dict[str, float] = {}
        troubled: frozenset[str] = frozenset()
        try:
            troubled = frozenset(self._hosts(connection, claimed.tenant_id))
            if troubled:
                held = breakers.held_hosts(connection, claimed.tenant_id)
        except (psycopg.OperationalError, psycopg.InterfaceError):
            pass  # the database is away, which the exchange deals with; the calls may go
        gate = Gate(
            partial(self._heard, claimed.tenant_id),
            failures=self._failures,
            pause_s=self._pause_s,
            troubled=troubled,
            mask=claimed.mask,
        )
        for host, left_s in held.items():
            if left_s > 0:
                gate.hold(host, left_s)
            elif any(host_of(args, claimed.mask) == host for args in calls.each_arguments()):
                said = breakers.try_host(connection, claimed.tenant_id, host, pause_s=self._pause_s)
                if said < 0:
                    gate.try_once(host)
                elif said > 0:
                    gate.hold(host, said)
        return gate

    def _heard(self, tenant_id: int, host: str, well: bool, tried: bool) -> None:
        """What an item's call came to; from any thread."""
        self._news.append(News(tenant_id, host, well, tried))

    def _hosts(self, connection: Connection, tenant_id: int) -> set[str]:
        """The tenant's troubled hosts, as they were a moment ago."""
        now = time.monotonic()
        read_at, hosts = self._troubled.get(tenant_id, (0.0, set()))
        if now - read_at > FRESH_S:
            hosts = breakers.troubled_hosts(connection, tenant_id)
            self._troubled[tenant_id] = (now, hosts)
        return hosts


def _items_ended(calls: ItemCalls, *, late: bool) -> None:
    """Tell the gate what it has not heard: of a helper process's items, and of those that took too long."""
    if calls.gate is None:
        return
    for place, ticket in calls.tickets.items():
        if ticket.held is None and place in calls.results:
            calls.gate.leave(ticket, calls.results[place])
    if late:
        calls.gate.timed_out()


def _verdict(flight: Flight, result: object) -> bool | None:
    """True: the host answered; False: it failed; None: nothing is known of it."""
    if flight.ending == "timeout":
        return False
    if flight.ending is not None and isinstance(result, BaseException):
        return None
    return verdict(result)
