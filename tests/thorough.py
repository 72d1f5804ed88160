"""What `make test-fast` leaves out, so that it takes about a minute.  A pytest plugin (see pyproject.toml).

Whole folders are named here; a slow test or module elsewhere carries the mark itself."""

from __future__ import annotations

from pathlib import Path

import pytest

FOLDERS = (
    "alerts",
    "attacks",
    "builtin_handlers",
    "connections",
    "dashboard",
    "embedded",
    "fence",
    "health",
    "observing",
    "schedules",
    "semantics",
    "slas",
    "stats",
    "store",
    "walk",
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what lies in those folders, before `-m` chooses."""
    roots = [Path(__file__).parent / folder for folder in FOLDERS]
    for item in items:
        if any(root in item.path.parents for root in roots):
            item.add_marker(pytest.mark.thorough)
