"""One started part: its process, its output, and when it may start again after it died."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from orchestrator.embedded.output import Log
from orchestrator.embedded.parts import Part
from orchestrator.embedded.processes import signal_group, spawn

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 30.0
DEATHS_A_MINUTE = 10
_MINUTE_S = 60.0


class Pauses:
    """How long to wait before a part that died starts again.

    0.2 s as a rule.  From the eleventh death within a minute on, each pause is twice the last, up to
    30 s, until the part has lived for a minute.  `now` is seconds on any clock that never goes back.
    """

    def __init__(self) -> None:
        self._deaths: deque[float] = deque(maxlen=DEATHS_A_MINUTE + 1)
        self._pause_s = FIRST_PAUSE_S

    def after_death(self, *, lived_s: float, now: float) -> float:
        """Seconds to wait after a death at `now` of a part that had lived for `lived_s`."""
        self._deaths.append(now)
        often = len(self._deaths) > DEATHS_A_MINUTE and now - self._deaths[0] < _MINUTE_S
        still = self._pause_s > FIRST_PAUSE_S and lived_s < _MINUTE_S
        self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S) if often or still else FIRST_PAUSE_S
        return self._pause_s


class Child:
    """A part under supervision.  It is alive while `process` is set."""

    def __init__(self, part: Part, *, logs: Path, say: Callable[[str, str], None]) -> None:
        self.part = part
        self.log = Log(logs, part.name)
        self.process: subprocess.Popen[bytes] | None = None
        self.restart_at: float | None = None
        self.ready = False
        self._say = say
        self._pauses = Pauses()
        self._started_at = 0.0

    def start(self) -> int:
        """Start the process; the descriptor of its output, which does not block."""
        self.restart_at = None
        self.ready = False
        self.part.prepare()
        self._started_at = time.monotonic()
        self.process = spawn(
            self.part.argv(),
            death_signal=self.part.death_signal,
            become=self.part.become,
            env=self.part.env,
        )
        os.set_blocking(self.output, False)
        return self.output

    @property
    def output(self) -> int:
        """The descriptor of the live process's output."""
        assert self.process is not None
        assert self.process.stdout is not None
        return self.process.stdout.fileno()

    def read(self) -> bool:
        """Pass on what the process has written; False at the end of its output."""
        return self._take() is not False

    def check_ready(self) -> bool:
        """Whether the part serves; it is asked only until it has said so once."""
        if self.process is not None and not self.ready:
            self.ready = self.part.is_ready(self.process.pid)
        return self.ready

    def reap(self) -> int | None:
        """The exit code once, when the process has ended (negative: the signal), else None.

        Takes its last words, and whatever is left of its process group with it.
        """
        if self.process is None or (code := self.process.poll()) is None:
            return None
        signal_group(self.process, signal.SIGKILL)
        while self._take():
            pass
        self._show(self.log.finish())
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.process = None
        return code

    def last_words(self, code: int) -> str:
        """The last line of a part that ended by itself, in brackets, unless the operator has seen it."""
        last = self.log.last[-1] if self.log.last else ""
        return f" ({last.strip()})" if code > 0 and last and not self.part.shows(last) else ""

    def plan_restart(self) -> float:
        """Set the time of the next start; the pause in seconds."""
        now = time.monotonic()
        pause = self._pauses.after_death(lived_s=now - self._started_at, now=now)
        self.restart_at = now + pause
        return pause

    def _take(self) -> bool | None:
        """Pass on one piece of output: True; None: there is none at the moment; False: its end."""
        if self.process is None:
            return False
        try:
            data = os.read(self.output, 65536)
        except BlockingIOError:
            return None
        self._show(self.log.feed(data))
        return bool(data)

    def _show(self, lines: list[str]) -> None:
        for line in lines:
            if self.part.shows(line):
                self._say(self.part.name, line)


def death(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"exited with {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
