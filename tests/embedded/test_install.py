"""`requirements/install`, up to the point where it would fetch packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.embedded.running import ROOT


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    (tmp_path / "bin").mkdir()
    return tmp_path


def fake(checkout: Path, name: str, script: str) -> None:
    program = checkout / "bin" / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def install(checkout: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run it with the programs of `checkout/bin` alone, besides the few that every system has."""
    for name in ("dirname", "cmp", "rm", "cp", "sed", "tail", "tr"):
        found = shutil.which(name)
        assert found is not None
        (checkout / "bin" / name).symlink_to(found)
    return subprocess.run(
        ["/bin/sh", str(checkout / "requirements" / "install"), "base"],
        env={"PATH": str(checkout / "bin"), **env},
        capture_output=True,
        text=True,
        check=False,
    )


def test_no_python_that_is_new_enough(checkout: Path) -> None:
    fake(checkout, "python3", "exit 1")
    done = install(checkout)
    assert done.returncode == 1
    assert done.stderr.startswith("No Python 3.11 or newer was found: install one")


def test_a_named_python_that_is_too_old(checkout: Path) -> None:
    fake(checkout, "python9", "exit 1")
    done = install(checkout, PYTHON="python9")
    assert done.returncode == 1
    assert done.stderr.startswith("PYTHON=python9 is not Python 3.11 or newer")


def test_a_python_without_venv(checkout: Path) -> None:
    fake(checkout, "python3", 'case "$2" in *ensurepip*) exit 1;; esac')
    done = install(checkout)
    assert done.returncode == 1
    assert "lacks the venv module with pip: install it (Debian, Ubuntu: apt install" in done.stderr


def test_something_else_called_venv_is_left_alone(checkout: Path) -> None:
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / "mine").touch()
    fake(checkout, "python3", "exit 0")
    done = install(checkout)
    assert done.returncode == 1
    assert "exists and is no virtual environment" in done.stderr
    assert (checkout / ".venv" / "mine").exists()


def test_a_broken_venv_is_made_anew(checkout: Path) -> None:
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "pyvenv.cfg").touch()
    (checkout / ".venv" / "bin" / "python").symlink_to(checkout / "gone")
    fake(checkout, "python3", 'case "$2" in venv) echo made; exit 1;; esac')
    done = install(checkout)
    assert "broken or its Python is too old: it is made anew" in done.stdout
    assert "made" in done.stdout
    assert "could not make .venv" in done.stderr


def test_nothing_happens_when_the_lock_is_installed(checkout: Path) -> None:
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "python").symlink_to(sys.executable)
    shutil.copy(checkout / "requirements" / "base.txt", checkout / ".venv" / "installed-base.txt")
    done = install(checkout)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_locks_hold_hashes_and_no_addresses() -> None:
    for name in ("base", "dev", "tools"):
        text = (ROOT / "requirements" / f"{name}.txt").read_text()
        assert "://" not in text
        assert os.linesep + "    --hash=sha256:" in text
