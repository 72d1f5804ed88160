"""What a rule makes of what was counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.domain.observations import Sight
from orchestrator.domain.slo.budget import EXACT, Sums, budget_left, burn_rate, falls_short
from orchestrator.domain.slo.rules import Kind, NoData, Rule


@dataclass(frozen=True, slots=True)
class Verdict:
    """`value` is in the unit of the rule's kind; None where it is not known from counts alone (a
    percentile) or nothing was counted.  `budget` and `burns` are None and empty where the rule has no
    objective.  `burning`: the pairs that burn, by their place."""

    sight: Sight
    value: float | None
    budget: float | None
    burns: tuple[tuple[float, float], ...] = ()
    burning: tuple[int, ...] = ()
    no_data: bool = False


def judge(
    rule: Rule, sums: Sums, burns: Sequence[tuple[Sums, Sums]] = (), *, was_bad: bool = False
) -> Verdict:
    """The rule's verdict on its window, and on the two windows of each of its burn pairs.

    `was_bad`: what the last verdict that said anything was; a value that was bad must pass the clear
    threshold."""
    objective = rule.objective
    if objective is None:
        return _floor(rule, sums, was_bad=was_bad)
    rates = tuple(
        (burn_rate(long, objective), burn_rate(short, objective)) for long, short in burns
    )
    value = None if rule.nature.unit == "s" else _value(rule, sums)
    left = budget_left(sums, objective)
    if rule.burn:
        burning = tuple(
            place
            for place, (pair, two) in enumerate(zip(rule.burn, rates, strict=True))
            if min(two) >= pair.factor - EXACT
            and (burns[place][0].samples >= rule.min_samples or _hangs(rule, burns[place][0]))
        )
        counted = max((long for long, _ in burns), key=lambda one: one.samples)
        sight = Sight.BAD if burning else Sight.GOOD
        if not burning and counted.samples < rule.min_samples:
            sight = _few(rule, counted)
        return Verdict(sight, value, left, rates, burning, no_data=not counted.samples)
    if sums.samples < rule.min_samples or not sums.samples:
        return Verdict(_few(rule, sums), value, left, rates, no_data=not sums.samples)
    good, needed = (sums.clear, _clear(rule, objective)) if was_bad else (sums.good, objective)
    bad = falls_short(good, sums.samples, needed)
    return Verdict(Sight.BAD if bad else Sight.GOOD, value, left, rates)


def _value(rule: Rule, sums: Sums) -> float | None:
    if not sums.samples:
        return None
    if rule.kind is Kind.ERROR_RATE_CEILING:
        return sums.bad / sums.samples
    return sums.share


def _clear(rule: Rule, objective: float) -> float:
    """The share that a rule which was bad needs to be good again."""
    if rule.clear_threshold is None or rule.nature.unit == "s":
        return objective
    if rule.kind is Kind.ERROR_RATE_CEILING:
        return 1.0 - rule.clear_threshold
    return rule.clear_threshold


def _few(rule: Rule, sums: Sums) -> Sight:
    """What too few samples say: nothing, unless there are none at all, or runs hang."""
    if _hangs(rule, sums):
        return Sight.BAD
    if sums.samples or rule.no_data is NoData.KEEP:
        return Sight.INSUFFICIENT
    return Sight.BAD if rule.no_data is NoData.BAD else Sight.GOOD


def _hangs(rule: Rule, sums: Sums) -> bool:
    """Whether the runs that are late would miss the objective, were all samples that lack good: a run
    that hangs is seen before others have ended."""
    objective = rule.objective
    assert objective is not None
    lacking = max(rule.min_samples, sums.samples)
    return sums.late > 0 and falls_short(lacking - sums.late, lacking, objective)


def _floor(rule: Rule, sums: Sums, *, was_bad: bool) -> Verdict:
    """A floor is judged by few samples too: they are what it is about."""
    assert rule.threshold is not None
    value = sums.good / rule.window_s
    if not sums.good and rule.no_data is not NoData.BAD:
        kept = rule.no_data is NoData.KEEP
        return Verdict(Sight.INSUFFICIENT if kept else Sight.GOOD, value, None, no_data=True)
    needed = rule.threshold
    if was_bad and rule.clear_threshold is not None:
        needed = rule.clear_threshold
    return Verdict(
        Sight.BAD if value < needed - EXACT else Sight.GOOD, value, None, no_data=not sums.good
    )
