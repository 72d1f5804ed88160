"""Definitions that several tests run."""

from __future__ import annotations

import random
from typing import Any

Steps = list[dict[str, Any]]


def call(name: str, handler: str, *parents: str, **more: Any) -> dict[str, Any]:
    """A step that calls `test.<handler>` after its parents."""
    step: dict[str, Any] = {"name": name, "handler": f"test.{handler}", **more}
    if parents:
        step["depends_on"] = list(parents)
    return step


def chain(length: int) -> Steps:
    """Steps one after the other."""
    return [call(f"s{i}", "noop", *([f"s{i - 1}"] if i else [])) for i in range(length)]


def fan(width: int) -> Steps:
    """One step, many, one."""
    middle = [f"m{i}" for i in range(width - 2)]
    return [
        call("first", "noop"),
        *(call(name, "noop", "first") for name in middle),
        call("last", "noop", *middle),
    ]


def random_graph(size: int, seed: int = 1) -> Steps:
    """Step j depends on up to three earlier ones."""
    rng = random.Random(seed)
    return [
        call(f"s{j}", "noop", *(f"s{i}" for i in sorted(rng.sample(range(j), min(j, 3)))))
        for j in range(size)
    ]
