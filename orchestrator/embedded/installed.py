"""Whether the embedded database has what this release installs, so that a start need not ask again."""

from __future__ import annotations

import hashlib
from pathlib import Path

from orchestrator.embedded import paths

# All that `manage.py install` puts into a database: our migrations and functions, and those of the
# locked packages.
SOURCES = (
    "*/migrations/*.py",
    "orchestrator/store/sql/functions/*.sql",
    "requirements/base.txt",
)


def _stamp() -> Path:
    """Beside the cluster, so that it goes with it."""
    return paths.postgres_home() / "installed.sha256"


def digest() -> str:
    """What stands for this release's schema: SHA-256 in hex."""
    files = sorted(file for pattern in SOURCES for file in paths.PROJECT_ROOT.glob(pattern))
    found = hashlib.sha256()
    for file in files:
        found.update(f"{file.relative_to(paths.PROJECT_ROOT)}\n".encode())
        found.update(hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()


def is_current() -> bool:
    """Whether this release has been installed into the embedded database.  Of others: never sure."""
    try:
        return paths.uses_embedded_database() and _stamp().read_text() == digest()
    except OSError:
        return False


def remember() -> None:
    """It has been installed."""
    if paths.uses_embedded_database():
        _stamp().write_text(digest())
