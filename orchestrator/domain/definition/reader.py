"""Reading a document key by key, noting every problem with its place and going on."""

import re
from collections.abc import Collection, Iterable, Mapping
from datetime import timedelta
from difflib import get_close_matches
from enum import StrEnum
from typing import TypeVar

from orchestrator.domain.durations import parse_duration
from orchestrator.domain.errors import Problem, pointer
from orchestrator.domain.expressions import BadExpression, Template, compile_template

Raw = Mapping[str, object]
Word = TypeVar("Word", bound=StrEnum)

# Comparing words is slow: a document full of mistakes gets suggestions for the first of them only.
_MOST_COMPARISONS = 20_000
_LONGEST_SHOWN = 80

NOTHING = compile_template({}, allow=frozenset())


class Reader:
    """Typed values out of decoded JSON.

    What is absent or wrong reads as the default; what is wrong is added to `problems`.  A `place`
    is the JSON Pointer of the object that is read from.
    """

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._comparisons = _MOST_COMPARISONS

    def note(self, place: str, message: str, code: str) -> None:
        """Add a problem."""
        self.problems.append(Problem(place, message, code))

    def suggestion(self, word: str, words: Collection[str]) -> str:
        """`, did you mean …?` when one of `words` is close to `word`."""
        self._comparisons -= len(words)
        if self._comparisons < 0:
            return ""
        close = get_close_matches(word, words, n=1)
        return f", did you mean {close[0]}?" if close else ""

    def mapping(self, value: object, place: str, known: Collection[str]) -> Raw | None:
        """`value` if it is an object; keys other than `known` are noted."""
        if not isinstance(value, dict):
            self.note(place, "must be an object", "wrong_type")
            return None
        for key in value:
            if key not in known:
                message = f"unknown key {shown(key)}{self.suggestion(key, known)}"
                self.note(place + pointer(key), message, "unknown_key")
        return value

    def required(self, raw: Raw, place: str, keys: Iterable[str]) -> None:
        """Note each of `keys` that `raw` lacks."""
        for key in keys:
            if key not in raw:
                self.note(place, f"{key} is missing", "missing")

    def text(self, raw: Raw, place: str, key: str, *, longest: int, default: str = "") -> str:
        """Text of at most `longest` characters."""
        value = raw.get(key, default)
        if not isinstance(value, str):
            self.note(f"{place}/{key}", "must be text", "wrong_type")
        elif len(value) > longest:
            self.note(f"{place}/{key}", f"has more than {longest} characters", "out_of_range")
        else:
            return value
        return default

    def name(self, raw: Raw, place: str, key: str, pattern: re.Pattern[str]) -> str | None:
        """Text that `pattern` matches in full; None if absent or wrong."""
        if key not in raw:
            return None
        value = raw[key]
        if not isinstance(value, str):
            self.note(f"{place}/{key}", "must be text", "wrong_type")
        elif not pattern.fullmatch(value):
            message = f"{shown(value)} does not match ^{pattern.pattern}$"
            self.note(f"{place}/{key}", message, "bad_name")
        else:
            return value
        return None

    def names(
        self, raw: Raw, place: str, key: str, pattern: re.Pattern[str] | None = None
    ) -> tuple[str, ...]:
        """A list of texts, which `pattern` matches in full; wrong ones are left out."""
        value = raw.get(key, [])
        if not isinstance(value, list):
            self.note(f"{place}/{key}", "must be a list of names", "wrong_type")
            return ()
        found: list[str] = []
        for index, item in enumerate(value):
            if not isinstance(item, str):
                self.note(f"{place}/{key}/{index}", "must be text", "wrong_type")
            elif pattern is not None and not pattern.fullmatch(item):
                self.note(f"{place}/{key}/{index}", f"{shown(item)} is not a name", "bad_name")
            else:
                found.append(item)
        return tuple(found)

    def flag(self, raw: Raw, place: str, key: str, *, default: bool) -> bool:
        """True or false."""
        value = raw.get(key, default)
        if isinstance(value, bool):
            return value
        self.note(f"{place}/{key}", "must be true or false", "wrong_type")
        return default

    def integer(
        self, raw: Raw, place: str, key: str, default: int, *, least: int, most: int
    ) -> int:
        """A whole number from `least` to `most`."""
        value = raw.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool):
            self.note(f"{place}/{key}", "must be a whole number", "wrong_type")
        elif not least <= value <= most:
            self.note(f"{place}/{key}", f"must be from {least} to {most}", "out_of_range")
        else:
            return value
        return default

    def number(
        self, raw: Raw, place: str, key: str, default: float, *, least: float, most: float
    ) -> float:
        """A number from `least` to `most`."""
        value = raw.get(key, default)
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            self.note(f"{place}/{key}", "must be a number", "wrong_type")
        elif not least <= value <= most:
            self.note(f"{place}/{key}", f"must be from {least:g} to {most:g}", "out_of_range")
        else:
            return float(value)
        return default

    def duration(
        self, raw: Raw, place: str, key: str, default: timedelta, *, zero: bool = False
    ) -> timedelta:
        """A duration; `zero` says whether it may be nothing."""
        if key not in raw:
            return default
        try:
            return parse_duration(raw[key], zero=zero)
        except ValueError as error:
            self.note(f"{place}/{key}", str(error), "bad_duration")
            return default

    def word(self, raw: Raw, place: str, key: str, default: Word) -> Word:
        """One of the words of `default`'s enumeration."""
        value = raw.get(key, default)
        words = tuple(type(default))
        if value in words:
            return words[words.index(value)]
        self.wrong_word(f"{place}/{key}", value, words)
        return default

    def wrong_word(self, place: str, value: object, words: Collection[str]) -> None:
        """Note that `value` is none of `words`."""
        guess = self.suggestion(value, words) if isinstance(value, str) else ""
        message = f"{shown(value)} is not one of {', '.join(words)}{guess}"
        self.note(place, message, "wrong_enum")

    def template(self, value: object, place: str, allow: frozenset[str]) -> Template:
        """`value` with its expressions compiled."""
        try:
            return compile_template(value, allow=allow)
        except BadExpression as first:
            for fault in first.all:
                self.note(place + fault.pointer, fault.message, "bad_expression")
            return NOTHING

    def expression(self, raw: Raw, place: str, key: str, allow: frozenset[str]) -> Template:
        """Text that is one expression; a key that is absent is not noted here."""
        value = raw.get(key)
        template = self.template(value, f"{place}/{key}", allow)
        if key in raw and template is not NOTHING and not template.is_expression:
            self.note(f"{place}/{key}", "must be one ${{ … }} expression", "bad_expression")
        return template

    def arguments(self, raw: Raw, place: str, allow: frozenset[str]) -> Template:
        """`args`: an object whose values may hold expressions."""
        if "args" not in raw:
            return NOTHING
        if not isinstance(raw["args"], dict):
            self.note(f"{place}/args", "must be an object of arguments", "wrong_type")
            return NOTHING
        return self.template(raw["args"], f"{place}/args", allow)


def shown(value: object) -> str:
    """`value` for a message, shortened."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
