"""Reading a chunk from a streamed map's source: so many items, so many bytes, so long; then it stops
and gives its connection back."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from inspect import isawaitable
from typing import Any

from orchestrator.domain import jsonvalue
from orchestrator.domain.maps import make_packs, packs_text, texts_array
from orchestrator.domain.masking import NO_MASK, Mask
from orchestrator.executor.invoke import Encoded, Fault
from orchestrator.executor.items import Interrupted, call
from orchestrator.handlers import HandlerSpec, Item, StepContext

CHUNK_ITEMS = 10_000
CHUNK_BYTES = 1024 * 1024
CHUNK_S = 1.0
"""From the first new item of a chunk: a slow source's items do not wait for many others."""
MOST_GROWTH = 8
"""How many times larger a chunk may be where skipping what is stored takes longer than a chunk: read
from its start each time, a source would else be read a number of times that grows with its length."""


@dataclass(slots=True, eq=False)
class Read:
    """One chunk: what comes after the `stored` items that are kept already.

    A source that takes `after` was given the cursor and begins behind it; any other begins anew,
    and what is stored is skipped."""

    args: dict[str, Any]
    stored: int
    batch_size: int
    resumes: bool
    max_item_bytes: int
    mask: Mask = NO_MASK
    _texts: list[str] = field(default_factory=list)
    _cursor: object = None
    _bytes: int = 0
    _begun: float = 0.0
    _until: float = 0.0
    _growth: float = 1.0
    _ended: bool = False

    def run(self, spec: HandlerSpec, context: StepContext) -> Encoded:
        """From a generator, or a function that returns a list."""
        self._begun = time.monotonic()
        found = call(spec, context, self.args)
        if isinstance(found, (list, tuple)):
            found = iter(found)
        if not isinstance(found, Iterator):
            raise _bad(f"a map's source yields items or returns a list, not {_kind(found)}")
        try:
            self._ended = True
            skip = 0 if self.resumes else self.stored
            for value in found:
                if context.cancelled:
                    raise Interrupted("it was asked to end before the chunk's last item")
                if skip:
                    skip -= 1
                elif not self._take(value):
                    self._ended = False
                    break
        finally:
            if close := getattr(found, "close", None):
                close()
        return self._chunk()

    async def run_async(self, spec: HandlerSpec, context: StepContext) -> Encoded:
        """From an async generator, or a coroutine that returns a list."""
        self._begun = time.monotonic()
        found = call(spec, context, self.args)
        if isawaitable(found):
            found = await found
        if isinstance(found, (list, tuple)):
            found = _each(found)
        if not isinstance(found, AsyncIterator):
            raise _bad(f"a map's source yields items or returns a list, not {_kind(found)}")
        try:
            self._ended = True
            skip = 0 if self.resumes else self.stored
            async for value in found:
                if skip:
                    skip -= 1
                elif not self._take(value):
                    self._ended = False
                    break
        finally:
            if close := getattr(found, "aclose", None):
                await close()
        return self._chunk()

    def _take(self, value: object) -> bool:
        """Keep an item; whether there is room for more."""
        if isinstance(value, Item):
            self._cursor, value = value.cursor, value.value
        elif self.resumes:
            raise _bad(
                f"a source that takes `after` yields Item(value, cursor), not {_kind(value)}"
            )
        try:
            text = self.mask.json(jsonvalue.encode(value, max_bytes=self.max_item_bytes))
        except (jsonvalue.NotJson, jsonvalue.TooBig) as error:
            place = self.stored + len(self._texts)
            raise _bad(f"item {place} cannot be kept: {error}") from None
        self._texts.append(text)
        self._bytes += len(text)
        now = time.monotonic()
        if not self._until:
            skipped_s = 0.0 if self.resumes else now - self._begun
            self._until = now + max(CHUNK_S, skipped_s)
            self._growth = min(max(1.0, skipped_s / CHUNK_S), MOST_GROWTH)
        return (
            len(self._texts) < CHUNK_ITEMS * self._growth
            and self._bytes < CHUNK_BYTES * self._growth
            and now < self._until
        )

    def _chunk(self) -> Encoded:
        """What was read, as `engine_map_read` takes it."""
        try:
            cursor = self.mask.json(jsonvalue.encode(self._cursor))
        except jsonvalue.NotJson as error:
            raise _bad(f"its cursor cannot be kept: {error}") from None
        packs = packs_text(
            make_packs(
                self._texts, batch_size=self.batch_size, array=texts_array, stored=self.stored
            )
        )
        ended = "true" if self._ended else "false"
        return Encoded(
            f'{{"count":{len(self._texts)},"cursor":{cursor},"ended":{ended},"packs":{packs}}}'
        )

    def message(self) -> dict[str, object]:
        """What a helper process needs."""
        fields = ("stored", "batch_size", "resumes", "max_item_bytes")
        return {"args": self.args, "read": {name: getattr(self, name) for name in fields}}


def read_of(message: dict[str, Any], mask: Mask) -> Read:
    """The reading that a message with a `Read.message` in it asks for."""
    return Read(args=message["args"], mask=mask, **message["read"])


async def _each(values: list[object] | tuple[object, ...]) -> AsyncIterator[object]:
    for value in values:
        yield value


def _bad(message: str) -> Fault:
    return Fault("invalid_output", message, retry=False)


def _kind(value: object) -> str:
    return f"a {type(value).__qualname__}"
