"""A part of the running system: a program that the supervisor starts, watches and stops."""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

Escalation = tuple[tuple[signal.Signals, float], ...]


class Part(ABC):
    """What the supervisor has to know of a program.  Subclasses say what differs."""

    name: str
    stop_steps: Escalation = ((signal.SIGTERM, 10.0),)
    """Signals and the seconds each is given before the next; SIGKILL comes after the last."""
    death_signal: signal.Signals = signal.SIGTERM
    """What the kernel sends when the supervisor dies without stopping anything."""
    become: Callable[[], None] | None = None
    """Gives up privileges in the child, before its program."""
    env: Mapping[str, str] | None = None
    """The program's environment; None: the supervisor's own."""

    def prepare(self) -> None:
        """Called before every start: make what is missing, clear what an earlier run left."""

    @abstractmethod
    def argv(self) -> Sequence[str]:
        """The program and its arguments."""

    def is_ready(self, pid: int) -> bool:
        """Whether the process, which is alive, serves already.  Must answer at once."""
        return True

    def shows(self, line: str) -> bool:
        """Whether a line of the program's output belongs on the operator's screen (all go to the log)."""
        return True

    def failure(self, lines: Sequence[str]) -> str:
        """One sentence on why the program ended before it was ready, with the mend."""
        last = next((line for line in reversed(lines) if line.strip()), "it said nothing")
        return f"{self.name} ended before it was ready ({last.strip()}): see its log."


@dataclass(frozen=True)
class Program(Part):
    """A part that needs nothing but its command."""

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str] | None = None
    stop_steps: Escalation = ((signal.SIGTERM, 10.0),)
    death_signal: signal.Signals = signal.SIGTERM
    hides: tuple[str, ...] = ()
    """What lines have in them that stand in the log and not on the screen."""

    def argv(self) -> Sequence[str]:
        return self.command

    def shows(self, line: str) -> bool:
        """All but what it hides."""
        return not any(part in line for part in self.hides)

    def with_arguments(self, *arguments: str) -> Program:
        """The same program with more arguments."""
        return replace(self, command=(*self.command, *arguments))
