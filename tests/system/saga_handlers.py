"""Handlers for tests of compensations and undos."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from orchestrator.handlers import Continue, Retry, Skip, StepContext, handler


@handler("test.undo")
async def undo(
    ctx: StepContext, *, file: str = "", given: Any = None, ms: float = 0, fail: int = 0
) -> dict[str, Any]:
    """Write down each beginning and end; the first `fail` attempts fail."""
    facts = {"step": ctx.step, "attempt": ctx.attempt, "uncertain": ctx.uncertain, "given": given,
             "key": ctx.idempotency_key}  # fmt: skip
    _note(file, {**facts, "is": "begun"})
    await asyncio.sleep(ms / 1000)
    if ctx.attempt <= fail:
        raise ConnectionError("not undone")
    _note(file, {**facts, "is": "ended"})
    return facts


def _note(file: str, line: dict[str, Any]) -> None:
    if file:
        with open(file, "a", encoding="utf-8") as lines:
            lines.write(json.dumps(line) + "\n")


@handler("test.compensate")
async def compensate(
    ctx: StepContext, *, word: str, value: Any = None, file: str = "", ms: float = 0
) -> Any:
    """One of a compensation's answers, after a while."""
    await asyncio.sleep(ms / 1000)
    _note(file, {"step": ctx.step, "key": ctx.idempotency_key, "value": value})
    return {
        "continue": Continue(value),
        "retry": Retry(),
        "retry_later": Retry(after="50ms"),
        "skip": Skip(),
        "nothing": value,
    }[word]


@handler("test.compensate_raises")
async def compensate_raises(ctx: StepContext, *, until: int = 1_000_000) -> Any:
    """Fails until the given attempt, which goes on with 1."""
    if ctx.attempt < until:
        raise ValueError("no compensation")
    raise Continue(1)


@handler("test.continue_cpu", queue="cpu")
def continue_cpu(ctx: StepContext, *, value: Any) -> Any:
    """Go on with the value, from a helper process."""
    return Continue(value)


@handler("test.killed_undo", queue="kills")
async def killed_undo(ctx: StepContext) -> str:
    """Served by the worker that kills itself alone."""
    return ctx.step
