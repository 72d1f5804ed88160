"""Long tests go first, so that no process is left alone with one at the end.  A pytest plugin (see pyproject.toml).

Among their like they keep the random order.  Tests of whole systems stand together: of the processes
that share all tests, one starts most systems, and the others take what needs none."""

from __future__ import annotations

from pathlib import Path

import pytest

FIRST = ("acceptance", "browser")
SEMANTICS = Path(__file__).parent / "semantics"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort what was chosen."""
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    marks = {mark.name for mark in item.iter_markers()}
    if SEMANTICS in item.path.parents or not marks.isdisjoint(FIRST):
        return 0
    return 1 if "system" in marks else 2
