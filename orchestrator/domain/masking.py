"""Secrets' values hidden in what is kept and told: results, errors, progress, log lines.

A value is found as it stands, inside longer text too, and as JSON, Python, HTML, URLs, base64 and
hexadecimal write it.  Only whole values are found: a part of one, or its reverse, is another text."""

from __future__ import annotations

import base64
import html
import json
import sys
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any, TextIO
from urllib.parse import quote, quote_plus

from orchestrator.domain import jsonvalue
from orchestrator.domain.expressions import ExpressionFailed

MASK = "***"
SHORTEST = 4
"""Characters of the shortest value that can be hidden: shorter ones stand in every text."""
_SHORTEST_LINE = 8
_SHORTEST_BASE64 = 6
_MOST_MASKS = 200


class Mask:
    """Hides some values.  Immutable, and false where there is nothing to hide."""

    __slots__ = ("_in_json", "_plain")

    def __init__(self, values: Iterable[str] = ()) -> None:
        spellings = {one for value in values for one in _spellings(value)}
        self._plain = sorted(spellings, key=len, reverse=True)
        self._in_json = sorted(spellings | {_json(one) for one in spellings}, key=len, reverse=True)

    def __bool__(self) -> bool:
        return bool(self._plain)

    def text(self, text: str) -> str:
        """`text` with `***` in the place of every value."""
        return _replaced(text, self._plain)

    def json(self, text: str) -> str:
        """JSON text with every text, key and number that holds a value hidden."""
        if not any(one in text for one in self._in_json):
            return text
        return jsonvalue.encode(self._value(jsonvalue.stored(text)))

    def shows(self, value: object) -> bool:
        """Whether a JSON value has something in it that is to be hidden."""
        return bool(self._plain) and self._value(value) != value

    def _value(self, value: object) -> object:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(key): self._value(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._value(item) for item in value]
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            text = jsonvalue.encode(value)
            return MASK if self.text(text) != text else value
        return value


NO_MASK = Mask()


def _replaced(text: str, spellings: Iterable[str]) -> str:
    for one in spellings:
        if one in text:
            text = text.replace(one, MASK)
    return text


def _spellings(value: str) -> Iterator[str]:
    """The ways in which a value is written, each at least as telling as the value."""
    lines = [line.strip() for line in value.splitlines()] if "\n" in value else []
    telling = [line for line in lines if len(line) >= _SHORTEST_LINE and not line.startswith("---")]
    for text in (value, value.strip(), *telling):
        if len(text) < SHORTEST:
            continue
        yield text
        yield from (_json(text), _json(_json(text)), json.dumps(text)[1:-1], repr(text)[1:-1])
        yield html.escape(text)
        for escaped in (quote(text, safe=""), quote(text), quote_plus(text)):
            yield from (escaped, _small_escapes(escaped))
        yield from _encoded(text.encode())


def _encoded(raw: bytes) -> Iterator[str]:
    """A value's bytes in base64, wherever they begin in what is encoded, and in hexadecimal."""
    for altchars in (None, b"-_"):
        whole = base64.b64encode(raw, altchars).decode()
        yield from (one for one in (whole, whole.rstrip("=")) if len(one) >= _SHORTEST_BASE64)
        for before in range(3):
            text = base64.b64encode(b"\0" * before + raw, altchars).decode()
            # without the characters that what stands before and behind takes part in
            inner = text[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]
            if len(inner) >= _SHORTEST_BASE64:
                yield inner
    yield from (raw.hex(), raw.hex().upper())


def _json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _small_escapes(text: str) -> str:
    """A URL's text with small hexadecimal digits: %2f."""
    first, *others = text.split("%")
    return "%".join([first, *(other[:2].lower() + other[2:] for other in others)])


class _Values(dict[str, str]):
    """Secrets by name, as expressions see them."""

    def __init__(self, values: Mapping[str, str], unreadable: frozenset[str]) -> None:
        super().__init__(values)
        self._unreadable = unreadable

    def __contains__(self, name: object) -> bool:
        return True  # so that what is missing is asked for, and says why

    def __missing__(self, name: str) -> str:
        if name in self._unreadable:
            reason = "it was sealed under another key (see SECRET_KEY_FALLBACKS)"
            raise ExpressionFailed(f"secrets.{name} cannot be read: {reason}")
        raise ExpressionFailed(f"secrets.{name}: the tenant has no secret {name}")


@dataclass(frozen=True, slots=True)
class Secrets:
    """What a piece of work may know: the values for its expressions, and the mask that hides them."""

    values: Mapping[str, str]
    mask: Mask


class Masks:
    """The masks that a process used last, made once each; the log is hidden behind all of them."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: OrderedDict[frozenset[str], Mask] = OrderedDict()

    def of(self, values: Iterable[str]) -> Mask:
        """The mask that hides these values."""
        wanted = frozenset(values)
        if not wanted:
            return NO_MASK
        with self._lock:
            mask = self._known.get(wanted)
            if mask is None:
                mask = self._known[wanted] = Mask(wanted)
                while len(self._known) > _MOST_MASKS:
                    self._known.popitem(last=False)
            self._known.move_to_end(wanted)
            return mask

    def text(self, text: str) -> str:
        """`text` with every value that this process knows hidden."""
        if not self._known:
            return text
        with self._lock:
            known = list(self._known.values())
        for mask in known:
            text = mask.text(text)
        return text


masks = Masks()
"""This process's."""


def opened(values: Mapping[str, str], unreadable: Iterable[str] = ()) -> Secrets:
    """These secrets; a name that is not among them fails the expression that asks for it."""
    return Secrets(_Values(values, frozenset(unreadable)), masks.of(values.values()))


class MaskedStream:
    """A text stream that is written to without the secrets that this process knows."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write; what one call writes is looked through as a whole."""
        self._stream.write(masks.text(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def mask_output() -> None:
    """Let whatever this process prints be masked, beside its log."""
    sys.stdout = MaskedStream(sys.stdout)
    sys.stderr = MaskedStream(sys.stderr)
