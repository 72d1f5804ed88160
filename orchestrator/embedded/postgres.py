"""The embedded PostgreSQL: its cluster is made once, its server runs as a plain child."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from orchestrator.embedded import paths
from orchestrator.embedded.binaries import PostgresBinaries, find_postgres
from orchestrator.embedded.datafolder import private_folder, write_private
from orchestrator.embedded.errors import StartError
from orchestrator.embedded.parts import Escalation, Part
from orchestrator.embedded.privileges import Identity, database_identity, give
from orchestrator.embedded.processes import is_alive, processes_in, wait_gone

SETTINGS = {
    # Only the unix socket in a 0700 folder is listened on.
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    # Every process and every child of a worker has a pool of its own; 200 cost about 33 MB.
    "max_connections": "200",
    "shared_buffers": "128MB",
    "max_locks_per_transaction": "256",  # a statement over daily partitions locks each of them
    # Short statements on a small machine: compiling or sharing out a plan takes longer than running it.
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "random_page_cost": "1.1",
    # A client that was told "accepted" finds its work again after a power cut.
    "synchronous_commit": "on",
    "wal_level": "replica",
    "wal_compression": "on",
    # Fewer, longer checkpoints: each makes the next write of a page log the whole page.
    "checkpoint_timeout": "15min",
    "checkpoint_completion_target": "0.9",
    "min_wal_size": "128MB",
    "max_wal_size": "2GB",
    # A queue's rows die young: clean up often and without pausing much.
    "autovacuum_naptime": "10s",
    "autovacuum_vacuum_scale_factor": "0.02",
    "autovacuum_vacuum_insert_scale_factor": "0.05",
    "autovacuum_analyze_scale_factor": "0.02",
    "autovacuum_vacuum_cost_limit": "2000",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %a ",
    "log_checkpoints": "off",
    "log_lock_waits": "on",
    "log_min_duration_statement": "1000",
}
_LOCKS = ", ".join(
    f"pg_catalog.pg_{kind}{shared}({arguments})"
    for kind in (
        "advisory_lock", "try_advisory_lock", "advisory_xact_lock", "try_advisory_xact_lock",
    )
    for shared in ("", "_shared")
    for arguments in ("bigint", "int, int")
)  # fmt: skip
"""Advisory locks: the clock and the workers rely on theirs, so no tenant's role may take any."""
_EXTENSION = "pg_stat_statements"
_NOT_YET_READY = 30.0


class Postgres(Part):
    """The server in `paths.postgres_home()`, with the role and the database of `paths`.

    `identity` is who it runs as (see privileges); found out at the first start when not given.
    """

    name = "database"
    # SIGINT ends sessions and shuts down cleanly; SIGQUIT leaves the rest to recovery.
    stop_steps: Escalation = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 5.0))
    death_signal = signal.SIGINT

    def __init__(self, *, identity: Callable[[Path], Identity] = database_identity) -> None:
        self.home = paths.postgres_home()
        self.data = self.home / "data"
        self.socket_dir = paths.socket_dir(self.home)
        self._find_identity = identity
        self._identity: Identity | None = None
        self._binaries: PostgresBinaries | None = None

    @property
    def identity(self) -> Identity:
        if self._identity is None:
            self._identity = self._find_identity(self.home)
            self.become = self._identity.become
        return self._identity

    @property
    def binaries(self) -> PostgresBinaries:
        if self._binaries is None:
            self._binaries = find_postgres(major=_major_of(self.data))
        return self._binaries

    def prepare(self) -> None:
        private_folder(self.home)
        private_folder(self.socket_dir)
        self.stop_left_over()
        give(self.home, self.identity)
        if self.socket_dir != self.home:
            give(self.socket_dir, self.identity)
        if not self.data.exists():
            self._create_cluster()
        self._settle_roles()

    def argv(self) -> Sequence[str]:
        options = [f"-c{name}={value}" for name, value in SETTINGS.items()]
        if self.binaries.has_library(_EXTENSION):
            options.append(f"-cshared_preload_libraries={_EXTENSION}")
        place = ["-D", str(self.data), "-k", str(self.socket_dir), "-p", str(paths.PG_PORT)]
        return [self.binaries.program("postgres"), *place, *options]

    def is_ready(self, pid: int) -> bool:
        """What `pg_ctl --wait` looks at: the server writes its state into its own pid file."""
        lines = self._pid_file_lines()
        return len(lines) > 7 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"

    def shows(self, line: str) -> bool:
        return " FATAL: " in line or " PANIC: " in line

    def failure(self, lines: Sequence[str]) -> str:
        telling = [line for line in lines if re.search(r"(FATAL|PANIC|ERROR|initdb: error):", line)]
        reason = (telling or list(lines) or ["it said nothing"])[-1].strip()
        return (
            f"The database in {self.home} does not start ({reason}): mend that, restore a backup, "
            f"or move the folder away to begin anew."
        )

    def stop_left_over(self) -> None:
        """Stop what still runs on this data (the lock on the data folder says that it is nobody's),
        and remove a pid file whose number now belongs to another program."""
        pids = processes_in(self.data, program="postgres")
        main = self._recorded_pid()
        if main in pids:
            os.kill(main, signal.SIGINT)
            wait_gone(pids, within_s=_NOT_YET_READY)
        for pid in processes_in(self.data, program="postgres"):
            # Sessions whose server was killed: they keep the shared memory until they notice.
            os.kill(pid, signal.SIGKILL)
        if not wait_gone(pids, within_s=10):
            raise StartError(
                f"An earlier database server (process {pids[0]}) still uses {self.data}: stop it first."
            )
        if main and is_alive(main) and os.path.isdir("/proc/self"):
            (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _pid_file_lines(self) -> list[str]:
        try:
            return (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return []

    def _recorded_pid(self) -> int:
        lines = self._pid_file_lines()
        return int(lines[0]) if lines and lines[0].strip().isdigit() else 0

    def _create_cluster(self) -> None:
        """Make the cluster beside its final name: a half-made one is never taken for a whole one."""
        new = self.home / "data.new"
        shutil.rmtree(new, ignore_errors=True)
        secret = (
            self.home / ".superuser"
        )  # PostgreSQL wants a password; nobody ever logs in with it
        write_private(secret, secrets.token_hex(32))
        os.chown(secret, self.identity.uid, self.identity.gid)
        locale = ["--locale=C.UTF-8"]
        if self.binaries.major >= 17:
            locale += ["--locale-provider=builtin"]  # sorts the same on every system
        try:
            self._run(
                "initdb", "-D", str(new), "-U", "postgres", f"--pwfile={secret}", "-E", "UTF8",
                "--auth=scram-sha-256", "--no-instructions", *locale,
            )  # fmt: skip
        finally:
            secret.unlink()
        role, database = paths.DATABASE_ROLE, paths.DATABASE_NAME
        self._as_superuser(
            new, "postgres", [f"CREATE ROLE {role}", f"CREATE DATABASE {database} OWNER {role}"]
        )
        new.rename(self.data)

    def _settle_roles(self) -> None:
        """Bring roles, password and extension to what this version wants, whenever that has changed."""
        role = paths.DATABASE_ROLE
        statements = [
            f"ALTER ROLE {role} LOGIN NOSUPERUSER CREATEDB CREATEROLE PASSWORD '{_password()}'",
            f"GRANT pg_monitor TO {role} WITH ADMIN OPTION",
            f"GRANT SET ON PARAMETER temp_file_limit TO {role}",  # for tenants' roles
        ]
        if self.binaries.has_library(_EXTENSION):
            statements.append(f"CREATE EXTENSION IF NOT EXISTS {_EXTENSION}")
        locks = [
            f"REVOKE EXECUTE ON FUNCTION {_LOCKS} FROM PUBLIC",
            f"GRANT EXECUTE ON FUNCTION {_LOCKS} TO {role} WITH GRANT OPTION",
        ]
        statements += locks
        digest = hashlib.sha256("\n".join(statements).encode()).hexdigest()
        stamp = self.home / "roles.sha256"
        if not stamp.exists() or stamp.read_text() != digest:
            self._as_superuser(self.data, paths.DATABASE_NAME, statements)
            self._as_superuser(self.data, "template1", locks)  # and in databases to come
            stamp.write_text(digest)

    def _as_superuser(self, data: Path, database: str, statements: Sequence[str]) -> None:
        """Run statements (one line each) in single-user mode: no server, no password, no network."""
        self._run(
            "postgres", "--single", "-D", str(data), "-c", "exit_on_error=on", "-c", "log_timezone=UTC",
            "-c", "timezone=UTC", database, stdin="\n".join(statements) + "\n",
        )  # fmt: skip

    def _run(self, program: str, *arguments: str, stdin: str = "") -> None:
        done = subprocess.run(
            [self.binaries.program(program), *arguments],
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # a Ctrl-C must not leave a half-made cluster
            preexec_fn=self.identity.become,
            check=False,
        )
        if done.returncode != 0:
            raise StartError(self.failure(done.stdout.splitlines()))


def _major_of(data: Path) -> int | None:
    """The version that wrote the cluster; None where there is none yet.  StartError: it is broken."""
    if not data.exists():
        return None
    try:
        return int((data / "PG_VERSION").read_text())
    except (OSError, ValueError):
        raise StartError(
            f"The database folder {data} is broken (its PG_VERSION cannot be read): "
            f"restore it from a backup, or move it away to begin anew."
        ) from None


def _password() -> str:
    """The role's password out of libpq's password file, which is made when it is missing."""
    file = paths.password_file()
    try:
        found = re.fullmatch(r"\*:\*:\*:\w+:([0-9a-f]{64})\n?", file.read_text())
    except FileNotFoundError:
        found = None
    if found is not None:
        return found[1]
    password = secrets.token_hex(32)
    write_private(file, f"*:*:*:{paths.DATABASE_ROLE}:{password}\n")
    return password
