"""JSON values in and out, exactly, within bounds.

What is accepted is what PostgreSQL's `jsonb` and every client can hold: finite numbers, integers
of at most 4,300 digits, text without U+0000 and without lone surrogates, at most 100 levels deep.

Encoding is on the hot path.  The C encoder does the work; what it would let through is looked for
in its text, or by one flat pass over the containers, and a fault is located only once it is known
that there is one.
"""

import json
import pickle
import re
from collections.abc import Iterator
from hashlib import sha256
from typing import Any, Literal, NoReturn

from orchestrator.domain.errors import pointer

DEEPEST = 100
LONGEST_INTEGER = 4300

_TOO_LONG = 10**LONGEST_INTEGER
_Container = dict[Any, Any] | list[Any] | tuple[Any, ...]
_CONTAINERS = (dict, list, tuple)
_PLAIN = frozenset({str, int, float, bool, type(None)})
_NUL = "\\u0000"
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89abcdefABCDEF]")
_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"', re.DOTALL)

Fault = Literal["malformed", "too_deep", "not_storable"]


class NotJson(ValueError):
    """A Python value that JSON, or the database, cannot hold.  `pointer` says where in it."""

    def __init__(self, reason: str, pointer: str = "") -> None:
        super().__init__(f"{reason} (at {pointer})" if pointer else reason)
        self.reason = reason
        self.pointer = pointer


class TooBig(ValueError):
    """A value whose JSON text is longer than allowed."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"the value is larger than {max_bytes} bytes of JSON")
        self.max_bytes = max_bytes


class BadJson(ValueError):
    """Text that is not JSON (`fault` is `malformed`), or JSON that cannot be kept."""

    def __init__(self, message: str, fault: Fault = "malformed") -> None:
        super().__init__(message)
        self.message = message
        self.fault: Fault = fault


def _refuse_constant(name: str) -> NoReturn:
    raise BadJson(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if number - number != 0:  # infinite; the quickest test of all, and this runs per number
        raise BadJson(f"the number {text[:40]} is too large", "not_storable")
    return number


# A size beyond which nothing is written out, asked or not.
_HUGE = 2**30

_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_SORTED = json.JSONEncoder(
    ensure_ascii=True, allow_nan=False, separators=(",", ":"), sort_keys=True
)
_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)


def encode(value: object, *, max_bytes: int | None = None) -> str:
    """`value` as compact JSON text; lists and tuples are arrays.

    Raises NotJson, which names the place, for what JSON or the database cannot hold, and TooBig
    when the text would have more than `max_bytes` bytes of UTF-8.
    """
    limit = _HUGE if max_bytes is None else max_bytes
    if type(value) not in _PLAIN:
        _check_shape(value, limit)
    try:
        text = _ENCODER.encode(value)
        size = len(text) if text.isascii() else len(text.encode())
    except (ValueError, TypeError) as error:
        _locate(value, str(error))
    if size > limit:
        raise TooBig(limit)
    if _NUL in text and any("\0" in piece for piece in _texts(value)):
        _locate(value, "U+0000 is not allowed")
    return text


def _check_shape(value: object, limit: int) -> None:
    """Refuse too deep a value, keys that are not text, and what would encode to far too much.

    Goes level by level, looking at each container once per level however often it occurs there.
    The running size is a lower bound of the text's length, so that a small value in which one part
    occurs a million times is refused before it is written out.
    """
    level: dict[int, tuple[_Container, int]] = {}
    if isinstance(value, _CONTAINERS):
        level[id(value)] = (value, 1)
    size = 0
    for _ in range(DEEPEST):
        deeper: dict[int, tuple[_Container, int]] = {}
        for container, times in level.values():
            parts = container
            length = len(container)
            if isinstance(container, dict):
                for key in container:
                    if not isinstance(key, str):
                        _locate(value, "keys must be text")
                    length += len(key)
                parts = list(container.values())
            for part in parts:
                kind = type(part)
                if kind is str:
                    length += len(part)
                elif kind not in _PLAIN and isinstance(part, _CONTAINERS):
                    known = deeper.get(id(part))
                    deeper[id(part)] = (part, times if known is None else times + known[1])
            size += length * times
            if size > limit:
                raise TooBig(limit)
        if not deeper:
            return
        level = deeper
    _locate(value, f"nested more than {DEEPEST} levels deep")


def _texts(value: object) -> Iterator[str]:
    """Every piece of text in `value`, keys too, in no particular order."""
    left = [value]
    while left:
        part = left.pop()
        if isinstance(part, str):
            yield part
        elif isinstance(part, dict):
            yield from part
            left.extend(part.values())
        elif isinstance(part, (list, tuple)):
            left.extend(part)


def _locate(value: object, reason: str) -> NoReturn:
    """Raise NotJson for the first fault in `value`, depth first; `reason` if none is found."""
    left: list[tuple[object, tuple[str | int, ...]]] = [(value, ())]
    seen: set[int] = set()
    while left:
        part, place = left.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        fault = _fault(part, len(place))
        if fault is not None:
            raise NotJson(fault, pointer(*place))
        inner: list[tuple[object, tuple[str | int, ...]]] = []
        if isinstance(part, dict):
            inner = [(item, (*place, key)) for key, item in part.items()]
        elif isinstance(part, (list, tuple)):
            inner = [(item, (*place, index)) for index, item in enumerate(part)]
        left.extend(reversed(inner))
    raise NotJson(reason)


def _fault(part: object, depth: int) -> str | None:
    """What is wrong with `part` itself, at `depth` containers down."""
    match part:
        case None | bool():
            return None
        case str():
            return _text_fault(part)
        case int():
            too_long = not -_TOO_LONG < part < _TOO_LONG
            return f"an integer of more than {LONGEST_INTEGER} digits" if too_long else None
        case float():
            return None if abs(part) < float("inf") else f"{part} is not a JSON number"
        case dict() | list() | tuple() if depth >= DEEPEST:
            return f"nested more than {DEEPEST} levels deep"
        case dict():
            for key in part:
                if not isinstance(key, str):
                    return f"the key {key!r:.80} is not text"
                if (fault := _text_fault(key)) is not None:
                    return fault
            return None
        case list() | tuple():
            return None
    return f"a {type(part).__qualname__} is not a JSON value"


def _text_fault(text: str) -> str | None:
    if "\0" in text:
        return "text with U+0000 is not allowed"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "text with a lone surrogate is not allowed"
    return None


def decode(text: str | bytes, *, deepest: int = DEEPEST) -> object:
    """The value that JSON `text` (bytes: UTF-8) says; integers keep every digit.

    Raises BadJson: `malformed` for what is not JSON, `too_deep` beyond so many levels, `not_storable`
    for U+0000, lone surrogates, integers of more than 4,300 digits and numbers beyond a float.
    """
    if isinstance(text, bytes):
        try:
            text = text.decode()
        except UnicodeDecodeError as error:
            raise BadJson(f"not UTF-8 at byte {error.start}") from None
    elif not text.isascii() and (fault := _text_fault(text)) is not None:
        raise BadJson(fault)
    if text.count("[") + text.count("{") > deepest and _depth(text) > deepest:
        raise BadJson(f"nested more than {deepest} levels deep", "too_deep")
    try:
        value: object = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        message = f"{error.msg} at line {error.lineno}, column {error.colno}"
        raise BadJson(message) from None
    except BadJson:
        raise
    except ValueError:
        message = f"an integer has more than {LONGEST_INTEGER} digits"
        raise BadJson(message, "not_storable") from None
    if _NUL in text or _ESCAPED_SURROGATE.search(text):
        for piece in _texts(value):
            if (fault := _text_fault(piece)) is not None:
                raise BadJson(fault, "not_storable")
    return value


def stored(text: str) -> object:
    """The value of what the engine keeps: outputs may stand in others' (a map's in a list, leaves' in an
    object, and that along up to 20 runs), each of which is a level more than they were let in with."""
    return decode(text, deepest=2 * DEEPEST)


def _depth(text: str) -> int:
    """How deep the brackets of `text` nest outside of strings, without recursion."""
    deepest = depth = 0
    for character in re.findall(r"[\[\]{}]", _STRING.sub("", text)):
        if character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        else:
            depth -= 1
    return deepest


def copied(value: object) -> object:
    """A JSON value again, with lists and objects of its own.

    Three times as quick as through text; and what occurs in it several times stays one, so that no
    copy is larger than what it is made of."""
    return pickle.loads(pickle.dumps(value, pickle.HIGHEST_PROTOCOL))  # noqa: S301  (made right here)


def same(a: object, b: object) -> bool:
    """Whether two JSON values are equal: numbers by value (1 is 1.0), true is not 1."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(item, b[key]) for key, item in a.items())
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def fingerprint(value: object) -> str:
    """SHA-256 (hex) over a canonical form: equal for values that are the `same`, else different."""
    return sha256(_SORTED.encode(_canonical(value)).encode()).hexdigest()


def _canonical(value: object) -> object:
    """`value` with whole floats as integers, so that equal numbers have one text."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(item) for item in value]
    return value
