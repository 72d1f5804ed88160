"""Query strings in: every problem with its place, which is the parameter's name."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime
from difflib import get_close_matches
from typing import TypeVar
from uuid import UUID

from django.http import HttpRequest, QueryDict

from orchestrator.domain.errors import InvalidRequest, Problem
from orchestrator.domain.eventtypes import unknown_type
from orchestrator.domain.statuses import RunState
from orchestrator.domain.times import parse_time
from orchestrator.selectors.paging import DEFAULT_LIMIT, LARGEST_LIMIT
from orchestrator.selectors.runs import RunFilters

Word = TypeVar("Word", bound=str)
LONGEST_WAIT_S = 60.0
LONGEST_VALUE = 2000
PAGING = ("limit", "cursor")
RUN_FILTERS = ("workflow", "state", "label", "created_after", "created_before", "q")
LAST_HEADER = "Last-Event-ID"
LAST = "last_event_id"
LARGEST_POSITION = 2**62
MOST_TYPES = 50
TRUE = ("true", "1")
FALSE = ("false", "0")
_ID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Query:
    """Typed values of a query string; `done` raises what was wrong with it."""

    def __init__(self, request: HttpRequest, known: Collection[str]) -> None:
        self._values: QueryDict = request.GET
        self._resumed: str | None = request.headers.get(LAST_HEADER) or None
        self.problems: list[Problem] = []
        for name in self._values:
            if name not in known:
                close = get_close_matches(name, known, n=1)
                guess = f", did you mean {close[0]}?" if close else ""
                self._note(name, f"unknown parameter{guess}", "unknown_key")
            elif any(
                "\0" in value or len(value) > LONGEST_VALUE for value in self._values.getlist(name)
            ):
                self._note(name, "is too long or has U+0000", "out_of_range")

    def _note(self, name: str, message: str, code: str) -> None:
        self.problems.append(Problem(f"/{name}", message, code))

    def done(self) -> None:
        """Raises InvalidRequest with every problem found by now."""
        if self.problems:
            raise InvalidRequest(problems=self.problems)

    def limit(self, default: int = DEFAULT_LIMIT) -> int:
        """`limit`: 1 to 1000."""
        text = self._values.get("limit")
        if text is None:
            return default
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
        if not 1 <= number <= LARGEST_LIMIT:
            self._note("limit", f"must be from 1 to {LARGEST_LIMIT}", "out_of_range")
            return default
        return number

    def text(self, name: str) -> str | None:
        """A text that is not empty."""
        return self._values.get(name) or None

    def texts(self, name: str, limit: int) -> list[str]:
        """Every text that is not empty, each once; `limit` at most."""
        found = list(dict.fromkeys(text for text in self._values.getlist(name) if text))
        if len(found) > limit:
            self._note(name, f"may be given at most {limit} times", "out_of_range")
        return found[:limit]

    def choice(self, name: str, known: tuple[Word, ...], default: Word) -> Word:
        """One of these words; absent is `default`."""
        text = self._values.get(name) or default
        for word in known:
            if word == text:
                return word
        self._note(name, f"must be {' or '.join(known)}", "wrong_enum")
        return default

    def words(self, name: str, known: tuple[Word, ...]) -> list[Word]:
        """Some of these words, with commas between them or given more than once; absent is none."""
        found: list[Word] = []
        for text in self._values.getlist(name):
            for part in filter(None, text.split(",")):
                match = [word for word in known if word == part]
                if not match:
                    close = get_close_matches(part, known, n=1)
                    guess = f", did you mean {close[0]}?" if close else ""
                    self._note(
                        name, f"{part} is not one of {', '.join(known)}{guess}", "wrong_enum"
                    )
                found += match
        return found

    def index(self) -> int | None:
        """`index`: of a map's batch, from 0."""
        return self.number("index")

    def number(self, name: str, least: int = 0) -> int | None:
        """A whole number from `least` on; absent is None."""
        text = self._values.get(name)
        if text is None:
            return None
        if text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= least:
            return int(text)
        self._note(name, f"must be a whole number from {least}", "out_of_range")
        return None

    def resumed_at(self, what: str) -> int | None:
        """Where the client of a stream was, the id of `what`, or 0: the header, which clients send when
        they come back, before `last_event_id`."""
        name = LAST if self._resumed is None else LAST_HEADER
        text = self._values.get(LAST) if self._resumed is None else self._resumed
        if text is None:
            return None
        if text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= LARGEST_POSITION:
            return int(text)
        self._note(name, f"must be the id of {what}, or 0", "out_of_range")
        return None

    def uuid(self, name: str) -> UUID | None:
        """An id."""
        text = self._values.get(name)
        if not text:
            return None
        if _ID.fullmatch(text):
            return UUID(text)
        self._note(name, "must be an id", "wrong_type")
        return None

    def event_types(self) -> tuple[str, ...]:
        """`type`: types of events, or families of them; several with commas or given more than once."""
        types = [one for text in self._values.getlist("type") for one in text.split(",") if one]
        for one in types[: MOST_TYPES + 1]:
            if wrong := unknown_type(one):
                self._note("type", wrong, "wrong_enum")
        if len(types) > MOST_TYPES:
            self._note("type", f"may name {MOST_TYPES} types", "out_of_range")
        return tuple(types)

    def cursor(self) -> str | None:
        """`cursor`, as it was given out; an empty one is refused when it is read."""
        return self._values.get("cursor")

    def flag(self, name: str) -> bool:
        """True or false; absent is false."""
        text = (self._values.get(name) or "false").lower()
        if text not in (*TRUE, *FALSE):
            self._note(name, "must be true or false", "wrong_type")
        return text in TRUE

    def wait(self) -> float:
        """`wait`: seconds to wait for the run's end, cut to 60; absent is 0."""
        text = self._values.get("wait")
        if text is None:
            return 0.0
        try:
            seconds = float(text)
        except ValueError:
            seconds = -1.0
        if not seconds >= 0:
            self._note("wait", "must be a number of seconds from 0", "out_of_range")
            return 0.0
        return min(seconds, LONGEST_WAIT_S)

    def moment(self, name: str) -> datetime | None:
        """An RFC 3339 time."""
        text = self._values.get(name)
        if text is None:
            return None
        try:
            # an unescaped "+" of an offset arrives as a space
            return parse_time(text[:-6] + text[-6:].replace(" ", "+"))
        except ValueError as error:
            self._note(name, str(error), "bad_time")
            return None

    def run_filters(self) -> RunFilters:
        """What narrows a list of runs; `state` and `label` may be given more than once."""
        states = [
            state for text in self._values.getlist("state") for state in text.split(",") if state
        ]
        for state in states:
            if state not in list(RunState):
                close = get_close_matches(state, list(RunState), n=1)
                guess = f", did you mean {close[0]}?" if close else ""
                self._note("state", f"{state} is no state of a run{guess}", "wrong_enum")
        labels: dict[str, str] = {}
        for text in self._values.getlist("label"):
            key, colon, value = text.partition(":")
            if not colon or not key:
                self._note("label", "must be name:value", "bad_label")
            elif labels.setdefault(key, value) != value:
                self._note("label", f"{key} cannot have two values", "bad_label")
        return RunFilters(
            workflow=self.text("workflow"),
            states=states,
            labels=labels,
            created_after=self.moment("created_after"),
            created_before=self.moment("created_before"),
            text=self.text("q"),
        )
