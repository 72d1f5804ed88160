"""A rule read from its body, every problem with its place."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

from orchestrator.domain.definition.reader import Raw, Reader
from orchestrator.domain.durations import parse_duration
from orchestrator.domain.observations import Severity
from orchestrator.domain.slo.rules import (
    BURNS,
    NATURES,
    Bound,
    Burn,
    Kind,
    NoData,
    Rule,
)

FIELDS = (
    "name",
    "description",
    "kind",
    "workflows",
    "labels",
    "threshold",
    "target",
    "window",
    "min_samples",
    "no_data",
    "for",
    "clear_for",
    "clear_threshold",
    "burn",
    "severity",
    "enabled",
)
SHORTEST_WINDOW = timedelta(minutes=1)
LONGEST_WINDOW = timedelta(days=31)
LONGEST_WAIT = timedelta(days=7)
MOST_SAMPLES = 1_000_000_000
MOST_BURNS = 4
HIGHEST_RATE = 1e6
HIGHEST_FACTOR = 1000.0
HIGHEST_BURNING = 0.999999
"""One in a million may be bad: with less of a budget there is no rate to speak of."""
USUAL_TARGET = 0.95
_BURN_FIELDS = ("long", "short", "factor")


def read_rule(reader: Reader, raw: Raw) -> Rule:
    """What `raw` says of the rule itself: all but its name, its scope and whether it is enabled.

    What is wrong is noted in `reader`, and the rule that comes back is not one to be used."""
    reader.required(raw, "", ("kind",))
    before = len(reader.problems)
    kind = reader.word(raw, "", "kind", Kind.SUCCESS_RATIO)
    if len(reader.problems) > before or "kind" not in raw:
        return Rule(Kind.SUCCESS_RATIO, target=USUAL_TARGET)  # what fits depends on the kind
    nature = NATURES[kind]
    window = reader.duration(raw, "", "window", timedelta(hours=1))
    if not SHORTEST_WINDOW <= window <= LONGEST_WINDOW:
        reader.note("/window", "is not from a minute to 31 days", "out_of_range")
    usual = NoData.BAD if kind is Kind.THROUGHPUT_FLOOR else NoData.OK
    samples = reader.integer(raw, "", "min_samples", 1, least=1, most=MOST_SAMPLES)
    if kind is Kind.THROUGHPUT_FLOOR and samples > 1:
        message = "means nothing for this kind: few samples are what it is about"
        reader.note("/min_samples", message, "out_of_place")
    rule = Rule(
        kind,
        threshold=_threshold(reader, raw, nature.threshold),
        target=_target(reader, raw, kind),
        window_s=window.total_seconds(),
        min_samples=samples,
        no_data=reader.word(raw, "", "no_data", usual),
        for_s=_wait(reader, raw, "for"),
        clear_for_s=_wait(reader, raw, "clear_for"),
        severity=reader.word(raw, "", "severity", Severity.WARNING),
    )
    if reader.problems:
        return rule
    rule = replace(rule, clear_threshold=_clear(reader, raw, rule))
    return replace(rule, burn=_burns(reader, raw, rule))


def _threshold(reader: Reader, raw: Raw, bound: Bound) -> float | None:
    if bound is Bound.NONE:
        if raw.get("threshold") is not None:
            reader.note("/threshold", "means nothing for this kind: set target", "out_of_place")
        return None
    if raw.get("threshold") is None:
        reader.note("", f"threshold is missing: {_MEANING[bound]}", "missing")
        return None
    return _bounded(reader, raw, "threshold", bound)


_MEANING = {
    Bound.SECONDS: 'a duration such as "30s"',
    Bound.SHARE: "a share, from 0 to 1",
    Bound.RATE: 'runs per second, or text such as "100/1h"',
}


def _bounded(reader: Reader, raw: Raw, key: str, bound: Bound) -> float | None:
    """A threshold's value: a duration, a share or a rate."""
    value = raw[key]
    if bound is Bound.SECONDS:
        return reader.duration(raw, "", key, timedelta(seconds=1)).total_seconds()
    if bound is Bound.RATE and isinstance(value, str):
        number, slash, per = value.partition("/")
        try:
            if slash and number.isdecimal() and len(number) <= 9:
                return int(number) / parse_duration(per).total_seconds()
        except ValueError:
            pass
        reader.note(f"/{key}", 'must be text such as "100/1h"', "bad_rate")
        return None
    most = 1.0 if bound is Bound.SHARE else HIGHEST_RATE
    return _number(reader, raw, key, least=0.0, most=most)


def _number(reader: Reader, raw: Raw, key: str, *, least: float, most: float) -> float | None:
    value = raw[key]
    if isinstance(value, float) and not math.isfinite(value):
        reader.note(f"/{key}", "must be a number", "wrong_type")
        return None
    return reader.number(raw, "", key, least, least=least, most=most)


def _target(reader: Reader, raw: Raw, kind: Kind) -> float | None:
    if NATURES[kind].takes_target:
        if raw.get("target") is None:
            return USUAL_TARGET
        before = len(reader.problems)
        found = _number(reader, raw, "target", least=0.0, most=1.0)
        if found == 0.0 and len(reader.problems) == before:
            reader.note("/target", "must be above 0", "out_of_range")
        return found
    if raw.get("target") is not None:
        fixed = kind in (Kind.P95_THRESHOLD, Kind.READINESS_P95)
        why = "it is 0.95" if fixed else "set threshold"
        reader.note("/target", f"means nothing for this kind: {why}", "out_of_place")
    return None


def _wait(reader: Reader, raw: Raw, key: str) -> float:
    found = reader.duration(raw, "", key, timedelta(0), zero=True)
    if found > LONGEST_WAIT:
        reader.note(f"/{key}", "is more than 7 days", "out_of_range")
    return found.total_seconds()


def _clear(reader: Reader, raw: Raw, rule: Rule) -> float | None:
    """The clear threshold: on the good side of the limit, or on it."""
    if raw.get("clear_threshold") is None:
        return None
    nature = rule.nature
    found = _bounded(
        reader,
        raw,
        "clear_threshold",
        Bound.SHARE if nature.unit == "share" else nature.threshold,
    )
    limit = rule.limit
    assert limit is not None
    if found is None or reader.problems:
        return None
    if nature.falls and found < limit:
        reader.note("/clear_threshold", f"must be at least {limit:g}", "out_of_range")
    elif not nature.falls and found > limit:
        reader.note("/clear_threshold", f"must be at most {limit:g}", "out_of_range")
    return found


def _burns(reader: Reader, raw: Raw, rule: Rule) -> tuple[Burn, ...]:
    """Pairs of windows: `true` for the usual ones, else a list."""
    value = raw.get("burn")
    if value is None or value is False:
        return ()
    objective = rule.objective
    if objective is None or objective > HIGHEST_BURNING:
        message = f"needs a budget: a share of at most {HIGHEST_BURNING} that is promised"
        reader.note("/burn", message, "out_of_place")
        return ()
    if rule.clear_threshold is not None:
        message = "means nothing beside burn: an alert ends with the short window's rate"
        reader.note("/clear_threshold", message, "out_of_place")
        return ()
    found: tuple[Burn, ...]
    if value is True:
        found = BURNS
    elif not isinstance(value, list) or not value:
        reader.note("/burn", "must be true, or a list of {long, short, factor}", "wrong_type")
        return ()
    elif len(value) > MOST_BURNS:
        reader.note("/burn", f"has more than {MOST_BURNS} pairs", "out_of_range")
        return ()
    else:
        found = tuple(_burn(reader, one, f"/burn/{place}") for place, one in enumerate(value))
    for place, pair in enumerate(found):
        if max(pair.long_s, pair.short_s) > rule.window_s:
            where = "/burn" if value is True else f"/burn/{place}/long"
            message = f"a window of {pair.long_s:g} s is longer than the rule's own"
            reader.note(where, message, "out_of_range")
    return found


def _burn(reader: Reader, value: object, place: str) -> Burn:
    raw = reader.mapping(value, place, _BURN_FIELDS)
    if raw is None:
        return BURNS[0]
    reader.required(raw, place, _BURN_FIELDS)
    long = reader.duration(raw, place, "long", timedelta(hours=1))
    short = reader.duration(raw, place, "short", timedelta(minutes=5))
    factor = reader.number(raw, place, "factor", 1.0, least=1.0, most=HIGHEST_FACTOR)
    if {"long", "short"} <= raw.keys() and not SHORTEST_WINDOW <= short < long:
        message = "must be at least a minute, and shorter than long"
        reader.note(f"{place}/short", message, "out_of_range")
    return Burn(long.total_seconds(), short.total_seconds(), factor)
