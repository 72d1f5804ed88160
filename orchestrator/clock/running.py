"""Lanes at work: a thread and a connection each, a lock for each duty."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from orchestrator.clock.lane import Duty, Lane
from orchestrator.store import Connection, clock, connect, gauges, let_go
from orchestrator.store.clock import Tick

logger = logging.getLogger(__name__)

NOTE_EVERY_S = 2.0
"""How often a lane writes down what it has done, when nothing came of it."""
LOCK_EVERY_S = 1.0


class Clock:
    """Does what is in its lanes until it is told to stop."""

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self._lanes = lanes
        self._stop = threading.Event()

    def stop(self) -> None:
        """End all lanes after the duty that each is at."""
        self._stop.set()

    def run(self) -> None:
        """Do the duties; returns after `stop`."""
        threads = [
            threading.Thread(
                target=_Keeper(lane, self._stop).keep, name=f"clock-{lane.name}", daemon=True
            )
            for lane in self._lanes
        ]
        for thread in threads:
            thread.start()
        self._stop.wait()
        for thread in threads:
            thread.join(5)


@dataclass(slots=True)
class _Turn:
    """A duty in its lane.  `at`: when it is to be done next, or its lock to be asked for."""

    duty: Duty
    at: float
    held: bool = False
    ticks: int = 0
    changed: int = 0
    done_at: float | None = None
    """Of the last tick that is not written down."""
    error: str = ""


class _Keeper:
    """Keeps a lane.  A duty is done by whoever holds its lock, which is the connection's: with the
    connection all locks of the lane are lost, and any clock takes them up."""

    def __init__(self, lane: Lane, stop: threading.Event) -> None:
        self._lane = lane
        self._stop = stop

    def keep(self) -> None:
        """Serve the lane over one connection after the other."""
        name = self._lane.name
        while not self._stop.is_set():
            try:
                with connect(name=f"clock {name}", direct=True) as connection:
                    gauges.bound(connection, self._lane.limit_s)
                    self._serve(connection)
            except psycopg.OperationalError as error:
                logger.warning("clock %s: %s", name, _words(error))
            except Exception:
                logger.exception("clock %s: begun again", name)
            self._stop.wait(_again_s())

    def _serve(self, connection: Connection) -> None:
        """Do what is due first, until the connection fails."""
        now = time.monotonic()
        turns = [_Turn(duty, now) for duty in self._lane.duties]
        noted = now - NOTE_EVERY_S
        while not self._stop.is_set():
            turn = min(turns, key=lambda one: one.at)
            if turn.at <= time.monotonic():
                if turn.held:
                    self._do(connection, turn)
                else:
                    _lock(connection, turns)
            now = time.monotonic()
            untold = [one for one in turns if one.done_at is not None]
            if untold and now - noted >= NOTE_EVERY_S:
                _note(connection, untold)
                noted = now
                untold = []
            until = min(one.at for one in turns)
            if untold:
                until = min(until, noted + NOTE_EVERY_S)
            if until > now:
                self._stop.wait(until - now)

    def _do(self, connection: Connection, turn: _Turn) -> None:
        """Do a duty.  One that fails stops no other: it is given up, and begun again by any clock."""
        begun = time.monotonic()
        try:
            turn.changed += turn.duty.act(connection)
        except Exception as error:
            if connection.closed:
                raise
            logger.exception("clock %s: begun again", turn.duty.name)
            _give_up(connection, turn, error)
            return
        finally:
            let_go()  # what a duty asks over Django's connection is held no longer than it
        turn.ticks += 1
        turn.error = ""
        turn.done_at = time.monotonic()
        # by its own beat, and not from now on: mates whose intervals are multiples wake together
        turn.at = max(turn.at + turn.duty.interval_s, begun)


def _give_up(connection: Connection, turn: _Turn, error: Exception) -> None:
    """Write down what is wrong with a duty, and let any clock begin it again."""
    connection.rollback()
    turn.error = f"{type(error).__name__}: {_words(error)}"[:500]
    turn.done_at = time.monotonic()
    _note(connection, [turn])
    clock.unlock_duty(connection, turn.duty.name)
    turn.held, turn.at = False, time.monotonic() + _again_s()


def _lock(connection: Connection, turns: Sequence[_Turn]) -> None:
    """Take the duties of the lane that no clock does; ask again later for the others."""
    asked = [one for one in turns if not one.held and one.at <= time.monotonic()]
    taken = clock.lock_duties(connection, [one.duty.name for one in asked])
    now, again_s = time.monotonic(), _again_s()
    for one in asked:
        one.held = one.duty.name in taken
        one.at = now if one.held else now + again_s


def _note(connection: Connection, turns: Sequence[_Turn]) -> None:
    """Write down what was done since this was last called."""
    now = time.monotonic()
    clock.note(
        connection,
        [
            Tick(
                name=one.duty.name,
                interval_ms=round(one.duty.interval_s * 1000),
                ago_s=0.0 if one.done_at is None else now - one.done_at,
                ticks=one.ticks,
                changed=one.changed,
                error=one.error,
            )
            for one in turns
        ],
    )
    for one in turns:
        one.ticks = one.changed = 0
        one.done_at = None


def _again_s() -> float:
    return LOCK_EVERY_S * random.uniform(0.8, 1.2)  # noqa: S311  (spread, no secret)


def _words(error: Exception) -> str:
    return str(error).strip()
