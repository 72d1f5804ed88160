from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import stat
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

from orchestrator.embedded import paths, privileges
from orchestrator.embedded.binaries import find_postgres
from orchestrator.embedded.errors import StartError
from tests.embedded.running import (
    ROOT,
    Running,
    driver,
    environment,
    running,
    wait_until_gone,
    without_coverage,
)
from tests.embedded.users import ORDINARY_USER, ordinary_python

pytestmark = pytest.mark.system
POSTGRES = json.dumps({"postgres": True})
AS_NOBODY = json.dumps({"postgres": True, "identity": "nobody"})
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives up privileges")


def address(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("DATA_DIR", str(data_dir))
    return paths.database_url()


def ask(data_dir: Path, monkeypatch: pytest.MonkeyPatch, statement: str) -> object:
    """One value out of the running database, by the address that every command uses."""
    with psycopg.connect(address(data_dir, monkeypatch), autocommit=True) as connection:
        row = connection.execute(statement).fetchone()
    return row[0] if row else None


def server_pid(data_dir: Path) -> int:
    """The server's process; 0 while it has not written it down."""
    file = data_dir / "postgres" / "data" / "postmaster.pid"
    try:
        words = file.read_text().split()
    except FileNotFoundError:  # a server that ends removes it at any moment
        return 0
    return int(words[0]) if words else 0


def ready(handle: Running, data_dir: Path) -> int:
    handle.wait_for(r"up \| ready")
    return server_pid(data_dir)


def test_it_starts_serves_an_unprivileged_owner_and_stops(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(driver(POSTGRES), env=environment(folder)) as handle:
        ready(handle, folder)
        flags = "rolsuper::text || rolbypassrls || rolcreaterole || rolcanlogin"
        query = f"SELECT {flags} FROM pg_roles WHERE rolname = current_user"
        assert ask(folder, monkeypatch, query) == "falsefalsetruetrue"
        assert ask(folder, monkeypatch, "SELECT current_database()") == "millrace"
        assert ask(folder, monkeypatch, "SHOW timezone") == "UTC"
        assert ask(folder, monkeypatch, "SHOW synchronous_commit") == "on"
        assert ask(folder, monkeypatch, "SHOW listen_addresses") == ""
        ask(folder, monkeypatch, "SELECT count(*) FROM pg_stat_statements")
        assert handle.finish(signal.SIGINT) == 0
    wait_until_gone(folder)
    assert stat.S_IMODE((folder / "postgres").stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "postgres.pgpass").stat().st_mode) == 0o600


def test_kill_9_of_the_supervisor_leaves_no_server_and_the_data_whole(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(driver(POSTGRES), env=environment(folder)) as handle:
        ready(handle, folder)
        with psycopg.connect(address(folder, monkeypatch), autocommit=True) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS n")
        handle.finish(signal.SIGKILL)
    wait_until_gone(folder)
    with running(driver(POSTGRES), env=environment(folder)) as handle:
        ready(handle, folder)
        assert ask(folder, monkeypatch, "SELECT n FROM kept") == 42
        assert handle.finish(signal.SIGTERM) == 0


def _ask_on(session: psycopg.Connection[Any], *, within_s: float) -> None:
    """A backend may answer until it sees that its server has gone."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        session.execute("SELECT 1")


def test_kill_9_of_the_server_under_a_session_starts_it_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(driver(POSTGRES), env=environment(folder)) as handle:
        killed = ready(handle, folder)
        ask(folder, monkeypatch, "SELECT 1")
        with psycopg.connect(paths.database_url()) as session:
            session.execute("SELECT 1")
            os.kill(killed, signal.SIGKILL)
            handle.wait_for("database was killed by SIGKILL; it is started again at once")
            with pytest.raises(psycopg.OperationalError):
                _ask_on(session, within_s=20)
        answer = None
        while answer is None:  # refused until recovery has ended; the handle's patience bounds it
            try:
                answer = ask(folder, monkeypatch, "SELECT 7")
            except psycopg.OperationalError:
                assert handle.process.poll() is None, handle.text
        assert answer == 7
        assert server_pid(folder) not in (0, killed)
        assert handle.finish(signal.SIGTERM) == 0


def test_a_server_that_cannot_start_again_is_told_with_its_reason_and_tried_again(
    folder: Path,
) -> None:
    home, away = folder / "postgres", folder / "away"
    with running(driver(POSTGRES), env=environment(folder)) as handle:
        killed = ready(handle, folder)
        version = home / "data" / "PG_VERSION"
        version.rename(folder / "PG_VERSION")
        os.kill(killed, signal.SIGKILL)
        handle.wait_for(r"database exited with 1 \(.*PG_VERSION.*\); it is started again")
        home.rename(away)
        home.write_text("a file in its place")
        handle.wait_for(r"database cannot start \(.*\); next try in")
        home.unlink()
        away.rename(home)
        (folder / "PG_VERSION").rename(version)
        while server_pid(folder) in (0, killed):
            assert handle.process.poll() is None, handle.text
        assert handle.finish(signal.SIGTERM) == 0


@root_only
@pytest.mark.parametrize("order", [(AS_NOBODY, POSTGRES), (POSTGRES, AS_NOBODY)])
def test_root_runs_it_in_a_user_namespace_or_as_nobody_on_the_same_data(
    folder: Path, monkeypatch: pytest.MonkeyPatch, order: tuple[str, str]
) -> None:
    data = folder / "closed"
    data.mkdir(mode=0o700)
    for spec in order:
        with running(driver(spec), env=environment(data)) as handle:
            pid = ready(handle, data)
            assert ask(data, monkeypatch, "SELECT 1") == 1
            owner = "nobody" if spec == AS_NOBODY else "root"
            assert Path(f"/proc/{pid}").stat().st_uid == pwd.getpwnam(owner).pw_uid
            assert handle.finish(signal.SIGTERM) == 0
    wait_until_gone(data)
    assert data.stat().st_uid == 0


@pytest.mark.skipif(ordinary_python() is None, reason="an ordinary user runs the other tests")
def test_an_ordinary_user_runs_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user = pwd.getpwnam(ORDINARY_USER)
    code, programs, data = folder / "code", folder / "programs", folder / "data"
    shutil.copytree(ROOT / "orchestrator" / "embedded", code / "orchestrator" / "embedded")
    shutil.copytree(ROOT / "tests" / "embedded", code / "tests" / "embedded")
    for name in ("orchestrator", "tests"):
        (code / name / "__init__.py").touch()
    package = find_postgres().folder.parents[1]  # its libraries lie beside it
    for part in package.parent.glob(f"{package.name}*"):
        shutil.copytree(part, programs / part.name, symlinks=True)
    data.mkdir()
    os.chown(data, user.pw_uid, user.pw_gid)
    bin_dir = programs / package.name / "pginstall" / "bin"
    env = environment(data, PG_BIN_DIR=str(bin_dir), PYTHONPATH=str(code))
    python = ordinary_python()
    assert python is not None
    argv = [python, *driver(POSTGRES)[1:]]
    with running(argv, env=without_coverage(env), cwd=code, user=ORDINARY_USER) as handle:
        pid = ready(handle, data)
        assert Path(f"/proc/{pid}").stat().st_uid == user.pw_uid
        monkeypatch.setenv("PGPASSWORD", (data / "postgres.pgpass").read_text().strip()[-64:])
        assert ask(data, monkeypatch, "SELECT current_user") == "millrace"
        assert handle.finish(signal.SIGINT) == 0
    wait_until_gone(data)


def test_a_lost_password_file_is_made_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        with running(driver(POSTGRES), env=environment(folder)) as handle:
            ready(handle, folder)
            assert ask(folder, monkeypatch, "SELECT 1") == 1
            handle.finish(signal.SIGTERM)
        (folder / "postgres.pgpass").unlink()


def test_a_socket_path_of_any_length_works(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = folder / ("long" * 25)
    with running(driver(POSTGRES), env=environment(deep)) as handle:
        ready(handle, deep)
        assert ask(deep, monkeypatch, "SELECT 1") == 1
        handle.finish(signal.SIGTERM)
    wait_until_gone(deep)
    sockets = paths.socket_dir(deep / "postgres")
    assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
    sockets.rmdir()


def test_a_pid_file_whose_number_belongs_to_another_program_is_removed(folder: Path) -> None:
    with running(driver(POSTGRES), env=environment(folder)) as handle:
        ready(handle, folder)
        handle.finish(signal.SIGTERM)
    pid_file = folder / "postgres" / "data" / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n{folder}\n")
    with running(driver(POSTGRES), env=environment(folder)) as handle:
        assert ready(handle, folder) != os.getpid()
        assert handle.finish(signal.SIGTERM) == 0


def test_a_broken_cluster_is_told_in_one_sentence_and_left_alone(folder: Path) -> None:
    data = folder / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "precious").write_text("x")
    with running(driver(POSTGRES), env=environment(folder)) as handle:
        assert handle.finish() == 1
    assert "is broken (its PG_VERSION cannot be read): restore it" in handle.lines[-1]
    assert (data / "precious").exists()


def test_a_server_that_does_not_start_is_told_with_its_reason(folder: Path) -> None:
    with running(driver(POSTGRES), env=environment(folder)) as handle:
        ready(handle, folder)
        handle.finish(signal.SIGTERM)
    (folder / "postgres" / "data" / "global" / "pg_control").write_bytes(b"")
    with running(driver(POSTGRES), env=environment(folder)) as handle:
        assert handle.finish() == 1
    assert "does not start" in handle.lines[-1]
    assert "pg_control" in handle.lines[-1]


def test_programs_are_looked_for_where_pg_bin_dir_says_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PG_BIN_DIR", str(folder))
    with pytest.raises(StartError, match=r"PG_BIN_DIR=.* holds no working initdb and postgres"):
        find_postgres()
    monkeypatch.delenv("PG_BIN_DIR")
    assert find_postgres().major >= 15
    with pytest.raises(StartError, match="written by PostgreSQL 9, and only version"):
        find_postgres(major=9)


@root_only
def test_root_without_any_way_down_is_told_what_to_do(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(privileges, "user_namespace", lambda: None)
    monkeypatch.setattr(privileges, "plain_nobody", lambda: None)
    with pytest.raises(StartError, match="start as an ordinary user, or set DATABASE_URL"):
        privileges.database_identity(folder)


def test_a_half_made_cluster_is_made_anew(folder: Path) -> None:
    half = folder / "postgres" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18")
    with running(driver(POSTGRES), env=environment(folder)) as handle:
        ready(handle, folder)
        assert not half.exists()
        assert handle.finish(signal.SIGTERM) == 0
