"""`make up`: the whole system under one supervisor, from an empty data folder to the printed login."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from orchestrator.embedded import datafolder, installed, paths
from orchestrator.embedded.errors import StartError
from orchestrator.embedded.output import fail, say
from orchestrator.embedded.parts import Program
from orchestrator.embedded.postgres import Postgres
from orchestrator.embedded.supervisor import StopRequested, Supervisor
from orchestrator.embedded.valkey import Valkey

STOP_ORDER = ("worker", "clock", "web", "broker", "database")
OLDEST_PYTHON = (3, 11)
# Each child of a worker holds connections of its own, and the embedded database has 200.
MOST_CHILDREN = 24
# Celery warns root at every start.  What it warns of, pickled messages, is switched off.
_NO_ROOT_WARNING = "ignore:You're running the worker with superuser"
_REQUESTS = (" INFO access: ", '"level": "info", "logger": "access"')
"""Lines about requests: one for each, of pages that are open too."""
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_ANY = ("0.0.0.0", "::", "")  # noqa: S104 - compared with, not bound


@dataclass(frozen=True, slots=True)
class Address:
    """Where web listens, and the address under which this machine reaches it."""

    host: str
    port: int

    @property
    def url(self) -> str:
        host = "127.0.0.1" if self.host in _ANY else self.host
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


def main() -> int:
    """Run the system until it is told to stop; the exit code.  A refusal is one sentence on stderr."""
    began = time.monotonic()
    try:
        _check_python()
        worker_children()
        folder = paths.data_dir()
        datafolder.prepare(folder)
        lock = datafolder.lock(folder)
        address = free_address(os.environ.get("HOST", "127.0.0.1"), os.environ.get("PORT", "8000"))
    except StartError as error:
        return fail(str(error))
    supervisor = Supervisor(logs=paths.logs_dir(), say=say)
    supervisor.listen()
    problem: StartError | None = None
    try:
        _start(supervisor, address, began)
        supervisor.watch_until_stopped()
    except StopRequested:
        pass
    except StartError as error:
        problem = error
    finally:
        say("up", "stopping")
        supervisor.stop(STOP_ORDER)
        paths.address_file().unlink(missing_ok=True)
        say("up", "stopped")
        lock.close()
    return fail(str(problem)) if problem else 0


def free_address(host: str, port: str) -> Address:
    """The address to listen on; port 0 finds a free one.  StartError: it is no port, or not free."""
    if not port.isdigit() or int(port) > 65535:
        raise StartError(f"PORT={port} is not a port: choose a number from 1 to 65535, or 0.")
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            host or "0.0.0.0",  # noqa: S104 - what an empty HOST asks for
            int(port),
            type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE,
        )[0]
    except OSError:
        raise StartError(
            f"HOST={host} is not an address of this machine: correct it, or unset it to use 127.0.0.1."
        ) from None
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(where)
            probe.listen(1)
        except OSError as error:
            raise StartError(
                f"Cannot listen on port {port} of {host or 'this machine'} "
                f"({(error.strerror or str(error)).lower()}): stop the program that uses it, "
                f"or choose another port, for example `make up PORT={int(port) + 1}`."
            ) from None
        return Address(host, probe.getsockname()[1])


def worker_children() -> int:
    """How many processes the worker has.  StartError: WORKER_CONCURRENCY is no such number."""
    said = os.environ.get("WORKER_CONCURRENCY")
    if not said:
        return min(_cores(), MOST_CHILDREN)
    if not said.isdecimal() or not int(said):
        raise StartError(
            f"WORKER_CONCURRENCY={said} is no number of processes: correct it, or unset it for one per core."
        )
    return int(said)


def child_environment(address: Address) -> dict[str, str]:
    """The environment of every part: ours, with what must not depend on the working folder."""
    env = dict(os.environ)
    env["DATA_DIR"] = str(paths.data_dir())
    inherited = env.get("PYTHONPATH")
    env["PYTHONPATH"] = os.pathsep.join([str(paths.PROJECT_ROOT), *filter(None, [inherited])])
    env["PYTHONUNBUFFERED"] = "1"
    if address.host not in _LOOPBACK and "ALLOWED_HOSTS" not in env:
        names = {"localhost", "127.0.0.1", "[::1]", socket.gethostname(), address.host} - set(_ANY)
        env["ALLOWED_HOSTS"] = ",".join(sorted(names))
    return env


def programs(address: Address) -> dict[str, Program]:
    """The parts that are Python programs, by name."""
    env, python = child_environment(address), sys.executable
    manage = str(paths.PROJECT_ROOT / "manage.py")
    warnings = ",".join(filter(None, [env.get("PYTHONWARNINGS"), _NO_ROOT_WARNING]))
    return {
        "install": Program("install", (python, manage, "install"), env),
        "introduce": Program(
            "up", (python, "-m", "orchestrator.embedded.introduction", address.url), env
        ),
        "web": Program(
            "web",
            (
                *(python, "-m", "uvicorn", "orchestrator.asgi:application"),
                *("--host", address.host or "0.0.0.0", "--port", str(address.port)),  # noqa: S104
                *("--lifespan", "off", "--log-level", "warning", "--no-server-header"),
                # Open sockets and event streams never end by themselves.
                *("--timeout-graceful-shutdown", "3"),
            ),
            env,
            hides=_REQUESTS,
        ),
        "worker": Program(
            "worker",
            (
                *(python, "-m", "celery", "--quiet", "-A", "orchestrator", "worker"),
                *("-Q", "io,cpu", "-c", str(worker_children()), "-l", "WARNING"),
                *("--without-gossip", "--without-mingle"),
            ),
            {**env, "PYTHONWARNINGS": warnings},
            stop_steps=((signal.SIGTERM, 20.0),),
            # With SIGTERM a worker whose broker is gone as well may hang for ever.
            death_signal=signal.SIGKILL,
        ),
        "clock": Program("clock", (python, manage, "clock"), env),
    }


def _start(supervisor: Supervisor, address: Address, began: float) -> None:
    say("up", f"Millrace is starting, its data is in {paths.data_dir()}")
    if paths.uses_embedded_database():
        supervisor.start(Postgres())
    if paths.uses_embedded_valkey():
        supervisor.start(Valkey())
    supervisor.wait_ready()
    known = programs(address)
    before = read_credentials(paths.credentials_file())
    if not installed.is_current():
        code, lines = supervisor.run_once(known["install"])
        if code != 0:
            raise StartError(lines[-1] if lines else "The database could not be prepared.")
        installed.remember()
    credentials = read_credentials(paths.credentials_file())
    paths.address_file().write_text(f"{address.url}\n")
    for name in ("web", "worker", "clock"):
        supervisor.start(known[name])
    supervisor.run_once(known["introduce"].with_arguments(*_what_to_run(before, credentials)))
    _welcome(address, credentials, time.monotonic() - began)


def read_credentials(file: Path) -> dict[str, str] | None:
    """The operator's login and key; None where there are none to be read."""
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError):
        return None
    return {str(key): str(value) for key, value in content.items()} if content else None


def _what_to_run(before: dict[str, str] | None, now: dict[str, str] | None) -> tuple[str, ...]:
    """New credentials mean a new database: the tutorial shows that all of it works."""
    return ("tutorial",) if now is not None and now != before else ()


def _welcome(address: Address, credentials: dict[str, str] | None, took_s: float) -> None:
    say("up", "")
    say("up", f"Millrace runs at {address.url}  (ready after {took_s:.1f} s)")
    if credentials is None:
        say("up", f"There is no {paths.credentials_file()}: `manage.py user_create` makes a login.")
    else:
        say("up", f"  login    {credentials.get('user')} / {credentials.get('password')}")
        say("up", f"  API key  {credentials.get('api_key')}  (tenant {credentials.get('tenant')})")
    if paths.channels_url() is None:
        say(
            "up",
            "  Pages do not update by themselves: set CHANNELS_URL to a Redis to push to them.",
        )
    say("up", "Ctrl-C stops all of it.")
    say("up", "")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check_python() -> None:
    if sys.version_info < OLDEST_PYTHON:
        raise StartError(
            f"Python {sys.version_info[0]}.{sys.version_info[1]} is too old: "
            f"install Python 3.11 or newer, then remove .venv and run `make up` again."
        )
