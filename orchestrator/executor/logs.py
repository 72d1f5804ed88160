"""Lines that the handlers of a process log: gathered, and written together a few times a second."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

import psycopg

from orchestrator.domain import steplog
from orchestrator.domain.steplog import Limits, Lines
from orchestrator.store import logs
from orchestrator.store.logs import Written
from orchestrator.store.work import Claimed

if TYPE_CHECKING:
    from orchestrator.conf import Conf
    from orchestrator.executor.child import Child
    from orchestrator.executor.flights import Flight

logger = logging.getLogger(__name__)

EVERY_S = 0.2
"""At most one write in so long while attempts run, however much they log."""
AT_ONCE = 2_000
"""Lines of one statement."""
AT_ONCE_BYTES = 1024 * 1024


def limits(conf: Conf) -> Limits:
    """What is kept of an attempt."""
    return Limits(
        level=steplog.LEVELS[conf.step_log_level],
        lines=conf.step_log_lines,
        line_bytes=conf.step_log_line_bytes,
        bytes=conf.step_log_bytes,
    )


class Logs:
    """The lines of a slice's flights.  An attempt that logs nothing takes no part in it."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._limits = limits(child.conf)
        self._told: deque[Lines] = deque()
        self._waiting: deque[Written] = deque()
        self._urgent = False
        self._again = False
        self._rung = False
        self._due_at = 0.0

    def lines(self, claimed: Claimed) -> Lines:
        """Where an attempt's lines go."""
        return Lines(self._limits, claimed.mask, self._notice, claimed)

    def _notice(self, lines: Lines) -> None:
        """An attempt has logged (from its thread); the first one after a while is written at once."""
        self._told.append(lines)
        if not self._rung and time.monotonic() >= self._due_at:
            self._rung = True
            self._child.landing.ring()

    def landed(self, flight: Flight) -> None:
        """A flight has ended: its lines are written before its outcome, and no more are taken."""
        lines = flight.context._lines
        lines.close()
        if lines:
            self._gather(lines)
            self._urgent = True

    def _gather(self, lines: Lines) -> None:
        claimed = cast("Claimed", lines.owner)
        self._waiting.extend(Written(claimed, line) for line in lines.take())

    def flush(self) -> bool:
        """Write what is new, if it is time.  False: the database does not answer, so try again before
        anything that ended is written: an attempt's end never comes before its lines."""
        if not self._told and not self._waiting:
            return True
        if not self._urgent and not self._again and time.monotonic() < self._due_at:
            return True
        self._rung = False
        while self._told:
            self._gather(self._told.popleft())
        try:
            for batch in self._batches():
                self._write(batch)
                self._again = False
                for _ in batch:
                    self._waiting.popleft()
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            self._again = True
            self._child.disconnected(error)
            return False
        self._urgent = False
        self._due_at = time.monotonic() + EVERY_S
        return True

    def _write(self, batch: list[Written]) -> None:
        """No fault in a log may stop the steps: what is refused is lost.  Where a line is at fault, it
        alone: the lines of other attempts, and tenants, are written without it."""
        try:
            logs.write(self._child.connection(), batch, again=self._again)
        except (psycopg.OperationalError, psycopg.InterfaceError):
            raise
        except psycopg.Error as error:
            if len(batch) > 1 and isinstance(error, psycopg.DataError):
                half = len(batch) // 2
                self._write(batch[:half])
                self._write(batch[half:])
            else:
                logger.error("%s lines of handlers are lost: %s", len(batch), error)

    def _batches(self) -> Iterator[list[Written]]:
        while self._waiting:
            batch: list[Written] = []
            size = 0
            for one in self._waiting:
                size += one.line.size
                if batch and (len(batch) >= AT_ONCE or size > AT_ONCE_BYTES):
                    break
                batch.append(one)
            yield sorted(batch, key=lambda one: one.line.at)
