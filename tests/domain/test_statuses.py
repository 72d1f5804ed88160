"""The tables of moves agree with their charts, and rules are decided as the contract says."""

import re
from collections.abc import Mapping
from enum import StrEnum
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.statuses import (
    RUN_MOVES,
    STEP_MOVES,
    TERMINAL_RUN,
    TERMINAL_STEP,
    Decision,
    RunState,
    StepState,
    TriggerRule,
    decide,
)

_ENDS = ("succeeded", "failed", "skipped", "cancelled")


@pytest.mark.parametrize(("states", "moves"), [(RunState, RUN_MOVES), (StepState, STEP_MOVES)])
def test_the_chart_shows_the_table(
    states: type[StrEnum], moves: Mapping[StrEnum, frozenset[StrEnum]]
) -> None:
    drawn = set(re.findall(r"^ *(\w+) --> (\w+)", states.__doc__ or "", re.MULTILINE))
    assert drawn == {(here, there) for here, targets in moves.items() for there in targets}
    assert set(moves) == set(states)


def test_no_state_moves_to_itself() -> None:
    assert all(state not in targets for state, targets in (*RUN_MOVES.items(), *STEP_MOVES.items()))


def test_terminal_states() -> None:
    assert {state.value for state in TERMINAL_STEP} == set(_ENDS)
    assert {state.value for state in TERMINAL_RUN} == {"succeeded", "failed", "cancelled"}


def _model(rule: str, parents: tuple[str | None, ...]) -> Decision:
    """The contract's sentences, on the parents' states themselves (None: not terminal)."""
    if not parents:
        return Decision.READY
    if rule == "one_success" and "succeeded" in parents:
        return Decision.READY
    if rule == "one_failed" and "failed" in parents:
        return Decision.READY
    if None in parents:
        return Decision.WAIT
    if rule in ("all_done", "always"):
        return Decision.READY
    if rule == "all_success":
        if set(parents) == {"succeeded"}:
            return Decision.READY
        return (
            Decision.UPSTREAM_FAILED
            if {"failed", "cancelled"} & set(parents)
            else Decision.UPSTREAM_SKIPPED
        )
    holds = {
        "all_failed": set(parents) == {"failed"},
        "none_failed": set(parents) <= {"succeeded", "skipped"},
        "one_success": False,
        "one_failed": False,
    }
    return Decision.READY if holds[rule] else Decision.TRIGGER_RULE


def _decide(rule: TriggerRule, parents: tuple[str | None, ...]) -> Decision:
    return decide(
        rule,
        total=len(parents),
        left=parents.count(None),
        ok=parents.count("succeeded"),
        failed=parents.count("failed"),
        skipped=parents.count("skipped"),
    )


@pytest.mark.parametrize("rule", TriggerRule)
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4])
def test_counters_decide_as_states_do(rule: TriggerRule, count: int) -> None:
    for parents in product((None, *_ENDS), repeat=count):
        assert _decide(rule, parents) is _model(rule.value, parents), parents


@given(st.sampled_from(TriggerRule), st.permutations(_ENDS * 2))
def test_a_decision_is_never_taken_back(rule: TriggerRule, ends: list[str]) -> None:
    """As parents end one by one, a step waits until it is decided, and then stays decided."""
    seen = [
        _decide(rule, (*ends[:ended], *[None] * (len(ends) - ended)))
        for ended in range(len(ends) + 1)
    ]
    decided = [decision for decision in seen if decision is not Decision.WAIT]
    assert seen == [Decision.WAIT] * (len(seen) - len(decided)) + decided
    assert len(set(decided)) == 1


def test_reasons_for_skipping() -> None:
    assert {decision.value for decision in Decision if decision.is_skip} == {
        "upstream_failed",
        "upstream_skipped",
        "trigger_rule",
    }
