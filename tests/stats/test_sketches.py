"""Merged sketches against exact values: the errors that docs/stats.md states."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from random import Random

import pytest
from fastdigest import TDigest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.selectors.sketches import Sketch
from orchestrator.services.rollups import CENTROIDS, _bytes

Draw = Callable[[Random], float]

DISTRIBUTIONS: dict[str, Draw] = {
    "uniform": lambda rng: rng.uniform(0.01, 2.0),
    "exponential": lambda rng: rng.expovariate(4.0),
    "lognormal": lambda rng: rng.lognormvariate(-2.0, 1.5),
    "heavy tail": lambda rng: 0.05 * rng.paretovariate(1.1),
    "two kinds": lambda rng: rng.gauss(0.02, 0.002) if rng.random() < 0.9 else rng.gauss(30, 2),
    "whole milliseconds": lambda rng: round(rng.expovariate(20.0), 3),
    "getting slower": lambda rng: rng.random() ** 6 * 100,
}
ALLOWED = {0.5: 0.02, 0.95: 0.01, 0.99: 0.005}


def stored(values: list[float]) -> bytes:
    return _bytes([TDigest.from_values(values, max_centroids=CENTROIDS)])


def grown(parts: list[list[float]]) -> bytes:
    """As a wide bucket grows: each second's events are merged into what is there."""
    whole = stored(parts[0])
    for part in parts[1:]:
        whole = _bytes([TDigest.from_bytes(whole), TDigest.from_bytes(stored(part))])
    return whole


def rank_error(values: list[float], answer: float, share: float) -> float:
    """How far the answer's rank is from `share`; values that are equal have all their ranks."""
    low = bisect_left(values, answer) / len(values)
    high = bisect_right(values, answer) / len(values)
    return max(low - share, share - high, 0.0)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("shuffled", [True, False])
def test_quantiles_of_many_merged_buckets(name: str, shuffled: bool) -> None:
    rng = Random(f"{name} {shuffled}")
    values = [max(DISTRIBUTIONS[name](rng), 0.0) for _ in range(20_000)]
    if not shuffled:
        values.sort()  # each bucket knows another part: the hardest to merge
    parts = [values[at : at + 100] for at in range(0, len(values), 100)]
    sketch = Sketch.read([grown(parts[at : at + 10]) for at in range(0, len(parts), 10)])
    values.sort()
    assert sketch.count == len(values)
    answers = sketch.quantiles(list(ALLOWED))
    assert answers is not None
    for (share, allowed), answer in zip(ALLOWED.items(), answers, strict=True):
        assert sketch.quantile(share) == answer
        assert rank_error(values, answer, share) <= allowed, share
    for share, allowed in {0.1: 0.02, 0.9: 0.02, **ALLOWED}.items():
        threshold = values[int(share * len(values))]
        below = sketch.share_below(threshold)
        assert below is not None
        low = bisect_left(values, threshold) / len(values)
        high = bisect_right(values, threshold) / len(values)
        assert low - allowed <= below <= high + allowed, share


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32),
    st.sampled_from(sorted(DISTRIBUTIONS)),
    st.lists(st.integers(1, 400), min_size=2, max_size=30),
)
def test_however_the_values_are_cut(seed: int, name: str, sizes: list[int]) -> None:
    rng = Random(seed)
    parts = [[max(DISTRIBUTIONS[name](rng), 0.0) for _ in range(size)] for size in sizes]
    values = sorted(value for part in parts for value in part)
    one_by_one = Sketch.read([stored(part) for part in parts])
    in_steps = Sketch.merged(
        [Sketch.read([grown(parts[:-1])]), Sketch(), Sketch.read([stored(parts[-1])])]
    )
    slack = 1 / len(values)  # of few values an answer lies between two of them
    for sketch in (one_by_one, in_steps):
        assert sketch.count == len(values)
        for share, allowed in ALLOWED.items():
            answer = sketch.quantile(share)
            assert answer is not None
            assert values[0] <= answer <= values[-1]
            assert rank_error(values, answer, share) <= allowed + slack


def test_nothing_and_one_value() -> None:
    nothing = Sketch.read([])
    assert (nothing.count, nothing.quantile(0.5), nothing.share_below(1.0)) == (0, None, None)
    assert nothing.quantiles([0.5]) is None
    assert Sketch.merged([nothing, nothing]).count == 0
    one = Sketch.read([stored([2.0])])
    assert (one.count, one.quantile(0.99)) == (1, 2.0)
    assert (one.share_below(1.9), one.share_below(2.1)) == (0.0, 1.0)
