"""What of a step's arguments is kept for its next attempt."""

from __future__ import annotations

import json
from functools import partial
from uuid import uuid4

from orchestrator.domain import jsonvalue
from orchestrator.executor import invoke
from orchestrator.executor.plans import Plans
from orchestrator.handlers import registry
from orchestrator.store.work import Claimed, Completion


def attempt(args: object, given: object, *, kept: str | None = None) -> Completion:
    """A first attempt that uses up the list in its argument `x` and fails; another follows."""
    step = {"name": "a", "handler": "core.echo", "args": args, "retry": {"max_attempts": 2}}
    plan = Plans(registry)._build("t", json.dumps({"name": "w", "steps": [step]}))
    claimed = Claimed("step", 1, uuid4(), 0, 0, 1, 1, 0, 0, False, kept, None, "{}",
                      jsonvalue.encode(given), [], [], [], False)  # fmt: skip
    evaluated = partial(invoke.arguments, plan, plan.steps[0], claimed)
    found = evaluated()["x"]
    assert isinstance(found, list)
    found.append(object())
    done = invoke.conclude(
        plan.steps[0], claimed, ValueError("no"), seconds=0.1, args=evaluated, max_bytes=1000
    )
    assert (done.outcome, done.reason) == ("waiting", "retry")
    return done


def test_they_are_kept_as_they_were() -> None:
    assert attempt({"x": "${{ input.x }}"}, {"x": [2**64]}).args == '{"x":[18446744073709551616]}'
    assert attempt({"x": [1, [2]]}, {}).args == '{"x":[1,[2]]}'


def test_those_that_are_kept_already_stay() -> None:
    assert attempt({"x": "${{ input.x }}"}, {"x": [1]}, kept='{"x":[2]}').args is None


def test_what_is_too_deep_to_be_kept_is_evaluated_anew() -> None:
    deep: list[object] = []
    for _ in range(97):
        deep = [deep]
    assert attempt({"x": [["${{ input.x }}"]]}, {"x": deep}).args is None
    assert attempt({"x": ["${{ input.x }}"]}, {"x": deep}).args is not None
