"""A map's source read in chunks: how large they are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.executor import reading
from orchestrator.executor.reading import CHUNK_ITEMS, MOST_GROWTH, Read


class Source:
    """A source whose items take a while, on a clock of its own."""

    takes_context = False

    def __init__(self, item_s: float, length: int) -> None:
        self.item_s = item_s
        self.length = length
        self.now = 0.0
        self.yielded = 0

    def monotonic(self) -> float:
        """The time of this source's world."""
        return self.now

    def function(self) -> Iterator[int]:
        """So many items, from the first."""
        for number in range(self.length):
            self.now += self.item_s
            self.yielded += 1
            yield number

    def chunks(self) -> list[int]:
        """Read to the end, as a map does; the items of each chunk."""
        found: list[int] = []
        spec: Any = self
        context: Any = SimpleNamespace(cancelled=False)
        while True:
            read = Read({}, sum(found), 100, resumes=False, max_item_bytes=100)
            chunk = json.loads(read.run(spec, context).text)
            found.append(chunk["count"])
            if chunk["ended"]:
                assert sum(found) == self.length
                return found


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Reads on the source's clock."""

    def begin(item_s: float, length: int) -> Source:
        source = Source(item_s, length)
        monkeypatch.setattr(reading, "time", source)
        return source

    return begin


def test_a_quick_source_without_cursor_has_chunks_of_one_size(world: Any) -> None:
    assert world(1e-6, 35_000).chunks() == [CHUNK_ITEMS, CHUNK_ITEMS, CHUNK_ITEMS, 5_000]


def test_a_slow_source_without_cursor_is_not_read_again_for_each_second(world: Any) -> None:
    source = world(0.01, 20_000)
    chunks = source.chunks()
    assert chunks[0] == pytest.approx(100, abs=2), "a second's"
    assert len(chunks) < 12, "each lasts as long as all before it"
    assert source.yielded < 3 * source.length


def test_a_chunk_grows_only_so_far(world: Any) -> None:
    chunks = world(0.001, 300_000).chunks()
    assert max(chunks) == CHUNK_ITEMS * MOST_GROWTH
