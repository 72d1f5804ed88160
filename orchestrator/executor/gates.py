"""Circuit breakers inside a batch of a map: items whose host is held off wait, the others go on.

A gate belongs to one attempt of a batch.  Handlers' threads pass it, the control loop tells it what
PostgreSQL knows of hosts, and is told what calls came to; it asks for nothing itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from orchestrator.domain.masking import NO_MASK, Mask
from orchestrator.domain.retries import error_names
from orchestrator.executor.invoke import Reported
from orchestrator.handlers import Snooze

FAILURES = frozenset({"ServerFailed", "TimeoutError", "httpx.TransportError", "OSError"})
"""Exceptions after which the host counts as failing: 5xx, timeouts, no connection, no such name."""
ANSWERS = frozenset({"HttpFailed"})
"""It answered, with a status that was not wanted."""


class Held(Snooze):
    """What an item came to that was not called, for its host is held off."""

    def __init__(self, left_s: Callable[[], float]) -> None:
        super().__init__(0)
        self.left_s = left_s
        """Seconds until the host may be tried, as known when asked."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """One item's passing: `held` instead of its call, if there is one; `tried`: it tries an open host."""

    host: str | None
    held: Held | None = None
    tried: bool = False


class Gate:
    """The hosts of one attempt's items.  `tell(host, well, tried)` takes what the breakers must know."""

    def __init__(
        self,
        tell: Callable[[str, bool, bool], None],
        *,
        failures: int,
        pause_s: float,
        troubled: frozenset[str] = frozenset(),
        mask: Mask = NO_MASK,
    ) -> None:
        self._mask = mask
        self._tell = tell
        self._failures = failures
        self._pause_s = pause_s
        self._lock = threading.Lock()
        self._until: dict[str, float] = {}
        """Hosts that are held off, and until when (`time.monotonic()`)."""
        self._trials: set[str] = set()
        """Of these, the ones that the next item may try."""
        self._tried: set[str] = set()
        """Of these, the ones that an item is trying."""
        self._bad = dict.fromkeys(troubled, 0)
        """Failures in a row of hosts that failed at last."""
        self._flying: dict[str, int] = {}

    def hold(self, host: str, seconds: float) -> None:
        """This host is held off for so long."""
        with self._lock:
            if host not in self._tried and host not in self._trials:
                self._until[host] = time.monotonic() + seconds

    def try_once(self, host: str) -> None:
        """One item may try this host; the others wait for what comes of it."""
        with self._lock:
            self._until[host] = time.monotonic() + self._pause_s
            self._trials.add(host)

    def enter(self, args: Mapping[str, object]) -> Ticket:
        """May an item with these arguments be called?"""
        host = host_of(args, self._mask)
        if host is None:
            return Ticket(None)
        with self._lock:
            tries = host in self._trials
            if host in self._until and not tries:
                return Ticket(host, Held(lambda: self._left_s(host)))
            if tries:
                self._trials.discard(host)
                self._tried.add(host)
            self._flying[host] = self._flying.get(host, 0) + 1
        return Ticket(host, tried=tries)

    def leave(self, ticket: Ticket, outcome: object) -> None:
        """The item's call came to this, a value or an exception."""
        if ticket.host is None:
            return
        with self._lock:
            self._flying[ticket.host] -= 1
            self._judge(ticket.host, verdict(outcome), ticket.tried)

    def timed_out(self) -> None:
        """The attempt took too long: so did the calls that had not ended."""
        with self._lock:
            for host, count in self._flying.items():
                if count > 0:
                    self._judge(host, False, host in self._tried)

    def _left_s(self, host: str) -> float:
        until = self._until.get(host)
        return 0.0 if until is None else max(0.0, until - time.monotonic())

    def _judge(self, host: str, well: bool | None, tried: bool) -> None:
        if tried:
            self._tried.discard(host)
        if well:
            if tried:
                self._until.pop(host, None)
            failed_before = self._bad.pop(host, None) is not None
            if tried or failed_before:
                self._tell(host, True, tried)
        elif well is False and (tried or host not in self._until):
            self._bad[host] = self._bad.get(host, 0) + 1
            if tried or self._bad[host] >= self._failures:
                self._until[host] = time.monotonic() + self._pause_s
            self._tell(host, False, tried)


def host_of(args: Mapping[str, object], mask: Mask = NO_MASK) -> str | None:
    """The host that a call's `url` names, secrets hidden; None where it names none."""
    url = args.get("url")
    if not isinstance(url, str):
        return None
    try:
        return mask.text(urlsplit(url).hostname or "").rstrip(".")[:253] or None
    except ValueError:
        return None


def verdict(outcome: object) -> bool | None:
    """True: the host answered; False: it failed; None: nothing is known of it."""
    if not isinstance(outcome, BaseException):
        return True
    names = outcome.names if isinstance(outcome, Reported) else error_names(type(outcome))
    if FAILURES.intersection(names):
        return False
    return True if ANSWERS.intersection(names) else None
