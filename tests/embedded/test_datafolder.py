from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from orchestrator.embedded import datafolder
from orchestrator.embedded.errors import StartError


def test_a_missing_folder_is_made_for_its_owner_alone(folder: Path) -> None:
    datafolder.prepare(folder / "a" / "b")
    assert stat.S_IMODE((folder / "a" / "b").stat().st_mode) == 0o700
    assert list((folder / "a" / "b").iterdir()) == []


def test_a_file_in_its_place_is_named(folder: Path) -> None:
    (folder / "data").write_text("")
    for place in (folder / "data", folder / "data" / "below"):
        with pytest.raises(StartError, match=r"is a file, or lies below one: .*DATA_DIR"):
            datafolder.prepare(place)


def test_a_folder_that_cannot_be_written_is_named() -> None:
    with pytest.raises(StartError, match=r"/proc/millrace cannot be written .*DATA_DIR"):
        datafolder.prepare(Path("/proc/millrace"))


def test_a_second_holder_is_refused_and_told_the_first(folder: Path) -> None:
    first = datafolder.lock(folder)
    with pytest.raises(StartError, match=rf"process {os.getpid()}\) uses the data folder"):
        datafolder.lock(folder)
    first.close()
    datafolder.lock(folder).close()


def test_a_private_file_is_replaced_whole(folder: Path) -> None:
    file = folder / "secret"
    for content in ("one", "two"):
        datafolder.write_private(file, content)
        assert file.read_text() == content
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [entry.name for entry in folder.iterdir()] == ["secret"]


def test_a_private_folder_is_closed_to_others_and_never_a_link(folder: Path) -> None:
    (folder / "open").mkdir(mode=0o755)
    datafolder.private_folder(folder / "open")
    assert stat.S_IMODE((folder / "open").stat().st_mode) == 0o700
    (folder / "link").symlink_to(folder / "open")
    with pytest.raises(StartError, match="belongs to"):
        datafolder.private_folder(folder / "link")
