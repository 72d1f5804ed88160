"""Pages by key: a list's cursor says after which row the next page begins."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, unquote
from uuid import UUID

from orchestrator.domain.errors import InvalidCursor, Problem

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DEFAULT_LIMIT = 50
LARGEST_LIMIT = 1000
_LONGEST_CURSOR = 500
_LARGEST = 2**62


@dataclass(frozen=True, slots=True)
class Page:
    """Some of a list's rows, and where the next page begins (None: there is none)."""

    items: list[dict[str, object]]
    next_cursor: str | None

    def view(self) -> Mapping[str, object]:
        """The shape of every list of the API."""
        return {"items": self.items, "next_cursor": self.next_cursor}


def seal(kind: str, *parts: str | int) -> str:
    """A cursor of the list `kind`: opaque to clients."""
    text = "|".join((kind, *map(str, parts)))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def unseal(kind: str, cursor: str, count: int) -> list[str]:
    """The `count` parts of a cursor of the list `kind`.  Raises InvalidCursor."""
    if len(cursor) <= _LONGEST_CURSOR and cursor.isascii():
        try:
            padded = cursor.encode() + b"=" * (-len(cursor) % 4)
            text = base64.b64decode(padded, altchars=b"-_", validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise _bad() from None
        found, *parts = text.split("|")
        if found == kind and len(parts) == count and "\0" not in text:
            return parts
    raise _bad()


def _bad() -> InvalidCursor:
    message = "is not a cursor of this list"
    return InvalidCursor(problems=[Problem("/cursor", message, "invalid_cursor")])


def seal_number(kind: str, number: int) -> str:
    """A cursor behind the row with this number."""
    return seal(kind, number)


def unseal_number(kind: str, cursor: str) -> int:
    """The number in a cursor made by `seal_number`.  Raises InvalidCursor."""
    (text,) = unseal(kind, cursor, 1)
    if not text.isascii() or not text.isdigit() or len(text) > 20 or int(text) > _LARGEST:
        raise _bad()
    return int(text)


def page_of(
    kind: str, rows: Mapping[str, dict[str, object]], *, limit: int, cursor: str | None
) -> Page:
    """A page of rows that are all at hand, in the order of their keys.  Raises InvalidCursor."""
    last = None if cursor is None else unquote(unseal(kind, cursor, 1)[0])
    keys = sorted(key for key in rows if last is None or key > last)
    shown = keys[:limit]
    after = seal(kind, quote(shown[-1], safe="")) if len(keys) > limit else None
    return Page([rows[key] for key in shown], after)


def unseal_numbers(kind: str, cursor: str, count: int) -> list[int]:
    """The numbers in a cursor made of so many of them.  Raises InvalidCursor."""
    parts = unseal(kind, cursor, count)
    if any(not part.isascii() or not part.isdigit() or len(part) > 9 for part in parts):
        raise _bad()
    return [int(part) for part in parts]


def unseal_time(kind: str, cursor: str) -> datetime:
    """The moment in a cursor made by `seal_number` of its microseconds since 1970.  Raises
    InvalidCursor."""
    try:
        return EPOCH + timedelta(microseconds=unseal_number(kind, cursor))
    except OverflowError:
        raise _bad() from None


def seal_moment(kind: str, at: datetime, row_id: UUID) -> str:
    """A cursor behind the row made at this moment, with this id."""
    return seal(kind, (at - EPOCH) // timedelta(microseconds=1), row_id.hex)


def unseal_moment(kind: str, cursor: str) -> tuple[datetime, UUID]:
    """The moment and id in a cursor made by `seal_moment`.  Raises InvalidCursor."""
    micros, row_id = unseal(kind, cursor, 2)
    try:
        return EPOCH + timedelta(microseconds=int(micros)), UUID(hex=row_id)
    except (ValueError, OverflowError):
        raise _bad() from None
