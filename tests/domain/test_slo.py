"""Rules of service levels: budgets, burn rates, verdicts with hysteresis."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from orchestrator.domain.observations import Sight
from orchestrator.domain.slo import (
    BURNS,
    Burn,
    Kind,
    NoData,
    Rule,
    Sums,
    budget_left,
    burn_rate,
    judge,
)
from orchestrator.domain.slo.budget import falls_short, quantile_of_ended

RATIO = Rule(Kind.SUCCESS_RATIO, target=0.9)
DURATION = Rule(Kind.RUN_DURATION, threshold=10.0, target=0.9)
P95 = Rule(Kind.P95_THRESHOLD, threshold=10.0)
ERRORS = Rule(Kind.ERROR_RATE_CEILING, threshold=0.1)
FLOOR = Rule(Kind.THROUGHPUT_FLOOR, threshold=0.01, no_data=NoData.BAD)

counts = st.integers(0, 1000)
objectives = st.sampled_from([0.5, 0.9, 0.95, 0.99, 0.999])
tight = st.floats(0.999, 1.0)


@st.composite
def sums(draw: st.DrawFn) -> Sums:
    good, bad, late = draw(counts), draw(counts), draw(st.integers(0, 20))
    return Sums(good + bad, good, draw(st.integers(0, good)), late)


# -- budgets -------------------------------------------------------------------------------------


@given(sums(), objectives)
def test_the_budget_is_whole_without_a_bad_sample_and_spent_where_the_promise_is_just_kept(
    seen: Sums, objective: float
) -> None:
    left = budget_left(seen, objective)
    assert left <= 1.0
    assert (left == 1.0) == (seen.bad == 0)
    assert burn_rate(seen, objective) == pytest.approx(1.0 - left, abs=1e-9), (
        "two words for one thing"
    )
    if seen.samples:
        assert falls_short(seen.good, seen.samples, objective) == (left < -1e-6)


@given(sums(), sums(), tight)
def test_whatever_is_promised_the_numbers_are_json(
    long: Sums, short: Sums, objective: float
) -> None:
    rule = Rule(Kind.SUCCESS_RATIO, target=objective, burn=BURNS)
    found = judge(rule, long, [(long, short), (short, long)])
    json.dumps([found.value, found.budget, found.burns], allow_nan=False)


def test_runs_that_go_on_are_the_longest_of_a_quantile() -> None:
    assert quantile_of_ended(0.9, Sums(100, 100)) == 0.9
    assert quantile_of_ended(0.9, Sums(95, 95, late=5)) == pytest.approx(90 / 95)
    assert quantile_of_ended(0.9, Sums(4, 4, late=6)) > 1
    assert quantile_of_ended(0.9, Sums(0, 0, late=1)) > 1


def test_a_promise_of_everything_has_no_budget() -> None:
    assert budget_left(Sums(10, 9), 1.0) == 0.0
    assert 1e6 < burn_rate(Sums(10, 9), 1.0) < float("inf"), "JSON knows no infinity"
    assert (budget_left(Sums(10, 10), 1.0), burn_rate(Sums(10, 10), 1.0)) == (1.0, 0.0)
    assert Sums().share is None


@given(st.integers(1, 99), st.integers(1, 40))
def test_shares_are_compared_exactly(per_cent: int, times: int) -> None:
    samples = 100 * times
    assert not falls_short(per_cent * times, samples, per_cent / 100)
    assert falls_short(per_cent * times - 1, samples, per_cent / 100)


# -- verdicts ------------------------------------------------------------------------------------


@given(sums(), st.sampled_from([RATIO, DURATION, P95, ERRORS]))
def test_more_bad_samples_never_make_a_verdict_better(seen: Sums, rule: Rule) -> None:
    assume(seen.good > 0)
    worse = replace(seen, good=seen.good - 1, clear=min(seen.clear, seen.good - 1))
    order = [Sight.GOOD, Sight.BAD]
    before, after = judge(rule, seen), judge(rule, worse)
    assert order.index(after.sight) >= order.index(before.sight)
    assert before.budget is not None
    assert after.budget is not None
    assert after.budget <= before.budget


@given(sums(), st.floats(0.9, 1.0), st.sampled_from([RATIO, DURATION]))
def test_what_was_bad_is_not_good_before_it_would_be_anyway(
    seen: Sums, clear: float, rule: Rule
) -> None:
    rule = replace(rule, clear_threshold=clear)
    seen = replace(seen, clear=seen.good)
    fresh, kept = judge(rule, seen).sight, judge(rule, seen, was_bad=True).sight
    assert not (fresh is Sight.BAD and kept is Sight.GOOD)


def test_a_clear_threshold_is_in_the_units_of_the_value() -> None:
    ninety_two = Sums(100, 92, 92)
    assert judge(RATIO, ninety_two).sight is Sight.GOOD
    assert judge(replace(RATIO, clear_threshold=0.95), ninety_two, was_bad=True).sight is Sight.BAD
    assert judge(replace(RATIO, clear_threshold=0.92), ninety_two, was_bad=True).sight is Sight.GOOD
    assert judge(replace(ERRORS, clear_threshold=0.05), ninety_two, was_bad=True).sight is Sight.BAD
    assert (
        judge(replace(ERRORS, clear_threshold=0.08), ninety_two, was_bad=True).sight is Sight.GOOD
    )
    slow = Sums(100, 96, 80)  # 96 within the threshold, 80 within the clear one
    assert judge(replace(P95, clear_threshold=8.0), slow).sight is Sight.GOOD
    assert judge(replace(P95, clear_threshold=8.0), slow, was_bad=True).sight is Sight.BAD
    floor = replace(FLOOR, clear_threshold=0.02)
    assert judge(floor, Sums(40, 40)).sight is Sight.GOOD
    assert judge(floor, Sums(40, 40), was_bad=True).sight is Sight.BAD
    assert judge(floor, Sums(72, 72), was_bad=True).sight is Sight.GOOD


def test_values_are_in_the_units_of_their_kind() -> None:
    seen = Sums(8, 6, 6, late=2)
    assert judge(RATIO, seen).value == 0.6
    assert judge(ERRORS, seen).value == 0.4
    assert judge(P95, seen).value is None, "counts alone do not say a percentile"
    assert judge(FLOOR, Sums(36, 36)).value == 0.01
    assert judge(FLOOR, Sums(36, 36)).budget is None
    assert judge(RATIO, Sums()).value is None


@pytest.mark.parametrize("rule", [RATIO, DURATION, P95, ERRORS])
def test_few_samples_say_nothing_and_none_what_the_rule_says(rule: Rule) -> None:
    rule = replace(rule, min_samples=10)
    assert judge(rule, Sums(9, 0)).sight is Sight.INSUFFICIENT
    assert judge(rule, Sums(10, 0)).sight is Sight.BAD
    for policy, sight in (
        (NoData.OK, Sight.GOOD),
        (NoData.BAD, Sight.BAD),
        (NoData.KEEP, Sight.INSUFFICIENT),
    ):
        verdict = judge(replace(rule, no_data=policy), Sums())
        assert (verdict.sight, verdict.no_data) == (sight, True)


def test_a_run_that_hangs_is_bad_before_others_have_ended() -> None:
    rule = replace(DURATION, min_samples=5)
    assert judge(rule, Sums(0, 0, 0, late=1)).sight is Sight.BAD, "1 of 5 is over a tenth"
    rule = replace(DURATION, min_samples=50)
    assert judge(rule, Sums(0, 0, 0, late=1)).sight is Sight.INSUFFICIENT, "1 of 50 is not"
    assert judge(DURATION, Sums(99, 99, 99, late=1)).sight is Sight.GOOD, "it is one of a hundred"


def test_a_floor_without_anything_is_what_it_is_about() -> None:
    assert judge(FLOOR, Sums()).sight is Sight.BAD
    assert judge(replace(FLOOR, no_data=NoData.OK), Sums()).sight is Sight.GOOD
    assert judge(replace(FLOOR, no_data=NoData.KEEP), Sums()).sight is Sight.INSUFFICIENT
    assert judge(replace(FLOOR, no_data=NoData.OK), Sums(1, 1)).sight is Sight.BAD


# -- burn rates ----------------------------------------------------------------------------------

BURNING = replace(RATIO, target=0.999, window_s=30 * 86_400, burn=BURNS)
CALM = (Sums(1000, 1000), Sums(100, 100))


def test_a_budget_burns_when_both_windows_do() -> None:
    fast = Sums(1000, 985)  # 1.5 % bad of 0.1 %: 15 times
    for first, second, burning in (
        ((fast, fast), CALM, (0,)),
        ((fast, CALM[1]), CALM, ()),
        ((CALM[0], fast), CALM, ()),
        (CALM, (fast, fast), (1,)),
        ((fast, fast), (fast, fast), (0, 1)),
    ):
        verdict = judge(BURNING, Sums(10_000, 9_990), [first, second])
        assert verdict.burning == burning
        assert verdict.sight is (Sight.BAD if burning else Sight.GOOD)
        assert len(verdict.burns) == 2
    assert judge(BURNING, Sums(), [(Sums(), Sums())] * 2).sight is Sight.GOOD
    few = replace(BURNING, min_samples=100)
    assert judge(few, Sums(5, 0), [(Sums(5, 0), Sums(5, 0))] * 2).sight is Sight.INSUFFICIENT
    late = (Sums(5, 5, 5, late=3), Sums(5, 5, 5, late=3))
    timed = replace(DURATION, target=0.999, burn=BURNS, min_samples=100)
    assert judge(timed, late[0], [late, late]).burning == (0, 1), "runs that hang burn"


@given(sums(), sums(), st.floats(1.0, 100.0))
def test_a_higher_factor_burns_less(long: Sums, short: Sums, factor: float) -> None:
    pair = Burn(3600, 300, factor)
    easy = judge(replace(RATIO, burn=(pair,)), long, [(long, short)])
    hard = judge(replace(RATIO, burn=(replace(pair, factor=factor + 1),)), long, [(long, short)])
    assert not (hard.burning and not easy.burning)
