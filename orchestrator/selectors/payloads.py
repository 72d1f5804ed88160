"""JSON out.  Stored payloads are JSON text already: they are spliced in, never decoded and encoded."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from orchestrator import store
from orchestrator.domain import jsonvalue
from orchestrator.domain.errors import PayloadUnavailable
from orchestrator.domain.times import format_time
from orchestrator.store import payloads

PAGE_BYTES = 16 * 1024 * 1024
"""What the payloads of a page's rows come to at most, unless one row alone is larger."""


class Payload:
    """A stored JSON text.  `text` is it, `value` what it says; a large one is fetched when asked for."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return f"Payload({self._text[:60]!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Payload) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    @property
    def text(self) -> str:
        """The whole text.  Raises PayloadUnavailable."""
        if payloads.MARK in self._text:
            fetch([self])
        return self._text

    @property
    def value(self) -> object:
        """The decoded value; integers keep every digit."""
        return jsonvalue.stored(self.text)


def payload(text: str | None) -> Payload | None:
    """A column's text as a payload; null stays null."""
    return None if text is None else Payload(text)


def fetch(found: Sequence[Payload]) -> None:
    """Fetch the large ones of these that are not there yet, together.  Raises PayloadUnavailable."""
    large = [one for one in found if payloads.MARK in one._text]
    if large:
        try:
            texts = payloads.resolve(store.connection(), [one._text for one in large])
        except payloads.PayloadUnreadable as error:
            raise PayloadUnavailable(reason=str(error)) from error
        for one, text in zip(large, texts, strict=True):
            assert text is not None
            one._text = text


def fitting(rows: Sequence[Sequence[str | None]]) -> int:
    """How many of these rows, of payloads each, a page holds: the first ones up to PAGE_BYTES, and
    always one."""
    flat = [text for row in rows for text in row]
    sizes = iter(payloads.sizes(store.connection(), flat))
    total = 0
    for nr, row in enumerate(rows):
        total += sum(next(sizes) for _ in row)
        if total > PAGE_BYTES and nr:
            return nr
    return len(rows)


# No text that we keep holds U+0000, so a string that begins with it is a mark of ours.  In encoded
# JSON a user's backslash is always doubled, so `"\u0000…` cannot come from anything else.
_MARK = re.compile(r'"\\u0000([0-9]+)"')


class _Encoder(json.JSONEncoder):
    """Knows moments and ids; leaves a mark for each payload."""

    def __init__(self) -> None:
        super().__init__(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        self.pieces: list[Payload] = []

    def default(self, o: object) -> object:
        if isinstance(o, datetime):
            return format_time(o)
        if isinstance(o, Payload):
            self.pieces.append(o)
            return f"\0{len(self.pieces) - 1}"
        if isinstance(o, UUID):
            return str(o)
        return super().default(o)


def render(value: object) -> str:
    """`value` as compact JSON text: moments in RFC 3339, ids as text, payloads as they are stored."""
    encoder = _Encoder()
    text = encoder.encode(value)
    if not encoder.pieces:
        return text
    fetch(encoder.pieces)
    return _MARK.sub(lambda found: encoder.pieces[int(found[1])].text, text)
