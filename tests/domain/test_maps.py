"""How items become batches and packs: by properties, against the plain way to say it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.maps import (
    PACK_BATCHES,
    PACK_CHARS,
    Pack,
    batch_items,
    make_packs,
    packs_text,
    texts_array,
    whole_batches,
)

ITEMS = st.lists(
    st.text(max_size=5) | st.integers() | st.none() | st.lists(st.booleans()), max_size=60
)
SIZES = st.integers(1, 20)


def packed(items: Sequence[object], batch_size: int, stored: int = 0) -> list[Pack]:
    """The packs of these items."""
    texts = [json.dumps(item) for item in items]
    return list(make_packs(texts, batch_size=batch_size, array=texts_array, stored=stored))


def opened(packs: list[Pack]) -> dict[int, list[object]]:
    """The batches of packs as the engine keeps them: a first batch that is there already goes on."""
    found: dict[int, list[object]] = {}
    for pack in packs:
        batches = json.loads(pack.text)
        assert len(batches) == pack.count >= 1
        for nr, items in enumerate(batches):
            if pack.first + nr in found:
                assert pack.count == 1, "what completes a batch stands alone"
            found.setdefault(pack.first + nr, []).extend(items)
    return found


@given(ITEMS, SIZES)
def test_packs_hold_every_item_once_in_order(items: list[object], batch_size: int) -> None:
    found = opened(packed(items, batch_size))
    assert list(found) == list(range(1, whole_batches(len(items), batch_size, ended=True) + 1))
    assert [item for batch in found.values() for item in batch] == items
    for batch, held in found.items():
        assert len(held) == batch_items(batch, len(items), batch_size)


@given(st.lists(ITEMS, max_size=6), SIZES)
def test_chunks_make_the_same_batches_as_the_whole(
    chunks: list[list[object]], batch_size: int
) -> None:
    stored = 0
    packs: list[Pack] = []
    for chunk in chunks:
        packs += packed(chunk, batch_size, stored)
        stored += len(chunk)
    everything = [item for chunk in chunks for item in chunk]
    assert opened(packs) == opened(packed(everything, batch_size))


@given(st.lists(ITEMS, min_size=1, max_size=6), SIZES)
def test_an_incomplete_batch_stands_alone(chunks: list[list[object]], batch_size: int) -> None:
    stored = 0
    for chunk in chunks:
        for pack in packed(chunk, batch_size, stored):
            sizes = [len(batch) for batch in json.loads(pack.text)]
            assert pack.count == 1 or set(sizes) == {batch_size}
        stored += len(chunk)


@given(st.integers(0, 10_000), st.integers(1, 300))
def test_whole_batches_and_their_items_add_up(total: int, batch_size: int) -> None:
    ended = whole_batches(total, batch_size, ended=True)
    assert sum(batch_items(batch, total, batch_size) for batch in range(1, ended + 1)) == total
    assert whole_batches(total, batch_size, ended=False) * batch_size <= total
    assert ended - whole_batches(total, batch_size, ended=False) == (total % batch_size > 0)


def test_packs_are_bounded() -> None:
    packs = packed([1] * 3 * PACK_BATCHES, 1)
    assert [pack.count for pack in packs] == [PACK_BATCHES] * 3
    wide = packed(["x" * (PACK_CHARS // 2)] * 4, 1)
    assert [pack.count for pack in wide] == [1, 1, 1, 1]
    assert json.loads(packs_text(iter(packed([1, 2, 3], 2)))) == [[1, 1, [[1, 2]]], [2, 1, [[3]]]]
