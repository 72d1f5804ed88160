"""What is remembered of an installation."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from orchestrator.embedded import installed, paths
from tests.embedded.running import ROOT


@pytest.fixture(autouse=True)
def project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A copy of what is installed, and a data folder with a cluster's place."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    copy = tmp_path / "project"
    for folder in ("orchestrator/migrations", "tenants/migrations", "orchestrator/store/sql"):
        shutil.copytree(ROOT / folder, copy / folder)
    (copy / "requirements").mkdir()
    (copy / "requirements" / "base.txt").write_text("django==5.2.1\n")
    monkeypatch.setattr(paths, "PROJECT_ROOT", copy)
    paths.postgres_home().mkdir(parents=True)
    return copy


def test_it_is_known_once_it_is_installed() -> None:
    assert not installed.is_current()
    installed.remember()
    assert installed.is_current()


@pytest.mark.parametrize(
    "changed",
    ["orchestrator/migrations/0099_new.py", "tenants/migrations/0001_initial.py",
     "orchestrator/store/sql/functions/40_claim.sql", "requirements/base.txt"],
)  # fmt: skip
def test_any_change_of_what_is_installed_is_seen(project: Path, changed: str) -> None:
    installed.remember()
    with (project / changed).open("a") as file:
        file.write("\n-- new")
    assert not installed.is_current()


def test_it_goes_with_the_cluster() -> None:
    installed.remember()
    shutil.rmtree(paths.postgres_home())
    assert not installed.is_current()


def test_of_another_server_nothing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://localhost/other")
    installed.remember()
    assert not installed.is_current()
