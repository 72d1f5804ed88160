"""Children that cannot outlive their parent, and processes that an earlier run left behind."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

LINUX = sys.platform == "linux"
# Loaded here and not in the child: between fork and exec nothing may be imported or opened.
LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1


def spawn(
    argv: Sequence[str],
    *,
    death_signal: signal.Signals,
    become: Callable[[], None] | None = None,
    env: Mapping[str, str] | None = None,
    stdin: int | None = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own, its two outputs in one pipe.

    The kernel sends it `death_signal` when this process dies, by kill -9 too (Linux; elsewhere the
    next start finds it by itself).  `become` runs in the child first and gives up privileges; the
    death signal comes after it, because the kernel forgets it when credentials change.

    The kernel watches the *thread* that forks, so call this from the main thread alone.
    """
    parent = os.getpid()

    def in_child() -> None:  # pragma: no cover - runs between fork and exec
        if become is not None:
            become()
        if LINUX:
            LIBC.prctl(_PR_SET_PDEATHSIG, int(death_signal))
            if os.getppid() != parent:  # it died before the line above
                os._exit(1)

    return subprocess.Popen(
        list(argv),
        env=None if env is None else dict(env),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=in_child,  # noqa: PLW1509 - one thread only, see above
    )


def signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to a child's whole process group, also when the child itself has ended."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def is_alive(pid: int) -> bool:
    """Whether a process of that id exists, whoever owns it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def processes_in(folder: Path, *, program: str) -> list[int]:
    """Ids of the processes of `program` that work in `folder`; empty where there is no /proc.

    A process id in a file proves nothing: after a restart of a container it belongs to another.
    """
    found = []
    real = os.path.realpath(folder)
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.readlink(entry / "cwd") != real:
                continue
            if Path(os.readlink(entry / "exe").removesuffix(" (deleted)")).name == program:
                found.append(int(entry.name))
    return found


def wait_gone(pids: Sequence[int], *, within_s: float) -> bool:
    """Wait until none of the processes exists any more; False when time is up."""
    end = time.monotonic() + within_s
    while any(is_alive(pid) for pid in pids):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
