"""What a handler is given: its step, signs of life, the connection, the log."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from orchestrator.domain import jsonvalue, steplog
from orchestrator.domain.steplog import Lines
from tenants.connections import Opening, Session

LARGEST_PROGRESS = 64 * 1024
"""Bytes of JSON that a progress may have."""
_KEEP: Any = object()
"""No progress given: the one before stays."""


class Stop:
    """Whether a step was asked to end; set once, from another thread."""

    __slots__ = ("asked",)

    def __init__(self) -> None:
        self.asked = False


class Pulse:
    """A step's signs of life: when the last one came, what progress it told, and how many there were.

    Beaten by the handler's thread, read by another, which `notify` tells; `count` is written last, so
    that a reader who has seen it has seen what came with it."""

    __slots__ = ("at", "count", "notify", "text")

    def __init__(self, notify: Callable[[], None] | None = None) -> None:
        self.notify = notify
        self.at = time.monotonic()
        self.text: str | None = None
        self.count = 0

    def beat(self, text: str | None) -> None:
        """A sign of life, with a progress (JSON text) or None: as it was."""
        if text is not None:
            self.text = text
        self.at = time.monotonic()
        self.count += 1
        if self.notify is not None:
            self.notify()


class Beat:
    """What `heartbeat` answers: true while the step should go on.  An async handler may await it."""

    __slots__ = ("_goes_on",)

    def __init__(self, goes_on: bool) -> None:
        self._goes_on = goes_on

    def __bool__(self) -> bool:
        return self._goes_on

    def __await__(self) -> Generator[None, None, bool]:
        yield  # others get their turn, and a cancelled coroutine its CancelledError
        return self._goes_on


@dataclass(frozen=True, slots=True)
class StepContext:
    """What a handler knows of the step it runs."""

    tenant: str
    """The tenant's slug."""
    run_id: UUID
    step: str
    index: int | None
    """Of a map: the batch, from 0."""
    attempt: int
    """Counts from 1."""
    labels: dict[str, str]
    repetition: int = 1
    """Of a step with `repeat`: which time it runs, from 1."""
    uncertain: bool = False
    """In an undo: whether it is unknown how far the step came (it was cut off, or its process died)."""
    _part: str = ""
    """What is called of the step besides its handler: `undo`, `compensate:<attempt>`."""
    progress: Any = None
    """What the attempt before told `heartbeat` last; None: nothing."""
    item_index: int | None = None
    """Of a map's handler that is called once per item: the item, from 0."""
    _session: Session | None = field(default=None, repr=False)
    _stop: Stop = field(default_factory=Stop, repr=False)
    _pulse: Pulse = field(default_factory=Pulse, repr=False)
    _lines: Lines = field(default_factory=Lines, repr=False)
    traceparent: str | None = None
    """Where the attempt is in its run's trace (W3C's header of that name); None: it is not traced."""

    @property
    def idempotency_key(self) -> str:
        """The same for all attempts of a step run: give it to services that deduplicate.

        A step's undo has its own, and so has its compensation after each attempt, and each
        repetition after the first.  Of a map: the same for all attempts of an item, or, where the
        handler takes a list, of a batch."""
        index = self.index if self.item_index is None else self.item_index
        return (
            f"{self.run_id}:{self.step}"
            + ("" if index is None else f":{index}")
            + ("" if self.repetition == 1 else f":repeat-{self.repetition}")
            + (f":{self._part}" if self._part else "")
        )

    @property
    def cancelled(self) -> bool:
        """Whether the step should end soon: cancelled, timed out, or its worker is stopping."""
        return self._stop.asked

    def heartbeat(self, progress: object = _KEEP) -> Beat:
        """Say that the step is alive, and what it has done so far (any JSON value of up to 64 KiB).

        The next attempt finds the progress in `ctx.progress`, after a killed process too.  True while
        the step should go on, false once it should end (`cancelled`); an async handler may await it.
        May be called as often as wanted: what is written goes together, a few times a second.
        Raises ValueError for what is no JSON or too large."""
        text = None
        if progress is not _KEEP:
            try:
                text = jsonvalue.encode(progress, max_bytes=LARGEST_PROGRESS)
            except ValueError as error:
                raise ValueError(f"heartbeat: the progress cannot be kept: {error}") from None
        self._pulse.beat(text)
        return Beat(not self._stop.asked)

    def connection(self) -> Any:
        """The step's connection to its tenant's own schema (or database), opened when first asked for.

        In an async handler await it, or enter it (`async with ctx.connection() as connection:`): a
        psycopg AsyncConnection.  In a plain function it is a psycopg Connection.  Both are in
        autocommit mode: `connection.transaction()` makes a block of statements one.  There is one for
        a step; at the step's end it is rolled back, reset and given back.  Waits while PostgreSQL
        gives the tenant none; raises ConnectionRefused when that lasts too long."""
        if self._session is None:
            raise RuntimeError("ctx.connection() is there only while a worker runs the step")
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self._session.open()
        return Opening(self._session)

    @property
    def log(self) -> StepLog:
        """A logger whose lines are kept with the attempt, and stand in the worker's own log too.

        As Python's logging: `ctx.log.info("charged %s", invoice, extra={"amount": 5})`, and `debug`,
        `warning`, `error`, `exception`; `extra` are the line's fields.  May be used from any thread
        while the attempt runs."""
        return StepLog(self)


class StepLog(logging.LoggerAdapter[logging.Logger]):
    """What `ctx.log` is: lines go to the attempt's log, and, with the step's facts, to the process's."""

    def __init__(self, context: StepContext) -> None:
        facts: dict[str, object] = {
            "tenant": context.tenant,
            "run": str(context.run_id),
            "step": context.step,
            "attempt": context.attempt,
        }
        if context.index is not None:
            facts["index"] = context.index
        if context.item_index is not None:
            facts["item_index"] = context.item_index
        super().__init__(_step_logger, facts)
        self._context = context

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802  (the library's name)
        """Whether a line of this level goes anywhere."""
        return self._context._lines.takes(level) or self.logger.isEnabledFor(level)

    def log(self, level: int, msg: object, *args: Any, **kwargs: Any) -> None:
        """Keep a line of this level."""
        context, text = self._context, steplog.formatted(msg, args)
        extra: Mapping[str, object] = kwargs.get("extra") or {}
        if context._lines.takes(level):
            fields = dict(extra)
            if context.item_index is not None:
                fields["item_index"] = context.item_index
            if given := kwargs.get("exc_info"):
                shown = given if isinstance(given, (BaseException, tuple)) else sys.exc_info()
                if trace := steplog.trace(shown):
                    fields = {steplog.EXCEPTION: trace, **fields}
            context._lines.add(level, text, fields)
        if self.logger.isEnabledFor(level):
            named = {f"{key}_" if key in _RESERVED else key: extra[key] for key in extra}
            kwargs["extra"] = {**named, **(self.extra or {})}
            self.logger.log(level, "%s", text, **kwargs)


_step_logger = logging.getLogger("step")
_RESERVED = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
"""Names that a log record has already: the library refuses an `extra` that uses one."""
