"""Submissions of many requests at once, gathered into one statement.

A tenant's writers stand in line at its mutex, each until the disk has what it wrote.  So whoever
finds nobody of its tenant at it goes ahead; the others wait, and one of them then takes all that
have come meanwhile with it.  A request alone pays nothing for this; a flood pays once for many."""

from __future__ import annotations

import threading

import psycopg

from orchestrator.store.connect import Connection
from orchestrator.store.submit import NewRun, Submitted, SubmittedRun, submit


class _Entry:
    """A run that waits to be made, and then what became of it."""

    def __init__(self, run: NewRun) -> None:
        self.run = run
        self.turn = threading.Event()
        self.taken: list[_Entry] = [self]
        """Whose runs it makes, itself first, when its turn has come."""
        self.result: SubmittedRun | None = None
        self.error: BaseException | None = None


_lock = threading.Lock()
_lines: dict[tuple[int, str, str], list[_Entry]] = {}
"""Who waits behind the one that is at it, by tenant, actor and where they ask from."""


def submit_gathered(
    connection: Connection, *, tenant_id: int, run: NewRun, actor: str, origin: str
) -> Submitted:
    """Make the run, in a transaction of its own or with others of its tenant and actor.

    Only outside a transaction of the caller's.  Raises psycopg.Error."""
    entry, place = _Entry(run), (tenant_id, actor, origin)
    with _lock:
        line = _lines.get(place)
        if line is None:
            _lines[place] = []
        else:
            line.append(entry)
    if line is not None:
        entry.turn.wait()
    if entry.error is not None:
        if isinstance(entry.error, psycopg.OperationalError):
            raise psycopg.OperationalError(str(entry.error)) from entry.error
        return submit(  # it may be another's
            connection, tenant_id=tenant_id, runs=[run], actor=actor, origin=origin
        )
    if entry.result is not None:
        return Submitted([entry.result], [])
    return _lead(connection, entry, place)


def _lead(connection: Connection, entry: _Entry, place: tuple[int, str, str]) -> Submitted:
    """Make the runs of all that this entry has taken with it, and let the next one go ahead."""
    tenant_id, actor, origin = place
    others = entry.taken[1:]
    try:
        made = submit(
            connection,
            tenant_id=tenant_id,
            runs=[one.run for one in entry.taken],
            actor=actor,
            origin=origin,
        )
    except BaseException as error:
        known = isinstance(error, psycopg.Error)
        for other in others:
            other.error = error if known else psycopg.OperationalError("it was broken off")
        if not others or not known or isinstance(error, psycopg.OperationalError):
            raise
        return submit(connection, tenant_id=tenant_id, runs=[entry.run], actor=actor, origin=origin)
    else:
        for other, result in zip(others, made.results[1:], strict=True):
            other.result = result
        return Submitted(made.results[:1], made.wake)
    finally:
        with _lock:
            waiting = _lines.pop(place)
            if waiting:
                _lines[place] = []
                waiting[0].taken = waiting
        for other in others:
            other.turn.set()
        if waiting:
            waiting[0].turn.set()
