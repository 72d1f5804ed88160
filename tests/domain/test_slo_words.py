"""Service levels in words, their predictions, and what is proposed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.slo import NATURES, Kind, Rule, Sums, judge, words
from orchestrator.domain.slo.prediction import Ahead, forecast
from orchestrator.domain.slo.proposing import proposed_threshold
from tests.domain.test_slo import BURNING, DURATION, ERRORS, FLOOR, P95, RATIO


def test_every_kind_says_what_it_promises_and_what_it_found() -> None:
    rules = {
        Kind.QUEUE_LATENCY: Rule(Kind.QUEUE_LATENCY, 5.0, 0.95),
        Kind.RUN_DURATION: DURATION,
        Kind.SUCCESS_RATIO: RATIO,
        Kind.FRESHNESS: Rule(Kind.FRESHNESS, 3600.0, 0.99),
        Kind.P95_THRESHOLD: P95,
        Kind.THROUGHPUT_FLOOR: FLOOR,
        Kind.ERROR_RATE_CEILING: ERRORS,
        Kind.READINESS_P95: Rule(Kind.READINESS_P95, 0.1),
    }
    assert rules.keys() == NATURES.keys()
    for rule in rules.values():
        text = words.promise(rule)
        seen = Sums(10, 5, 5, late=1)
        told = words.summary(rule, judge(rule, seen), seen, value=judge(rule, seen).value)
        assert text in told
        assert "10" in text or "9" in text or "36" in text or "5" in text
    few = replace(RATIO, min_samples=100)
    assert "too few" in words.summary(few, judge(few, Sums(3, 1)), Sums(3, 1), value=None)
    assert "Nothing" in words.summary(RATIO, judge(RATIO, Sums()), Sums(), value=None)
    bad = Sums(100, 50)
    verdict = judge(BURNING, bad, [(bad, bad), (bad, bad)])
    assert "500.0 times" in words.summary(BURNING, verdict, bad, value=0.5)
    p95 = words.summary(P95, judge(P95, bad), bad, value=12.5)
    assert p95.startswith("12.5s over 1h")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1, "100ms"), (1.5, "1.5s"), (90, "90s"), (125, "2.08m"), (3700, "1.03h"), (7200, "2h")],
)
def test_seconds_read_well(value: float, text: str) -> None:
    assert words.seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2.0, "2 per s"),
        (0.5, "30 per min"),
        (0.01, "36 per h"),
        (100 / 3600, "100 per h"),
        (1 / 86_400, "1 per day"),
        (0.0, "0 per day"),
        (2.345, "2.345 per s"),
    ],
)
def test_rates_read_well(value: float, text: str) -> None:
    assert words.rate(value) == text


def test_shares_keep_the_digits_that_matter() -> None:
    assert [words.percent(one) for one in (0.95, 0.99951, 1.0, 2 / 3)] == [
        "95 %", "99.951 %", "100 %", "66.67 %",
    ]  # fmt: skip


def test_the_longest_path_through_what_is_left_says_the_end() -> None:
    steps = [
        Ahead((1, 2), True, 5.0, 5.0),
        Ahead((3,), False, 4.0, 10.0),  # goes on: 6 s left
        Ahead((3,), False, None, 3.0),
        Ahead((), False, None, 2.0),
    ]
    found = forecast(steps, [0, 1, 2, 3])
    assert (found.remaining_s, found.path, found.known) == (8.0, (1, 3), 1.0)
    overdue = [*steps[:1], Ahead((3,), False, 60.0, 10.0), *steps[2:]]
    assert forecast(overdue, [0, 1, 2, 3]).remaining_s == 5.0, "it ends now; the other is longer"
    unknown = [*steps[:3], Ahead((), False, None, None)]
    assert forecast(unknown, [0, 1, 2, 3]).known == pytest.approx(2 / 3)
    done = [Ahead((), True, None, None)]
    assert forecast(done, [0]) == forecast([], [])


@given(st.lists(st.floats(0, 100), min_size=1, max_size=12), st.data())
def test_a_run_never_ends_before_its_longest_step(
    lengths: list[float], data: st.DataObject
) -> None:
    size = len(lengths)
    steps = [
        Ahead(
            tuple(data.draw(st.sets(st.integers(nr + 1, size - 1), max_size=3))) if nr < size - 1 else (),
            False, None, length,
        )
        for nr, length in enumerate(lengths)
    ]  # fmt: skip
    found = forecast(steps, range(size))
    assert max(lengths) - 1e-6 <= found.remaining_s <= sum(lengths) + 1e-6
    assert found.remaining_s == pytest.approx(sum(lengths[one] for one in found.path))
    assert all(b in steps[a].children for a, b in zip(found.path, found.path[1:], strict=False))


@given(st.floats(0.0, 100_000.0))
def test_a_proposal_leaves_room_but_not_too_much(p95: float) -> None:
    threshold = proposed_threshold(p95)
    assert threshold >= max(p95 * 1.5, 0.1) * 0.999
    assert threshold <= max(p95 * 1.5, 0.1) * 2.0 + 3600


def test_proposals_are_round() -> None:
    assert [proposed_threshold(one) for one in (0.0, 0.9, 4.0, 9.0, 30.0, 5000.0)] == [
        0.1, 1.5, 7.5, 15.0, 45.0, 10_800.0,
    ]  # fmt: skip
