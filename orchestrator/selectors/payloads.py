"""JSON out.  Stored payloads are JSON text already: they are spliced in, never decoded and encoded."""

from __future__ import annotations

import json
import re
from datetime import datetime
from uuid import UUID

from orchestrator.domain import jsonvalue
from orchestrator.domain.times import format_time


class Payload:
    """A stored JSON text.  `text` is it, `value` what it says."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return f"Payload({self.text[:60]!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Payload) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    @property
    def value(self) -> object:
        """The decoded value; integers keep every digit."""
        return jsonvalue.decode(self.text)


def payload(text: str | None) -> Payload | None:
    """A column's text as a payload; null stays null."""
    return None if text is None else Payload(text)


# No text that we keep holds U+0000, so a string that begins with it is a mark of ours.  In encoded
# JSON a user's backslash is always doubled, so `"\u0000…` cannot come from anything else.
_MARK = re.compile(r'"\\u0000([0-9]+)"')


class _Encoder(json.JSONEncoder):
    """Knows moments and ids; leaves a mark for each payload."""

    def __init__(self) -> None:
        super().__init__(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        self.pieces: list[str] = []

    def default(self, o: object) -> object:
        if isinstance(o, datetime):
            return format_time(o)
        if isinstance(o, Payload):
            self.pieces.append(o.text)
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
    return _MARK.sub(lambda found: encoder.pieces[int(found[1])], text)
