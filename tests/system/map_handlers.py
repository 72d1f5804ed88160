"""Handlers and sources of maps for tests."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from orchestrator.handlers import Abort, Item, Skip, Snooze, StepContext, handler


def _note(file: str, text: object) -> None:
    """Write a line, where a file is given."""
    if file:
        with open(file, "a", encoding="utf-8") as log:
            log.write(f"{text}\n")


def _die_once(mark: str) -> None:
    """Kill the process, unless it was killed here before."""
    if not os.path.exists(mark):
        Path(mark).touch()
        os._exit(9)


@handler("test.double")
async def double(ctx: StepContext, *, item: int, most_ms: float = 0) -> int:
    """Twice the item, after a random while."""
    if most_ms:
        await asyncio.sleep(random.random() * most_ms / 1000)
    return 2 * item


@handler("test.double_sync")
def double_sync(ctx: StepContext, *, item: int) -> int:
    """Twice the item."""
    return 2 * item


@handler("test.double_all", batch=True)
def double_all(ctx: StepContext, *, items: list[int], drop: int = 0) -> list[int]:
    """Twice each item; less `drop` results."""
    return [2 * item for item in items][: len(items) - drop]


@handler("test.double_cpu", queue="cpu")
def double_cpu(ctx: StepContext, *, item: int) -> list[int | None]:
    """Twice the item, and its index."""
    if item < 0:
        raise ValueError(f"{item} is negative")
    return [2 * item, ctx.item_index]


@handler("test.slow_item")
async def slow_item(ctx: StepContext, *, item: float) -> float:
    """Take so many milliseconds."""
    await asyncio.sleep(item / 1000)
    return item


@handler("test.block_item")
def block_item(ctx: StepContext, *, item: float) -> float:
    """Take so many milliseconds, in a thread."""
    time.sleep(item / 1000)
    return item


@handler("test.picky")
async def picky(ctx: StepContext, *, item: int, bad: list[int], until: int = 1_000_000) -> int:
    """Fail for bad items, until the given attempt."""
    if item in bad and ctx.attempt < until:
        raise ValueError(f"{item} is bad")
    return item * 10 + ctx.attempt


@handler("test.use_up_item")
async def use_up_item(
    ctx: StepContext, *, item: list[int], among: list[int], until: int
) -> list[list[int]]:
    """Use up what came in, and say what it was from the given attempt on."""
    seen = [[*item], [*among]]
    item.clear()
    among.append(0)
    await asyncio.sleep(0)
    if ctx.attempt < until:
        raise ValueError("once more")
    return seen


@handler("test.use_up_items", batch=True)
def use_up_items(ctx: StepContext, *, items: list[list[int]], until: int) -> list[int]:
    """The same, of the whole list."""
    found = []
    while items:
        found.append(items.pop(0).pop())
    if ctx.attempt < until:
        raise ValueError("once more")
    return found


@handler("test.item_facts")
def item_facts(ctx: StepContext, *, item: Any) -> dict[str, Any]:
    """What the context says of an item."""
    return {"index": ctx.index, "item_index": ctx.item_index, "key": ctx.idempotency_key}


@handler("test.say_item")
def say_item(ctx: StepContext, *, item: str, mark: str = "") -> str:
    """A directive for each word."""
    if item == "skip":
        raise Skip("not needed")
    if item == "abort":
        raise Abort("no use")
    if item == "nan":
        return float("nan")  # type: ignore[return-value]
    if item == "snooze" and not os.path.exists(mark):
        Path(mark).touch()
        raise Snooze("50ms")
    if item == "die":
        _die_once(mark)
        return "alive"
    return item


@handler("test.log_item")
def log_item(ctx: StepContext, *, item: int, file: str, die_at: int = -1, bad: int = -1) -> int:
    """Write the item down; kill the process at one, the first time; fail at another."""
    _note(file, item)
    if item == bad:
        raise ValueError(f"{item} is bad")
    if item == die_at:
        _die_once(f"{file}.died")
    return item


@handler("test.log_once")
def log_once(ctx: StepContext, *, item: int, file: str, bad: int) -> int:
    """Write the item down; fail at one, the first time."""
    _note(file, item)
    if item == bad and Path(file).read_text().split().count(str(bad)) == 1:
        raise ValueError(f"{item} is bad")
    return item


@handler("test.text_item")
def text_item(ctx: StepContext, *, item: int) -> str:
    """A text of 5,000 characters and the item."""
    return f"{item}:" + "x" * 5_000


@handler("test.count")
async def count(ctx: StepContext, *, values: Any) -> Any:
    """How many there are; counts as they are."""
    return len(values) if isinstance(values, list) else values


@handler("test.numbers")
def numbers(
    ctx: StepContext, *, count: int, pause_ms: float = 0, fail_at: int = -1, log: str = ""
) -> Iterator[int]:
    """The numbers from 0, from the beginning each time."""
    _note(log, 0)
    for number in range(count):
        if pause_ms:
            time.sleep(pause_ms / 1000)
        if number == fail_at:
            raise ValueError("the source is dry")
        yield number


@handler("test.numbers_after")
async def numbers_after(
    ctx: StepContext,
    *,
    count: int,
    after: int | None = None,
    pause_ms: float = 0,
    log: str = "",
    die_at: int = -1,
) -> AsyncIterator[Item]:
    """The numbers behind the cursor."""
    first = 0 if after is None else after + 1
    _note(log, first)
    for number in range(first, count):
        if pause_ms:
            await asyncio.sleep(pause_ms / 1000)
        if number == die_at:
            _die_once(f"{log}.died")
        yield Item(number, cursor=number)


@handler("test.list_source")
async def list_source(ctx: StepContext, *, count: int) -> list[int]:
    """The numbers, as a list."""
    return list(range(count))


@handler("test.cpu_source", queue="cpu")
def cpu_source(ctx: StepContext, *, count: int) -> Iterator[int]:
    """The numbers, from a process of its own."""
    yield from range(count)


@handler("test.bad_source")
def bad_source(ctx: StepContext, *, kind: str, after: int | None = None) -> Any:
    """What no source may give."""
    if kind == "number":
        return 5
    if kind == "no_item":
        return [1, 2]
    return [Item({1}, cursor=1)]


@handler("test.killed_numbers", queue="kills")
def killed_numbers(ctx: StepContext, *, count: int, after: int | None = None) -> Iterator[Item]:
    """The numbers behind the cursor, for the worker that kills itself; slowly: several chunks."""
    for number in range(0 if after is None else after + 1, count):
        time.sleep(0.03)
        yield Item(number, cursor=number)
