"""Circuit breakers of `core.http`, per tenant and host: while one is open its steps wait, and use
neither an attempt nor a connection.

The truth is in PostgreSQL, shared by all processes.  A process asks for a tenant's troubled hosts at
most four times a second, and only while it runs `core.http`; a host that answers costs nothing more."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import psycopg

from orchestrator.conf import Conf
from orchestrator.domain.retries import error_names
from orchestrator.executor.flights import Flight
from orchestrator.executor.invoke import Reported, set_aside
from orchestrator.store import Connection, breakers
from orchestrator.store.work import Claimed, Completion

HANDLER = "core.http"
FRESH_S = 0.25
FAILURES = frozenset({"ServerFailed", "TimeoutError", "httpx.TransportError", "OSError"})
"""Exceptions after which the host counts as failing: 5xx, timeouts, no connection, no such name."""
ANSWERS = frozenset({"HttpFailed"})
"""It answered, with a status that was not wanted."""


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
        """What becomes of a flight whose host is held off; None: it may start."""
        if flight.plan.step.handler != HANDLER:
            return None
        wait_s = self.wait_s(connection, flight.claimed, flight.args)
        if not wait_s:
            return None
        return set_aside(flight.claimed, flight.args, reason="breaker", delay_s=wait_s)

    def wait_s(self, connection: Connection, claimed: Claimed, args: Mapping[str, object]) -> float:
        """Seconds that this call must wait for its host; 0: it may go."""
        host = host_of(args)
        if host is None or claimed.batch > 0:
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
        claimed = flight.claimed
        place = (*claimed.key, claimed.epoch)
        tried = place in self._trials
        self._trials.discard(place)
        host = host_of(flight.args)
        well = _verdict(flight, result)
        if host is None or well is None or claimed.batch > 0:
            return
        _, troubled = self._troubled.get(claimed.tenant_id, (0.0, set()))
        if tried or not well or host in troubled:
            self._news.append(News(claimed.tenant_id, host, well, tried))

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

    def _hosts(self, connection: Connection, tenant_id: int) -> set[str]:
        """The tenant's troubled hosts, as they were a moment ago."""
        now = time.monotonic()
        read_at, hosts = self._troubled.get(tenant_id, (0.0, set()))
        if now - read_at > FRESH_S:
            hosts = breakers.troubled_hosts(connection, tenant_id)
            self._troubled[tenant_id] = (now, hosts)
        return hosts


def host_of(args: Mapping[str, object]) -> str | None:
    """The host that a call's `url` names; None where it names none."""
    url = args.get("url")
    if not isinstance(url, str):
        return None
    try:
        return (urlsplit(url).hostname or "").rstrip(".")[:253] or None
    except ValueError:
        return None


def _verdict(flight: Flight, result: object) -> bool | None:
    """True: the host answered; False: it failed; None: nothing is known of it."""
    if flight.ending == "timeout":
        return False
    if flight.ending is not None and isinstance(result, BaseException):
        return None
    if not isinstance(result, BaseException):
        return True
    names = result.names if isinstance(result, Reported) else error_names(type(result))
    if FAILURES.intersection(names):
        return False
    return True if ANSWERS.intersection(names) else None
