"""A started program whose output can be waited for, and what is left of it afterwards."""

from __future__ import annotations

import os
import pwd
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 60.0


class Running:
    """A process and all it has printed so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, pattern: str, *, times: int = 1, within_s: float = PATIENCE_S) -> str:
        """The line in which the pattern was found for the given time; fails with all output."""
        end = time.monotonic() + within_s
        with self._changed:
            while True:
                found = [line for line in self.lines if re.search(pattern, line)]
                if len(found) >= times:
                    return found[times - 1]
                left = end - time.monotonic()
                if left <= 0 or self._ended:
                    raise AssertionError(f"{pattern!r} ({times}) not found in:\n{self.text}")
                self._changed.wait(left)

    def finish(self, number: signal.Signals | None = None, *, within_s: float = PATIENCE_S) -> int:
        """Send a signal, if one is given, and wait for the end and the last output; the exit code."""
        if number is not None:
            self.process.send_signal(number)
        code = self.process.wait(within_s)
        self._reader.join(10)
        if self.process.stdout is not None and not self._reader.is_alive():
            self.process.stdout.close()
        return code

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


@contextmanager
def running(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path = ROOT,
    user: str | None = None,
) -> Iterator[Running]:
    """Start a program in a process group of its own, as another user for root; it is killed at the end."""
    process = subprocess.Popen(
        argv,
        env=dict(env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        user=user,
        group=None if user is None else pwd.getpwnam(user).pw_gid,
        extra_groups=None if user is None else [],
    )
    handle = Running(process)
    try:
        yield handle
    finally:
        if process.poll() is None:  # a test that failed leaves nothing behind either
            os.killpg(process.pid, signal.SIGKILL)
        handle.finish()


def driver(spec: str) -> list[str]:
    """The command of the supervisor to try (see driver.py)."""
    return [sys.executable, "-m", "tests.embedded.driver", spec]


def environment(data_dir: Path, **more: str) -> dict[str, str]:
    """A clean environment for a system of its own; its coverage is counted where this process's is."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("DATABASE_URL", "BROKER_URL", "CHANNELS_URL", "PORT", "HOST")
        and not name.startswith("PYTEST_")
    }
    return {**kept, "DATA_DIR": str(data_dir), "PYTHONPATH": str(ROOT), "PORT": "0", **more}


def without_coverage(env: Mapping[str, str]) -> dict[str, str]:
    """For a process that may not write into this tree, or is not of it."""
    return {k: v for k, v in env.items() if not k.startswith(("COV_", "COVERAGE_"))}


def processes_of(folder: Path) -> dict[int, str]:
    """Every live process that has to do with a data folder: it is in its arguments, its environment
    or is where it works."""
    found = {}
    needle = os.fsencode(folder)
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes()
            if int(entry.name) != os.getpid() and (
                needle in command
                or needle in (entry / "environ").read_bytes()
                or os.readlink(entry / "cwd").startswith(str(folder))
            ):
                found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
    return found


def wait_until_gone(folder: Path, *, within_s: float = 15.0) -> None:
    """Fails, naming them, if processes of the folder are left when time is up."""
    end = time.monotonic() + within_s
    while left := processes_of(folder):
        assert time.monotonic() < end, f"still running: {left}"
        time.sleep(0.02)
