"""The supervisor: starts the parts, starts them again when they die, stops them in order.

One thread and one loop, woken by output, by a child's death and by signals.  Never two threads: the
kernel ties a child's death signal to the thread that made it, and forking beside threads is unsafe.
"""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from orchestrator.embedded.child import Child, death
from orchestrator.embedded.errors import StartError
from orchestrator.embedded.parts import Part, Program
from orchestrator.embedded.processes import signal_group

_TURN_S = 0.5
_STARTING_TURN_S = 0.02
_TELL_AGAIN_S = 10.0
_HURRIED_S = 3.0


class StopRequested(Exception):
    """Ctrl-C, SIGTERM or SIGHUP came while the system was starting."""


class Supervisor:
    """Runs parts.  `logs` is the folder of their log files; `say(name, line)` tells the operator."""

    def __init__(self, *, logs: Path, say: Callable[[str, str], None]) -> None:
        self._logs = logs
        self._say = say
        self._children: list[Child] = []
        self._stop_count = 0
        self._selector = selectors.DefaultSelector()

    def listen(self) -> None:
        """Take over SIGINT, SIGTERM, SIGHUP (unless ignored, as under nohup) and SIGCHLD."""
        reader, writer = os.pipe()
        for descriptor in (reader, writer):
            os.set_blocking(descriptor, False)
        self._selector.register(reader, selectors.EVENT_READ, None)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._on_stop)

    def start(self, part: Part) -> None:
        """Start a part.  From now on it is watched."""
        child = Child(part, logs=self._logs, say=self._say)
        self._children.append(child)
        self._launch(child)

    def wait_ready(self) -> None:
        """Return when every part is ready.  StartError: one ended first; StopRequested."""
        tell_at = time.monotonic() + _TELL_AGAIN_S
        while waiting := [child for child in self._children if not child.check_ready()]:
            self._turn(_STARTING_TURN_S)
            self._raise_on_stop()
            for child in waiting:
                if (code := self._reap(child)) is not None:
                    raise StartError(child.part.failure(list(child.log.last) or [death(code)]))
            if time.monotonic() > tell_at:
                tell_at += _TELL_AGAIN_S
                self._say("up", f"still waiting for: {', '.join(c.part.name for c in waiting)}")

    def run_once(self, program: Program) -> tuple[int, list[str]]:
        """Run a program to its end, beside the parts, which are watched meanwhile.

        Its exit code and last lines; they are shown like a part's.  Raises StopRequested, when the
        program is stopped as well.
        """
        child = Child(program, logs=self._logs, say=self._say)
        try:
            self._launch(child)
            while (code := self._reap(child)) is None:
                self._watch(_TURN_S)
                self._raise_on_stop()
            return code, list(child.log.last)
        finally:
            self._stop(child)

    def watch_until_stopped(self) -> None:
        """Keep the parts running until a stop is asked for."""
        while not self._stop_count:
            self._watch(_TURN_S)

    def stop(self, order: Sequence[str]) -> None:
        """Stop the parts by name in this order, each before the next, and those not named at last."""
        ranks = {name: rank for rank, name in enumerate(order)}
        for child in sorted(self._children, key=lambda c: ranks.get(c.part.name, len(ranks))):
            child.restart_at = None
            self._stop(child)

    def _watch(self, timeout_s: float) -> None:
        """One turn, then tell of deaths and start again what is due."""
        due = [child.restart_at for child in self._children if child.restart_at is not None]
        self._turn(max(0.0, min([timeout_s, *(at - time.monotonic() for at in due)])))
        for child in self._children:
            if (code := self._reap(child)) is not None:
                pause = child.plan_restart()
                again = "at once" if pause < 1 else f"in {pause:.0f} s"
                told = f"{child.part.name} {death(code)}{child.last_words(code)}"
                self._say("up", f"{told}; it is started again {again}")
            if child.restart_at is not None and child.restart_at <= time.monotonic():
                self._restart(child)

    def _restart(self, child: Child) -> None:
        try:
            self._launch(child)
        except (StartError, OSError) as error:
            pause = child.plan_restart()
            self._say("up", f"{child.part.name} cannot start ({error}); next try in {pause:.0f} s")

    def _launch(self, child: Child) -> None:
        self._selector.register(child.start(), selectors.EVENT_READ, child)

    def _turn(self, timeout_s: float) -> None:
        """Wait for output, a signal or the time, and pass the output on."""
        for key, _ in self._selector.select(timeout_s):
            if key.data is None:
                os.read(key.fd, 4096)
            elif not key.data.read():
                self._selector.unregister(key.fd)

    def _reap(self, child: Child) -> int | None:
        if child.process is None or child.process.poll() is None:
            return None
        if child.output in self._selector.get_map():
            self._selector.unregister(child.output)
        return child.reap()

    def _stop(self, child: Child) -> None:
        """Ask, ask louder, kill; each with a bound.  A second Ctrl-C shortens the wait."""
        for number, within_s in (*child.part.stop_steps, (signal.SIGKILL, 5.0)):
            if child.process is None:
                return
            if number == signal.SIGKILL:
                self._say("up", f"{child.part.name} did not stop in time and is killed")
                signal_group(child.process, number)
            else:
                child.process.send_signal(number)
            asked_at = time.monotonic()
            while self._reap(child) is None:
                limit_s = within_s if self._stop_count < 2 else min(within_s, _HURRIED_S)
                if time.monotonic() - asked_at > limit_s:
                    break
                self._turn(0.05)

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        self._stop_count += 1

    def _raise_on_stop(self) -> None:
        if self._stop_count:
            raise StopRequested
