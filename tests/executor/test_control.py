"""Control work in Python: what is asked of a cache."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest

from orchestrator import store
from orchestrator.executor.control import decide
from orchestrator.executor.plans import Plans
from orchestrator.executor.waits import Means
from orchestrator.handlers import registry
from orchestrator.store.work import Claimed, Verdict


def verdict(key: object, given: object = None, **step: Any) -> Verdict:
    """What becomes of a step with this cache key, with this input."""
    cached = {"name": "a", "handler": "core.echo", "cache": {"key": key, "ttl": "1.5s"}, **step}
    plans = Plans(registry)
    plan = plans._build("t", json.dumps({"name": "w", "steps": [cached]}))
    claimed = Claimed("condition", 1, uuid4(), 0, 0, 1, 1, 0, 0, False, None, None, "{}",
                      json.dumps(given), [], [], [], False)  # fmt: skip
    found = decide(plan, claimed, Means(store.connection, plans, 1_000_000))
    assert isinstance(found, Verdict)
    return found


def asked(key: object, given: object = None, **step: Any) -> dict[str, Any]:
    found = verdict(key, given, **step)
    assert found.verdict == "cache"
    assert found.value is not None
    return dict(json.loads(found.value))


def test_the_key_is_the_handlers_and_compared_as_a_json_value() -> None:
    whole = {"b": 2, "a": [1, 2**64]}
    assert asked("${{ input }}", whole) == asked("${{ input }}", {"a": [1.0, 2**64], "b": 2.0})
    assert asked("${{ input }}", 1) == asked(1)
    assert asked("${{ input }}", True) != asked(1)
    assert asked("1") != asked(1)
    assert asked("${{ input }}", whole) != asked("${{ input }}", {**whole, "a": [1, 2**64 + 1]})
    assert asked(1) != asked(1, handler="core.sleep")
    assert asked(1, name="other") == asked(1)
    assert asked(1)["ttl_ms"] == 1500


def test_a_condition_comes_first() -> None:
    found = verdict("${{ input.missing }}", {}, **{"if": False})
    assert (found.verdict, found.value) == ("skipped", "condition")


@pytest.mark.parametrize("given", [{}, {"k": "x" * 1_100_000}])
def test_a_key_that_cannot_be_made_fails_the_step(given: object) -> None:
    found = verdict("${{ input.k }}", given, on_error={"value": 3})
    assert (found.verdict, found.fallback) == ("failed", "3")
    assert found.value is not None
    error = json.loads(found.value)
    assert error["code"] == "expression"
    assert error["message"].startswith("cache.key: ")
