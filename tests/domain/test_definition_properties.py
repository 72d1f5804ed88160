"""Random workflows: parsing keeps their graph, and counters run them as a plain model does."""

from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from orchestrator.domain import graph
from orchestrator.domain.definition import Definition, parse_definition
from orchestrator.domain.errors import InvalidDefinition
from orchestrator.domain.statuses import Decision, TriggerRule, decide

pytestmark = pytest.mark.thorough

_PARENTLESS = ["all_success", "all_done", "none_failed", "always"]


@st.composite
def documents(draw: st.DrawFn) -> dict[str, object]:
    """Workflows whose steps stand in any order, with edges written, implied or both."""
    size = draw(st.integers(min_value=1, max_value=12))
    steps: list[dict[str, object]] = []
    for number in range(size):
        parents = draw(st.sets(st.integers(0, number - 1), max_size=4)) if number else set()
        written = draw(st.sets(st.sampled_from(sorted(parents)))) if parents else set()
        implied = (parents - written) | (
            draw(st.sets(st.sampled_from(sorted(parents)))) if parents else set()
        )
        rules = list(TriggerRule) if parents else _PARENTLESS
        steps.append(
            {
                "name": f"s{number}",
                "handler": "h",
                "depends_on": [f"s{parent}" for parent in sorted(written)],
                "args": {"x": [f"${{{{ steps.s{parent}.output }}}}" for parent in sorted(implied)]},
                "trigger_rule": str(draw(st.sampled_from(rules))),
            }
        )
    return {"name": "w", "steps": draw(st.permutations(steps))}


def _edges(document: dict[str, object]) -> set[tuple[str, str]]:
    """Parent and child, by a search in the text."""
    steps = document["steps"]
    assert isinstance(steps, list)
    return {
        (parent["name"], child["name"])
        for child in steps
        for parent in steps
        if parent["name"] in child["depends_on"]
        or f"steps.{parent['name']}.output" in " ".join(child["args"]["x"])
    }


@given(documents())
def test_the_graph_is_the_documents(document: dict[str, object]) -> None:
    found = parse_definition(document)
    by_ordinal = {step.ordinal: step.name for step in found.steps}
    assert [step.ordinal for step in found.steps] == list(range(len(found.steps)))
    edges = {(by_ordinal[up], step.name) for step in found.steps for up in step.parents}
    assert edges == _edges(document)
    assert edges == {
        (step.name, by_ordinal[down]) for step in found.steps for down in step.children
    }
    assert all(
        step.depends_on == tuple(by_ordinal[up] for up in step.parents) for step in found.steps
    )
    assert found.leaves == tuple(step.ordinal for step in found.steps if not step.children)
    assert all(set(step.needs) <= set(step.parents) for step in found.steps)


@given(documents(), st.data())
def test_an_edge_back_is_a_cycle(document: dict[str, object], data: st.DataObject) -> None:
    found = parse_definition(document)
    parents = {step.name: step.depends_on for step in found.steps}
    low = data.draw(st.sampled_from(sorted(parents)))
    above = sorted(name for name in parents if low in graph.ancestors(parents, name))
    assume(above)
    high = data.draw(st.sampled_from(above))
    steps = document["steps"]
    assert isinstance(steps, list)
    [changed] = [step for step in steps if step["name"] == low]
    changed["depends_on"] = [*changed["depends_on"], high]
    changed["trigger_rule"] = "all_success"
    with pytest.raises(InvalidDefinition) as caught:
        parse_definition(document)
    assert {problem.code for problem in caught.value.problems} == {"cycle"}


@dataclass
class Counters:
    """A run as the engine keeps it: per step, how its parents ended."""

    definition: Definition
    counts: list[dict[str, int]] = field(default_factory=list)
    ends: dict[int, str] = field(default_factory=dict)
    ready: set[int] = field(default_factory=set)

    def start(self) -> None:
        for step in self.definition.steps:
            self.counts.append({"left": len(step.parents), "ok": 0, "failed": 0, "skipped": 0})
        for step in self.definition.steps:
            self._decide(step.ordinal)

    def end(self, ordinal: int, state: str) -> None:
        """Count an end, and those of all steps that are skipped by it."""
        left = [(ordinal, state)]
        while left:
            ended, how = left.pop()
            self.ready.discard(ended)
            self.ends[ended] = how
            for child in self.definition.steps[ended].children:
                counts = self.counts[child]
                counts["left"] -= 1
                key = {"succeeded": "ok"}.get(how, how)
                if key in counts:
                    counts[key] += 1
                if child not in self.ready and child not in self.ends and self._decide(child):
                    left.append((child, "skipped"))

    def _decide(self, ordinal: int) -> bool:
        step = self.definition.steps[ordinal]
        decision = decide(step.trigger_rule, total=len(step.parents), **self.counts[ordinal])
        if decision is Decision.READY:
            self.ready.add(ordinal)
        return decision.is_skip


def _should_be(rule: str, states: list[str | None]) -> str:
    """`wait`, `ready` or `skip`, by the contract's sentences, from the parents' states."""
    if not states:
        return "ready"
    early = {"one_success": "succeeded", "one_failed": "failed"}.get(rule)
    if early and early in states:
        return "ready"
    if None in states:
        return "wait"
    holds = {
        "all_success": all(state == "succeeded" for state in states),
        "none_failed": all(state in ("succeeded", "skipped") for state in states),
        "all_failed": all(state == "failed" for state in states),
        "all_done": True,
        "always": True,
    }
    return "ready" if holds.get(rule, False) else "skip"


@given(documents(), st.randoms(use_true_random=False))
def test_counters_ready_steps_as_a_plain_model_does(
    document: dict[str, object], rng: Random
) -> None:
    definition = parse_definition(document)
    run = Counters(definition)
    run.start()
    started: set[int] = set()
    while run.ready:
        for step in definition.steps:
            if step.ordinal in started:
                continue
            states = [run.ends.get(parent) for parent in step.parents]
            skipped = run.ends.get(step.ordinal) == "skipped"
            actual = "skip" if skipped else "ready" if step.ordinal in run.ready else "wait"
            assert actual == _should_be(step.trigger_rule, states), step.name
        chosen = rng.choice(sorted(run.ready))
        started.add(chosen)
        run.end(chosen, rng.choice(["succeeded", "failed", "skipped", "cancelled"]))
    assert set(run.ends) == {step.ordinal for step in definition.steps}
