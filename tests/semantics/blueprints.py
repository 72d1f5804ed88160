"""Random workflows, and the model of a run of one."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.semantics import model
from tests.semantics.model_step import Step

RULES = [
    "all_success",
    "all_success",
    "all_failed",
    "all_done",
    "one_success",
    "one_failed",
    "none_failed",
    "always",
]
MOST_STEPS = 7


@st.composite
def blueprints(draw: st.DrawFn) -> dict[str, Any]:
    """A workflow's document; a model of a run is made from the same."""
    steps: list[dict[str, Any]] = []
    for number in range(draw(st.integers(1, MOST_STEPS))):
        earlier = [f"s{other}" for other in range(number)]
        parents = (
            draw(st.lists(st.sampled_from(earlier), unique=True, max_size=3)) if number else []
        )
        step: dict[str, Any] = {
            "name": f"s{number}",
            "handler": "core.echo",
            "args": {
                "parents": [f"${{{{ steps.{parent}.output }}}}" for parent in sorted(parents)]
            },
            "retry": {"max_attempts": draw(st.integers(1, 3)), "delay": 60, "jitter": 0},
        }
        if parents:
            step["trigger_rule"] = draw(st.sampled_from(RULES))
        elif draw(st.integers(0, 9)) == 0:
            step["trigger_rule"] = "always"
        if draw(st.integers(0, 4)) == 0:
            step["if"] = f"${{{{ {draw(st.booleans())} }}}}"
        if draw(st.integers(0, 3)) == 0:
            step["on_error"] = {"value": -100}
        if draw(st.integers(0, 2)) == 0:
            step["compensate"] = {"handler": "core.echo", "args": {"why": "${{ error.code }}"}}
        if draw(st.booleans()):
            step["undo"] = {
                "handler": "core.echo",
                "args": {"was": "${{ output }}"},
                "retry": {"max_attempts": draw(st.integers(1, 2)), "delay": 60},
            }
        steps.append(step)
    document: dict[str, Any] = {"steps": steps, "fail_fast": draw(st.booleans())}
    if draw(st.booleans()):
        names = ", ".join(f"steps.{step['name']}.output" for step in steps)
        document["output"] = f"${{{{ [{names}] }}}}"
    return document


def modelled(document: dict[str, Any]) -> model.Run:
    """The model of a run of this workflow, submitted."""
    by_name: dict[str, Step] = {}
    for number, given in enumerate(document["steps"]):
        references = [text.split(".")[1] for text in given["args"]["parents"]]
        by_name[given["name"]] = Step(
            given["name"],
            number,
            [by_name[name] for name in references],
            rule=given.get("trigger_rule", "all_success"),
            condition="False" not in given.get("if", ""),
            on_error=given["on_error"]["value"] if "on_error" in given else None,
            max_attempts=given["retry"]["max_attempts"],
            compensates="compensate" in given,
            undo_attempts=given["undo"]["retry"]["max_attempts"] if "undo" in given else 0,
        )
    run = model.Run(
        list(by_name.values()), fail_fast=document["fail_fast"], asks_all="output" in document
    )
    run.begin()
    run.conditions()
    return run
