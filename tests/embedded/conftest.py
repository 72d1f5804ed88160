from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder with a short path (a socket's has 107 bytes) that other users may pass through."""
    made = Path(tempfile.mkdtemp(prefix="mr-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)
