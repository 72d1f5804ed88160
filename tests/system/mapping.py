"""Workflows of a map, and what became of it."""

from __future__ import annotations

from typing import Any

from tests.system.running_system import TestTenant
from tests.system.shapes import call

INPUT = "${{ input.items }}"


def mapped(
    name: str, handler: str, over: Any = INPUT, *parents: str, **more: Any
) -> dict[str, Any]:
    """A map step; keys of `map` in `of`."""
    of = more.pop("of", {})
    return call(name, handler, *parents, map={"over": over, **of}, **more)


def run_map(
    tenant: TestTenant, step: dict[str, Any], items: Any, within_s: float = 30, **more: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run a workflow of one map step: the run and the step run."""
    tenant.publish("one", [step], **more)
    run = tenant.run("one", {"items": items}, within_s=within_s)
    return run, tenant.steps(run["id"])[step["name"]]


def batches(tenant: TestTenant, run_id: str, step: str) -> list[dict[str, Any]]:
    """All batches of a map, page by page."""
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        params: dict[str, Any] = {"step": step, "limit": 400}
        answer = tenant.http.get(
            f"/runs/{run_id}/steps", params=params | ({"cursor": cursor} if cursor else {})
        )
        assert answer.status_code == 200, answer.text
        found += answer.json()["items"]
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            return found
