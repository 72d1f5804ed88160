"""Heartbeats of the steps in flight: gathered, and written together a few times a second."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

import psycopg

from orchestrator.domain import jsonvalue
from orchestrator.executor.flights import Flight
from orchestrator.store import Connection, heartbeats
from orchestrator.store.heartbeats import Beat
from orchestrator.store.work import Claimed

if TYPE_CHECKING:
    from orchestrator.executor.child import Child

EVERY_S = 0.25
"""At most one statement in so long, however often handlers beat and however many they are."""


class Heartbeats:
    """What handlers told since it was last written, and what attempts before them told."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._beaten = False
        self._rung = False
        self._due_at = 0.0
        self._landed: list[Flight] = []
        self._before: dict[tuple[int, UUID, int, int], str] = {}

    def notice(self) -> None:
        """A handler has beaten (from its thread); the first one after a while is written at once."""
        self._beaten = True
        if not self._rung and time.monotonic() >= self._due_at:
            self._rung = True
            self._child.landing.ring()

    def landed(self, flight: Flight) -> None:
        """A flight has ended: its last word is written before its outcome, whatever the time."""
        if flight.pulse.count != flight.told:
            self._landed.append(flight)

    def flush(self, flights: Iterable[Flight]) -> bool:
        """Write what is new, if it is time.  False: the database does not answer, so try again before
        anything that ended is written (the next attempt reads what the last one told)."""
        is_time = self._beaten and time.monotonic() >= self._due_at
        if not self._landed and not is_time:
            return True
        self._beaten = self._rung = False
        found = [*self._landed, *(f for f in flights if f.pulse.count != f.told)]
        try:
            self._write(found)
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            self._beaten = True
            self._child.disconnected(error)
            return False
        return True

    def _write(self, found: Sequence[Flight]) -> None:
        if found:
            told = [(flight, flight.pulse.count, flight.pulse.text) for flight in found]
            beats = [
                Beat(flight.claimed, None if text is flight.told_text else _masked(flight, text))
                for flight, _, text in told
            ]
            heartbeats.write(self._child.connection(), self._child.worker_id, beats)
            for flight, count, text in told:
                flight.told, flight.told_text = count, text
        self._landed = []
        self._due_at = time.monotonic() + EVERY_S

    def read(self, connection: Connection, claims: Iterable[Claimed]) -> None:
        """Fetch what earlier attempts of these told: one statement, none for first attempts."""
        again = [claim for claim in claims if claim.kind == "step" and claim.epoch > 1]
        if again:
            self._before |= heartbeats.progress(connection, again)

    def before(self, claim: Claimed) -> object:
        """The progress that the attempt before this one told; None: none."""
        text = self._before.pop(claim.key, None)
        return None if text is None else jsonvalue.decode(text)


def _masked(flight: Flight, text: str | None) -> str | None:
    return None if text is None else flight.claimed.mask.json(text)
