"""Maps, as plain data: how items become batches, and batches the packs in which they are stored.

Batch b (from 1) holds the items from (b - 1) * batch_size on; only the last one may be smaller.
The engine's statements reckon with the same: `engine_map_go` with `whole_batches`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")

SOURCE = -3
"""The `batch` of the step run that reads a streamed map's source."""
PACK_BATCHES = 256
PACK_CHARS = 16_000
"""A pack is read again for each start of some of its batches: small ones keep that cheap."""


@dataclass(frozen=True, slots=True)
class Pack:
    """Some batches from `first` on.  `text` is a JSON array of `count` arrays of items."""

    first: int
    count: int
    text: str


def whole_batches(total: int, batch_size: int, *, ended: bool) -> int:
    """How many batches may start once `total` items are known; the smaller last one when the source
    has `ended`, for until then it may grow."""
    return -(-total // batch_size) if ended else total // batch_size


def batch_items(batch: int, total: int, batch_size: int) -> int:
    """How many items batch number `batch` holds."""
    return min(batch_size, total - (batch - 1) * batch_size)


def make_packs(
    items: Sequence[Item],
    *,
    batch_size: int,
    array: Callable[[Sequence[Item]], str],
    stored: int = 0,
) -> Iterator[Pack]:
    """The packs of `items`, before which `stored` came; `array` makes JSON text of a batch of them.

    An incomplete batch stands alone in its pack, so that what follows can be appended to it: a batch
    that the items before left incomplete, whose pack then holds what completes it, and the last."""
    tail = stored % batch_size
    batch = stored // batch_size + 1
    start = batch_size - tail if tail else 0
    if tail and items:
        yield Pack(batch, 1, texts_array([array(items[:start])]))
        batch += 1
    held: list[str] = []
    chars = 0
    for at in range(start, len(items), batch_size):
        text = array(items[at : at + batch_size])
        full = at + batch_size <= len(items)
        if held and (len(held) == PACK_BATCHES or chars + len(text) > PACK_CHARS or not full):
            yield Pack(batch, len(held), texts_array(held))
            batch += len(held)
            held, chars = [], 0
        held.append(text)
        chars += len(text)
    if held:
        yield Pack(batch, len(held), texts_array(held))


def packs_text(packs: Iterator[Pack]) -> str:
    """Packs as the engine takes them: `[[first, count, [[item, …], …]], …]`."""
    return texts_array([f"[{pack.first},{pack.count},{pack.text}]" for pack in packs])


def texts_array(texts: Sequence[str]) -> str:
    """A JSON array of values that are JSON text already."""
    return f"[{','.join(texts)}]"
