"""Bodies of rules: what is right reads as meant, what is wrong is named with its place."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.domain.definition.reader import Reader
from orchestrator.domain.observations import Severity
from orchestrator.domain.slo import BURNS, FIELDS, Burn, Kind, NoData, Rule, read_rule

RATIO: dict[str, Any] = {"kind": "success_ratio"}
TIMED: dict[str, Any] = {"kind": "run_duration", "threshold": "30s"}
P95: dict[str, Any] = {"kind": "p95_threshold", "threshold": "2s"}
FLOOR: dict[str, Any] = {"kind": "throughput_floor", "threshold": 0.5}
ERRORS: dict[str, Any] = {"kind": "error_rate_ceiling", "threshold": 0.05}
LONG: dict[str, Any] = {**RATIO, "target": 0.99, "window": "30d"}
PAIR = {"long": "2h", "short": "10m", "factor": 3}

BROKEN: dict[str, tuple[dict[str, Any], set[tuple[str, str]]]] = {
    "nothing": ({}, {("", "missing")}),
    "kind": ({"kind": "run_durations"}, {("/kind", "wrong_enum")}),
    "kind no text": ({"kind": 3}, {("/kind", "wrong_enum")}),
    "no threshold": ({"kind": "run_duration"}, {("", "missing")}),
    "null threshold": ({**TIMED, "threshold": None}, {("", "missing")}),
    "threshold out of place": ({**RATIO, "threshold": "3s"}, {("/threshold", "out_of_place")}),
    "threshold no duration": ({**TIMED, "threshold": "soon"}, {("/threshold", "bad_duration")}),
    "share of two": ({**ERRORS, "threshold": 2}, {("/threshold", "out_of_range")}),
    "share no number": ({**ERRORS, "threshold": "1%"}, {("/threshold", "wrong_type")}),
    "share nan": ({**ERRORS, "threshold": float("nan")}, {("/threshold", "wrong_type")}),
    "rate text": ({**FLOOR, "threshold": "often"}, {("/threshold", "bad_rate")}),
    "rate length": ({**FLOOR, "threshold": "5/minute"}, {("/threshold", "bad_rate")}),
    "rate negative": ({**FLOOR, "threshold": -1}, {("/threshold", "out_of_range")}),
    "target nothing": ({**RATIO, "target": 0}, {("/target", "out_of_range")}),
    "target above": ({**RATIO, "target": 95}, {("/target", "out_of_range")}),
    "target true": ({**RATIO, "target": True}, {("/target", "wrong_type")}),
    "target of p95": ({**P95, "target": 0.9}, {("/target", "out_of_place")}),
    "target of errors": ({**ERRORS, "target": 0.9}, {("/target", "out_of_place")}),
    "window short": ({**RATIO, "window": "30s"}, {("/window", "out_of_range")}),
    "window long": ({**RATIO, "window": "32d"}, {("/window", "out_of_range")}),
    "samples": ({**RATIO, "min_samples": 0}, {("/min_samples", "out_of_range")}),
    "no data": ({**RATIO, "no_data": "okay"}, {("/no_data", "wrong_enum")}),
    "for": ({**RATIO, "for": "8d"}, {("/for", "out_of_range")}),
    "for text": ({**RATIO, "for": "x", "clear_for": -1}, {("/for", "bad_duration"), ("/clear_for", "bad_duration")}),
    "severity": ({**RATIO, "severity": "bad"}, {("/severity", "wrong_enum")}),
    "clear below": ({**RATIO, "clear_threshold": 0.9}, {("/clear_threshold", "out_of_range")}),
    "clear above": ({**P95, "clear_threshold": "3s"}, {("/clear_threshold", "out_of_range")}),
    "clear of share": ({**RATIO, "clear_threshold": "3s"}, {("/clear_threshold", "wrong_type")}),
    "burn word": ({**LONG, "burn": "yes"}, {("/burn", "wrong_type")}),
    "burn empty": ({**LONG, "burn": []}, {("/burn", "wrong_type")}),
    "burn many": ({**LONG, "burn": [PAIR] * 5}, {("/burn", "out_of_range")}),
    "burn no object": ({**LONG, "burn": [3]}, {("/burn/0", "wrong_type")}),
    "burn key": ({**LONG, "burn": [{**PAIR, "shrot": 1}]}, {("/burn/0/shrot", "unknown_key")}),
    "burn missing": ({**LONG, "burn": [{"long": "2h"}]}, {("/burn/0", "missing")}),
    "burn turned": ({**LONG, "burn": [{**PAIR, "short": "3h"}]}, {("/burn/0/short", "out_of_range")}),
    "burn factor": ({**LONG, "burn": [{**PAIR, "factor": 0}]}, {("/burn/0/factor", "out_of_range")}),
    "burn long": ({**RATIO, "target": 0.9, "burn": True}, {("/burn", "out_of_range")}),
    "burn of all": ({**LONG, "target": 1, "burn": True}, {("/burn", "out_of_place")}),
    "burn of nearly all": ({**LONG, "target": 0.9999999, "burn": True}, {("/burn", "out_of_place")}),
    "samples of a floor": ({**FLOOR, "min_samples": 2}, {("/min_samples", "out_of_place")}),
    "burn of a floor": ({**FLOOR, "burn": True}, {("/burn", "out_of_place")}),
    "burn and clear": ({**LONG, "burn": True, "clear_threshold": 1}, {("/clear_threshold", "out_of_place")}),
}  # fmt: skip


def read(raw: dict[str, Any]) -> tuple[Rule, Reader]:
    reader = Reader()
    reader.mapping(raw, "", FIELDS)
    return read_rule(reader, raw), reader


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_is_named(name: str) -> None:
    raw, findings = BROKEN[name]
    _, reader = read(raw)
    found = {(one.path, one.code) for one in reader.problems}
    assert found == findings


def test_a_near_word_is_suggested() -> None:
    _, reader = read({"kind": "run_durations"})
    assert "did you mean run_duration?" in reader.problems[0].message


def test_what_is_not_said_has_its_default() -> None:
    rule, reader = read(RATIO)
    assert not reader.problems
    assert rule == Rule(Kind.SUCCESS_RATIO, target=0.95)
    floor, _ = read(FLOOR)
    assert floor.no_data is NoData.BAD, "nothing at all is what a floor is about"
    assert (floor.objective, floor.limit, floor.seconds) == (None, 0.5, None)


def test_everything_is_read() -> None:
    rule, reader = read(
        {**TIMED, "target": 0.9, "window": "2h", "min_samples": 7, "no_data": "keep", "for": "5m",
         "clear_for": 60, "clear_threshold": 0.95, "severity": "critical"}
    )  # fmt: skip
    assert not reader.problems
    assert rule == Rule(
        Kind.RUN_DURATION, 30.0, 0.9, 7200.0, 7, NoData.KEEP, 300.0, 60.0, 0.95, (), Severity.CRITICAL
    )  # fmt: skip
    assert (rule.objective, rule.limit, rule.seconds, rule.clear_seconds) == (0.9, 0.9, 30.0, 30.0)


@pytest.mark.parametrize(
    ("raw", "threshold", "objective", "clear"),
    [
        ({**P95, "clear_threshold": "1500ms"}, 2.0, 0.95, 1.5),
        ({**ERRORS, "clear_threshold": 0.01}, 0.05, 0.95, 0.01),
        ({**FLOOR, "threshold": "90/1h", "clear_threshold": "180/1h"}, 0.025, None, 0.05),
        ({"kind": "readiness_p95", "threshold": "100ms"}, 0.1, 0.95, None),
    ],
)
def test_thresholds_are_in_their_kinds_units(
    raw: dict[str, Any], threshold: float, objective: float | None, clear: float | None
) -> None:
    rule, reader = read(raw)
    assert not reader.problems
    assert (rule.threshold, rule.objective, rule.clear_threshold) == (threshold, objective, clear)


def test_burn_pairs_are_the_usual_ones_or_those_given() -> None:
    assert read({**LONG, "burn": True})[0].burn == BURNS
    assert read({**LONG, "burn": False})[0].burn == ()
    assert read({**LONG, "burn": [PAIR]})[0].burn == (Burn(7200.0, 600.0, 3.0),)
