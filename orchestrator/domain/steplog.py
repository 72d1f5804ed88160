"""Lines that a handler logs: taken from any of its threads, bounded, secrets hidden, until they are written."""

from __future__ import annotations

import itertools
import logging
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple

from orchestrator.domain import jsonvalue
from orchestrator.domain.masking import NO_MASK, Mask

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}
"""The words for levels, lowest first."""
EXCEPTION = "exception"
"""The field that holds a traceback."""
CUT = "cut"
"""The field that says that others were left out."""
MARK = " …"
_HIGHEST = 99


def level_word(level: int) -> str:
    """The word for a level; one of one's own is called like the next one below."""
    return next((word for word in reversed(LEVELS) if LEVELS[word] <= level), "debug")


@dataclass(frozen=True, slots=True)
class Limits:
    """What is kept of an attempt; `level` is the lowest."""

    level: int = logging.INFO
    lines: int = 5_000
    line_bytes: int = 8 * 1024
    bytes: int = 1024 * 1024


class Line(NamedTuple):
    """`number` counts an attempt's lines from 1; `at` is `time.monotonic()`; `fields` is JSON text."""

    number: int
    at: float
    level: int
    message: str
    fields: str | None

    @property
    def size(self) -> int:
        """Bytes that count against an attempt's."""
        return len(self.message.encode()) + len((self.fields or "").encode())


class Lines:
    """The lines of one attempt.  Handlers' threads add, one other thread takes; nobody waits for another.

    `notify` is told, with this, of the first line after a `take`; `owner` is whose they are."""

    __slots__ = (
        "_bytes",
        "_ends",
        "_limits",
        "_mask",
        "_notify",
        "_numbers",
        "_open",
        "_told",
        "_waiting",
        "owner",
    )

    def __init__(
        self,
        limits: Limits = Limits(),
        mask: Mask = NO_MASK,
        notify: Callable[[Lines], None] | None = None,
        owner: object = None,
    ) -> None:
        self.owner = owner
        self._limits = limits
        self._mask = mask
        self._notify = notify
        self._waiting: deque[Line] = deque()
        self._numbers = itertools.count(1)  # `next` is one step for all threads; `+=` is not
        self._ends = itertools.count()
        self._bytes = 0
        self._open = True
        self._told = False

    def takes(self, level: int) -> bool:
        """Whether a line of this level would be kept."""
        return self._open and level >= self._limits.level

    def add(self, level: int, message: str, fields: Mapping[str, object]) -> None:
        """Keep a line, or, of the first one that is too many, a word about that."""
        limits = self._limits
        if not self.takes(level):
            return
        number = next(self._numbers)
        line = Line(
            number,
            time.monotonic(),
            min(level, _HIGHEST),
            _cut(clean(self._mask.text(message)), limits.line_bytes),
            self._encoded(fields),
        )
        if number > limits.lines:
            self._end(f"{limits.lines:,} lines")
            return
        self._bytes += line.size
        if self._bytes > limits.bytes:
            self._end(f"{limits.bytes:,} bytes")
            return
        self._put(line)

    def pass_on(self, line: Line) -> None:
        """Keep a line that another process has looked through and counted."""
        if self._open:
            self._put(line)

    def close(self) -> None:
        """Keep nothing more: the attempt's outcome is known."""
        self._open = False

    def take(self) -> list[Line]:
        """What was added since the last time, in order."""
        self._told = False
        taken = []
        while True:
            try:
                taken.append(self._waiting.popleft())
            except IndexError:
                return taken

    def __bool__(self) -> bool:
        """Whether there is something to take."""
        return bool(self._waiting)

    def _put(self, line: Line) -> None:
        self._waiting.append(line)
        if not self._told and self._notify is not None:
            self._told = True
            self._notify(self)

    def _end(self, most: str) -> None:
        self._open = False
        if next(self._ends) == 0:
            said = f"The log of this attempt ends here: {most} are the most that are kept."
            self._put(Line(next(self._numbers), time.monotonic(), logging.WARNING, said, None))

    def _encoded(self, fields: Mapping[str, object]) -> str | None:
        """The fields as JSON text of at most so many bytes; what is too much is left out, and said."""
        if not fields:
            return None
        most = self._limits.line_bytes
        parts: list[str] = []
        size = 2
        for name, value in fields.items():
            key = jsonvalue.encode(_cut(clean(self._mask.text(as_text(name))), 200))
            part = f"{key}:{self._value(value, most // 2, from_end=name == EXCEPTION)}"
            size += len(part.encode()) + 1
            if size > most:
                parts.append(f'"{CUT}":true')
                break
            parts.append(part)
        return f"{{{','.join(parts)}}}"

    def _value(self, value: object, most: int, *, from_end: bool) -> str:
        """A value as JSON text, what is none as its text.  Masked before it is cut: half a secret would
        not be found any more."""
        try:
            text = self._mask.json(jsonvalue.encode(value))
        except (ValueError, TypeError, RecursionError):
            value = clean(as_text(value))
            text = self._mask.json(jsonvalue.encode(value))
        if len(text.encode()) <= most:
            return text
        whole = self._mask.text(value) if isinstance(value, str) else text
        return jsonvalue.encode(whole[-most // 2 :] if from_end else _cut(whole, most // 2))


def as_text(value: object) -> str:
    """A value's text, whatever asking for it does."""
    try:
        return str(value)
    except Exception as error:
        return f"<{type(value).__name__} that has no text: {type(error).__name__}>"


def clean(text: str) -> str:
    """Without what PostgreSQL and JSON cannot hold."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def _cut(text: str, most: int) -> str:
    """At most so many bytes of it; what is cut ends in a mark."""
    if len(text) * 4 <= most or len(raw := text.encode()) <= most:
        return text
    return raw[: most - len(MARK.encode())].decode(errors="ignore") + MARK


def formatted(message: object, args: tuple[object, ...]) -> str:
    """The message as logging formats it; one that does not fit its arguments is kept with them."""
    if not args:
        return as_text(message)
    given: Any = args[0] if len(args) == 1 and isinstance(args[0], Mapping) and args[0] else args
    try:
        return str(as_text(message) % given)
    except Exception:
        return f"{as_text(message)} {' '.join(map(as_text, args))}"


ExcInfo = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]


def trace(given: BaseException | ExcInfo) -> str:
    """An exception's traceback."""
    error = given if isinstance(given, BaseException) else given[1]
    return "" if error is None else "".join(traceback.format_exception(error))
