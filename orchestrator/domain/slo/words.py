"""A rule and what it came to, in a sentence."""

from __future__ import annotations

from datetime import timedelta

from orchestrator.domain.durations import format_duration
from orchestrator.domain.observations import Sight
from orchestrator.domain.slo.budget import Sums
from orchestrator.domain.slo.judging import Verdict
from orchestrator.domain.slo.rules import Kind, Rule


def seconds(value: float) -> str:
    """Seconds as people write them: `350ms`, `1.5s`, `2m`."""
    if value < 1:
        return f"{value * 1000:.3g}ms"
    if value < 60:
        return f"{value:.3g}s"
    whole = timedelta(seconds=round(value))
    short = format_duration(whole)
    if short.endswith("s") and value >= 120:
        return f"{value / 60:.3g}m" if value < 3600 else f"{value / 3600:.3g}h"
    return short


def percent(share: float) -> str:
    """A share as `99.5 %`: with more digits near nothing and all."""
    digits = 2 if 0.01 < share < 0.99 else 4
    text = f"{share * 100:.{digits}f}".rstrip("0").rstrip(".")
    return f"{text} %"


def rate(per_s: float, like: float | None = None) -> str:
    """Runs per second, or per minute, hour or day, whichever is a number to be read; of a value beside
    its limit, in the unit in which that limit (`like`) is."""
    units = (("s", 1), ("min", 60), ("h", 3600), ("day", 86_400))
    basis = like or per_s
    found = [(basis * length, length, unit) for unit, length in units if basis * length >= 1 - 1e-9]
    whole = [one for one in found if abs(one[0] - round(one[0])) < 1e-6 and one[0] < 1000]
    _, length, unit = (whole or found or [(0.0, 86_400, "day")])[0]
    return f"{per_s * length:.4g} per {unit}"


def promise(rule: Rule) -> str:
    """What the rule promises."""
    limit = 0.0 if rule.threshold is None else rule.threshold
    share = percent(rule.target or 0.0)
    match rule.kind:
        case Kind.QUEUE_LATENCY:
            return f"{share} of steps start within {seconds(limit)} of being ready"
        case Kind.RUN_DURATION:
            return f"{share} of runs end within {seconds(limit)}"
        case Kind.SUCCESS_RATIO:
            return f"{share} of runs succeed"
        case Kind.FRESHNESS:
            return f"{share} of runs have succeeded within {seconds(limit)} of being accepted"
        case Kind.P95_THRESHOLD:
            return f"the 95th percentile of runs' durations is at most {seconds(limit)}"
        case Kind.THROUGHPUT_FLOOR:
            return f"runs succeed at a rate of at least {rate(limit)}"
        case Kind.ERROR_RATE_CEILING:
            return f"at most {percent(limit)} of runs fail"
        case _:  # readiness_p95
            return f"the 95th percentile of readiness is at most {seconds(limit)}"


def measured(rule: Rule, value: float) -> str:
    """A value of the rule, in its unit."""
    if rule.nature.unit == "s":
        return seconds(value)
    return rate(value, rule.threshold) if rule.nature.unit == "per_s" else percent(value)


def summary(rule: Rule, verdict: Verdict, sums: Sums, *, value: float | None) -> str:
    """What the rule came to, for an alert."""
    window = format_duration(timedelta(seconds=rule.window_s))
    if verdict.burning:
        pair = rule.burn[verdict.burning[0]]
        long, short = (
            format_duration(timedelta(seconds=one)) for one in (pair.long_s, pair.short_s)
        )
        rates = verdict.burns[verdict.burning[0]]
        return (
            f"The budget burns {rates[0]:.1f} times as fast as it may over {long}, and"
            f" {rates[1]:.1f} times over {short} (limit {pair.factor:g}); promised: {promise(rule)}."
        )
    late = f", {sums.late} late and not ended" if sums.late else ""
    if verdict.sight is Sight.INSUFFICIENT:
        return f"{sums.samples} samples in {window}{late}: too few to say."
    if verdict.no_data and not sums.late:
        return f"Nothing to measure in {window}."
    found = f"{percent(sums.share or 0.0)} good" if value is None else measured(rule, value)
    return f"{found} over {window}, of {sums.samples:,} samples{late}; promised: {promise(rule)}."
