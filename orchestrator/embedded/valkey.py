"""The embedded Valkey: the broker, and the channel layer of the dashboard."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress

from orchestrator.embedded import paths
from orchestrator.embedded.binaries import find_valkey
from orchestrator.embedded.datafolder import private_folder
from orchestrator.embedded.errors import StartError
from orchestrator.embedded.parts import Part
from orchestrator.embedded.processes import processes_in, wait_gone


class Valkey(Part):
    """The server in `paths.valkey_home()`, on a unix socket alone.

    Its append-only log is written once a second.  What the last second loses is a hint: the work it
    spoke of is in the database.
    """

    name = "broker"
    death_signal = signal.SIGTERM

    def __init__(self) -> None:
        self.home = paths.valkey_home()
        self.socket = paths.valkey_socket()
        self._program = find_valkey()

    def prepare(self) -> None:
        private_folder(self.home)
        private_folder(self.socket.parent)
        for number in (signal.SIGTERM, signal.SIGKILL):
            pids = processes_in(self.home, program=self._program.resolve().name)
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            if wait_gone(pids, within_s=10):
                return
        raise StartError(f"An earlier broker still uses {self.home}: stop it first.")

    def argv(self) -> Sequence[str]:
        return [
            str(self._program),
            *("--port", "0"),
            *("--unixsocket", str(self.socket), "--unixsocketperm", "700"),
            *("--dir", str(self.home), "--daemonize", "no"),
            *("--save", "", "--appendonly", "yes", "--appendfsync", "everysec"),
            *("--maxmemory-policy", "noeviction", "--loglevel", "warning"),
        ]

    def is_ready(self, pid: int) -> bool:
        with suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.settimeout(0.2)
            client.connect(str(self.socket))
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
        return False

    def shows(self, line: str) -> bool:
        return "# " in line and (
            "Fatal" in line or "Bad file format" in line or "error" in line.lower()
        )

    def failure(self, lines: Sequence[str]) -> str:
        reason = (list(lines) or ["it said nothing"])[-1].strip()
        return (
            f"The broker in {self.home} does not start ({reason}): mend that, or remove the folder "
            f"(it holds wake-up hints only; all work is in the database)."
        )
