"""What the operator sees, and what the log files keep."""

from __future__ import annotations

import logging
import sys
from collections import deque
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path

_LOG_BYTES = 10 * 1024 * 1024
_KEPT_LINES = 40
_WIDTH = 8
_LONGEST_LINE = 64 * 1024


def say(name: str, line: str) -> None:
    """Print `name | line`.  A reader that has gone away (`| head`) does not stop the system."""
    with suppress(OSError, ValueError):
        print(f"{name:>{_WIDTH}} | {line}", flush=True)


class _File(RotatingFileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - its name in logging
        """Nothing: a full disk must not take the supervisor down as well."""


class Log:
    """One part's output: whole lines to `folder/<name>.log` (10 MiB and one older file), the last
    few in memory, for the sentence that says why it ended."""

    def __init__(self, folder: Path, name: str) -> None:
        self.last: deque[str] = deque(maxlen=_KEPT_LINES)
        self._rest = b""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = _File(
            folder / f"{name}.log", maxBytes=_LOG_BYTES, backupCount=1, encoding="utf-8"
        )
        self._file.setFormatter(logging.Formatter("%(message)s"))
        self._name = name

    def feed(self, data: bytes) -> list[str]:
        """Take what was read from the part; returns the lines that are now whole."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LONGEST_LINE:
            whole.append(self._rest)
            self._rest = b""
        return [self._keep(line) for line in whole]

    def finish(self) -> list[str]:
        """The part has ended: its unfinished last line, if there is one."""
        rest, self._rest = self._rest, b""
        return [self._keep(rest)] if rest else []

    def close(self) -> None:
        self._file.close()

    def _keep(self, raw: bytes) -> str:
        line = raw.decode(errors="replace").rstrip("\r")
        self.last.append(line)
        self._file.emit(logging.makeLogRecord({"name": self._name, "msg": line}))
        return line


def fail(message: str) -> int:
    """Print the one sentence that says why nothing runs; the exit code."""
    print(message, file=sys.stderr, flush=True)
    return 1
