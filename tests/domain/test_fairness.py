"""What each is due, and how fair what it got was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.fairness import entitled, jain

CLAIMS = st.lists(
    st.tuples(st.floats(0.01, 1000), st.floats(0, 1000)), min_size=1, max_size=20
)  # fmt: skip


@pytest.mark.parametrize(
    ("capacity", "claims", "due"),
    [
        (100, [], []),
        (100, [(1, 30), (1, 20)], [30, 20]),
        (10, [(1, 30), (1, 30)], [5, 5]),
        (8, [(3, 30), (1, 30)], [6, 2]),
        (10, [(1, 2), (1, 30), (1, 30)], [2, 4, 4]),
        (10, [(2, 4), (1, 30), (1, 3)], [4, 3, 3]),
        (0, [(1, 5)], [0]),
        (-3, [(1, 5)], [0]),
    ],
)
def test_entitled(capacity: float, claims: list[tuple[float, float]], due: list[float]) -> None:
    assert entitled(capacity, claims) == pytest.approx(due)


@given(st.floats(0, 5000), CLAIMS)
def test_all_is_given_that_is_wanted_and_no_one_envies(
    capacity: float, claims: list[tuple[float, float]]
) -> None:
    due = entitled(capacity, claims)
    wanted = sum(demand for _, demand in claims)
    assert sum(due) == pytest.approx(min(capacity, wanted), abs=1e-6)
    level = max(
        (part / weight for part, (weight, demand) in zip(due, claims, strict=True)), default=0
    )
    for part, (weight, demand) in zip(due, claims, strict=True):
        assert part <= demand + 1e-9
        # who has less than others for its weight has all that it wants
        assert part == pytest.approx(demand, abs=1e-6) or part / weight == pytest.approx(level)


def test_jain() -> None:
    assert jain([]) is None
    assert jain([0, 0]) is None
    assert jain([0.7, 0.7, 0.7]) == pytest.approx(1)
    assert jain([1, 0, 0, 0]) == pytest.approx(0.25)
