"""Handlers for tests: small, and each shows one behaviour."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from orchestrator.handlers import Abort, Continue, Retry, Skip, Snooze, StepContext, handler

_snoozed: set[UUID] = set()
"""Runs that this process has snoozed."""


@handler("test.noop")
async def noop(ctx: StepContext) -> dict[str, int]:
    """Do nothing."""
    return {"ok": 1}


@handler("test.echo")
async def echo(ctx: StepContext, *, value: Any) -> Any:
    """Give back."""
    return value


@handler("test.facts")
async def facts(ctx: StepContext) -> dict[str, Any]:
    """What the context says."""
    return {
        "tenant": ctx.tenant, "run_id": str(ctx.run_id), "step": ctx.step, "index": ctx.index,
        "attempt": ctx.attempt, "labels": ctx.labels, "key": ctx.idempotency_key, "pid": os.getpid(),
    }  # fmt: skip


def _place(ctx: StepContext) -> dict[str, Any]:
    """Where the handler is in its trace, by its context and by OpenTelemetry."""
    from opentelemetry import trace

    span = trace.get_current_span().get_span_context()
    with trace.get_tracer("mine").start_as_current_span("my own work"):
        ctx.log.info("traced")
    return {
        "given": ctx.traceparent,
        "trace": f"{span.trace_id:032x}",
        "span": f"{span.span_id:016x}",
    }


@handler("test.place")
async def place(ctx: StepContext) -> dict[str, Any]:
    """On the event loop."""
    return _place(ctx)


@handler("test.place_blocking")
def place_blocking(ctx: StepContext) -> dict[str, Any]:
    """In a thread, or, with `queue: cpu`, in a process."""
    return _place(ctx)


@handler("test.square")
async def square(ctx: StepContext, *, value: int) -> int:
    """Square, exactly."""
    return value * value


@handler("test.mix")
async def mix(ctx: StepContext, *, values: list[int]) -> int:
    """The product."""
    product = 1
    for value in values:
        product *= value
    return product


@handler("test.sleep")
async def sleep(ctx: StepContext, *, ms: float) -> dict[str, int]:
    """Wait, without a thread."""
    await asyncio.sleep(ms / 1000)
    return {"ok": 1}


@handler("test.block")
def block(ctx: StepContext, *, ms: float) -> dict[str, int]:
    """Wait, in a thread."""
    time.sleep(ms / 1000)
    return {"ok": 1}


@handler("test.block_first")
def block_first(ctx: StepContext, *, path: str, ms: float) -> str:
    """Wait, in a thread; a later call answers at once what became of the process of the first."""
    first = Path(path)
    if not first.exists():
        first.write_text(str(os.getpid()), encoding="utf-8")
        time.sleep(ms / 1000)
    lives = Path("/proc", first.read_text(encoding="utf-8")).exists()
    return f"the first process is {'there' if lives else 'gone'}"


@handler("test.block_politely")
def block_politely(ctx: StepContext, *, ms: float) -> str:
    """Wait in a thread, and look whether to end."""
    end = time.monotonic() + ms / 1000
    while time.monotonic() < end:
        if ctx.cancelled:
            return "cancelled"
        time.sleep(0.01)
    return "done"


@handler("test.stubborn")
async def stubborn(ctx: StepContext, *, ms: float) -> str:
    """Wait, and ignore being cancelled."""
    end = time.monotonic() + ms / 1000
    while time.monotonic() < end:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0.05)
    return "done"


@handler("test.spin", queue="cpu")
def spin(ctx: StepContext, *, ms: float) -> int:
    """Compute for so long, deaf to everything."""
    end, turns = time.monotonic() + ms / 1000, 0
    while time.monotonic() < end:
        turns += 1
    return os.getpid()


@handler("test.who", queue="cpu")
def who(ctx: StepContext, *, ms: float = 300) -> dict[str, Any]:
    """Which step ran, and where, after so long."""
    time.sleep(ms / 1000)
    return {"tenant": ctx.tenant, "step": ctx.step, "pid": os.getpid()}


@handler("test.die_then_wait")
async def die_then_wait(ctx: StepContext, *, died: str, ended: str) -> None:
    """Kill the process; the next time, wait to be cancelled, and leave a file of that."""
    try:
        os.close(os.open(died, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        try:
            ctx.heartbeat("waits")
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            os.close(os.open(ended, os.O_CREAT | os.O_EXCL))
            raise
    os.kill(os.getpid(), signal.SIGKILL)


@handler("test.die")
def die(ctx: StepContext, *, until_attempt_file: str = "") -> str:
    """Kill the process; with a file, only until it exists."""
    if until_attempt_file:
        if os.path.exists(until_attempt_file):
            return "alive"
        with open(until_attempt_file, "w", encoding="utf-8"):
            pass
    os._exit(9)


@handler("test.fail")
async def fail(
    ctx: StepContext, *, message: str = "broken", until: int = 1_000_000, kind: str = "value"
) -> int:
    """Raise until the given attempt, which succeeds with its number."""
    if ctx.attempt < until:
        raise {"value": ValueError, "key": KeyError, "lookup": LookupError}[kind](message)
    return ctx.attempt


@handler("test.say")
async def say(ctx: StepContext, *, word: str, returned: bool = False) -> Any:
    """One of the directives, raised or returned."""
    first = ctx.attempt == 1
    answers: dict[str, BaseException] = {
        "abort": Abort("no use"),
        "retry": Retry("once more", after="50ms"),
        "skip": Skip("not needed"),
        "snooze": Snooze("100ms"),
        "continue": Continue({"went": "on"}),
    }
    if word == "snooze":
        if ctx.run_id in _snoozed:
            return {"attempt": ctx.attempt}
        _snoozed.add(ctx.run_id)
    if word == "retry" and not first:
        return {"attempt": ctx.attempt}
    if returned:
        return answers[word]
    raise answers[word]


@handler("test.bad_output")
async def bad_output(ctx: StepContext, *, kind: str) -> Any:
    """Something that is not JSON."""
    return {"nan": float("nan"), "set": {1}, "nul": "a\0b", "object": object(), "huge": 10**5000}[
        kind
    ]


class Mute(Exception):
    """An exception that has no text."""

    def __str__(self) -> str:
        return str(self.args[1])


@handler("test.mistaken")
async def mistaken(ctx: StepContext, *, how: str, order: dict[str, Any]) -> None:
    """End as a handler may by mistake."""
    order["at"] = datetime.now(UTC)
    await asyncio.sleep(0.2)
    if how == "skip":
        raise Skip(404)  # type: ignore[arg-type]
    raise Mute("only one")


@handler("test.two_args")
async def two_args(ctx: StepContext, *, first: int, second: int = 2) -> int:
    """Takes `first`, and `second` if given."""
    return first + second


@handler("test.turns")
async def turns(ctx: StepContext, *, fail_at: int = 0) -> dict[str, Any]:
    """Which repetition this is; fails once in the given one."""
    if ctx.repetition == fail_at and ctx.attempt == 1:
        raise ValueError("once")
    return {"time": ctx.repetition, "attempt": ctx.attempt, "key": ctx.idempotency_key}


@handler("test.use_up")
async def use_up(ctx: StepContext, *, items: list[Any], how: str) -> Any:
    """Use the items up and end by `how`; the second time, say which there were."""
    seen = [items[0], [*items[1]["n"]]]
    items[1]["n"].clear()
    items.append(object() if how == "spoil" else 0)
    if ctx.repetition == 2 or ctx.progress:
        return seen
    await ctx.heartbeat(1)
    if how == "snooze":
        raise Snooze("10ms")
    if how != "repeat":
        raise ValueError("once more")
    return None


@handler("test.snooze_for")
def snooze_for(ctx: StepContext, *, file: str, for_: str) -> int:
    """Snooze until a file exists."""
    if os.path.exists(file):
        return ctx.attempt
    raise Snooze(for_)


@handler("test.needs_file")
def needs_file(ctx: StepContext, *, path: str) -> str:
    """Fail until the file is there."""
    if not os.path.exists(path):
        raise FileNotFoundError(f"run {ctx.run_id} found nothing")
    return "found"


@handler("test.beat")
async def beat(ctx: StepContext, *, beats: int, every_ms: float, then_silent_ms: float = 0) -> Any:
    """Beat so often, then say nothing; the second attempt gives what it found."""
    if ctx.attempt > 1:
        return {"attempt": ctx.attempt, "progress": ctx.progress}
    for number in range(beats):
        assert await ctx.heartbeat({"done": number + 1, "big": 2**64})
        await asyncio.sleep(every_ms / 1000)
    await asyncio.sleep(then_silent_ms / 1000)
    return {"attempt": ctx.attempt, "progress": ctx.progress}


@handler("test.beat_blocking")
def beat_blocking(ctx: StepContext, *, silent_ms: float) -> Any:
    """Tell a progress, then be silent; the second attempt gives what it found."""
    if ctx.attempt > 1:
        return {"attempt": ctx.attempt, "progress": ctx.progress}
    ctx.heartbeat({"done": 1})
    ctx.heartbeat()  # alive, no news
    end = time.monotonic() + silent_ms / 1000
    while time.monotonic() < end and not ctx.cancelled:
        time.sleep(0.01)
    return "was not cut off"


@handler("test.beat_until")
def beat_until(ctx: StepContext, *, seconds: float = 30) -> Any:
    """Beat all the time, until it should end; says how it came to its end, and where it began."""
    begun = time.monotonic()
    number = ctx.progress["number"] if ctx.progress else 0
    if number:
        return {"found": number, "attempt": ctx.attempt}
    while time.monotonic() - begun < seconds:
        number += 1
        if not ctx.heartbeat({"number": number}):
            return {"told": ctx.cancelled}
    return "nobody said anything"


@handler("test.beat_too_much")
async def beat_too_much(ctx: StepContext, *, size: int) -> Any:
    """A progress of so many bytes of JSON."""
    ctx.heartbeat("x" * (size - 2))
    return "kept"


@handler("test.note")
def note(ctx: StepContext, *, file: str, ms: float = 0, fail: bool = False) -> Any:
    """Write a line into a file, wait, and give how many lines it has; or fail."""
    with open(file, "a", encoding="utf-8") as lines:
        lines.write(f"{ctx.run_id}\n")
    end = time.monotonic() + ms / 1000
    while time.monotonic() < end and not ctx.cancelled:
        time.sleep(0.01)
    if fail or ctx.cancelled:
        raise ValueError("broken")
    with open(file, encoding="utf-8") as lines:
        return {"calls": len(lines.readlines()), "big": 2**64, "text": "größer ☃"}


@handler("test.text")
async def text(ctx: StepContext, *, size: int, plain: bool = True) -> Any:
    """A result of exactly so many bytes of JSON."""
    head: dict[str, Any] = {"big": 2**64, "text": "" if plain else "größer ☃ 𝄞", "fill": ""}
    missing = size - len(json.dumps(head, ensure_ascii=False, separators=(",", ":")).encode())
    return {**head, "fill": "x" * missing}


@handler("test.measure")
async def measure(ctx: StepContext, *, value: Any) -> Any:
    """What came in: how many bytes of JSON, and its exact parts."""
    length = len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())
    return {"bytes": length, "big": value["big"], "text": value["text"], "attempt": ctx.attempt}


@handler("test.measure_twice")
async def measure_twice(ctx: StepContext, *, value: Any) -> Any:
    """The same, after an attempt that fails."""
    if ctx.attempt == 1:
        raise ValueError("once more")
    return await measure(ctx, value=value)


@handler("test.skip_with")
async def skip_with(ctx: StepContext, *, reason: str) -> None:
    """Skip for this reason."""
    raise Skip(reason)


@handler("test.beat_with")
async def beat_with(ctx: StepContext, *, progress: Any) -> Any:
    """Tell this progress."""
    await ctx.heartbeat(progress)
    return ctx.progress
