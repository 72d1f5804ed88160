from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from orchestrator.embedded.binaries import find_postgres, find_valkey
from orchestrator.embedded.errors import StartError
from orchestrator.embedded.processes import is_alive, processes_in, signal_group, wait_gone


def test_processes_are_known_by_program_and_working_folder(folder: Path) -> None:
    sleeper = subprocess.Popen(["sleep", "600"], cwd=folder)
    try:
        program = Path(os.readlink(f"/proc/{sleeper.pid}/exe")).name
        assert processes_in(folder, program=program) == [sleeper.pid]
        assert processes_in(folder, program="postgres") == []
        assert processes_in(folder.parent, program=program) == []
        assert is_alive(sleeper.pid)
        assert not wait_gone([sleeper.pid], within_s=0.1)
    finally:
        sleeper.kill()
        sleeper.wait()
    assert not is_alive(sleeper.pid)
    assert wait_gone([sleeper.pid], within_s=0)


def test_another_users_process_is_alive() -> None:
    assert is_alive(1)


def test_without_wheels_the_systems_programs_are_taken(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PG_BIN_DIR", raising=False)
    wheel = find_postgres()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(folder))
    with pytest.raises(StartError, match=r"No Valkey or Redis program .*BROKER_URL"):
        find_valkey()
    program = folder / "redis-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert find_valkey() == program
    monkeypatch.setenv("PG_BIN_DIR", str(wheel.folder))
    assert find_postgres() == wheel


@pytest.mark.parametrize(
    "script", ["exit 1", "echo 'postgres (PostgreSQL) 14.9'", "echo something else"]
)
def test_programs_that_do_not_run_or_are_too_old_are_passed_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    for name in ("initdb", "postgres"):
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PG_BIN_DIR", str(folder))
    with pytest.raises(StartError, match="of version 15 or newer"):
        find_postgres()


def test_a_signal_to_a_group_that_is_gone_is_no_error() -> None:
    done = subprocess.Popen(["true"], start_new_session=True)
    done.wait()
    signal_group(done, signal.SIGTERM)
