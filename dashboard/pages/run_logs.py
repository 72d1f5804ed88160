"""What a run's handlers logged, as the run's page shows it: the newest lines, older ones on demand."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from dashboard.live.page import Context, Query
from orchestrator.domain.errors import StepNotFound
from orchestrator.domain.steplog import EXCEPTION, LEVELS
from orchestrator.domain.times import format_time
from orchestrator.selectors.logs import LogFilters, newest_logs
from orchestrator.selectors.payloads import Payload
from orchestrator.selectors.versions import VersionGraph
from tenants.access import Access

SHOWN = 200
SHOWN_OF_STEP = 20
MOST_CHOICES = 500
"""Steps that can be chosen from a list; of a larger run the step is typed."""
LONGEST_TEXT = 200
MOST_COPIED = 100_000
"""Characters that a button copies; of more there is the file."""
NUMBERS = ("index", "attempt")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the page was asked for; what is no filter is passed over."""

    step: str = ""
    level: str = ""
    text: str = ""
    index: int | None = None
    attempt: int | None = None
    before: int | None = None

    @property
    def filters(self) -> LogFilters:
        """As the selector takes them."""
        return LogFilters(
            step=self.step or None,
            index=self.index,
            attempt=self.attempt,
            level=self.level or None,
            text=self.text or None,
        )

    @property
    def kept(self) -> str:
        """The filters as a query string."""
        given = {
            "step": self.step,
            "index": self.index,
            "attempt": self.attempt,
            "level": self.level,
            "q": self.text,
        }
        return urlencode({name: value for name, value in given.items() if value not in ("", None)})


def asked(query: Query) -> Asked:
    """The filters of a query string."""
    level = query.get("level", "")
    return Asked(
        step=query.get("step", ""),
        level=level if level in LEVELS else "",
        text=query.get("q", "").replace("\0", "")[:LONGEST_TEXT],
        index=_number(query, "index"),
        attempt=_number(query, "attempt"),
        before=_number(query, "before", digits=18),
    )


def _number(query: Query, name: str, *, digits: int = 9) -> int | None:
    text = query.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= digits else None


def logs_context(access: Access, run_id: UUID, graph: VersionGraph, query: Query) -> Context:
    """The newest lines that fit the filters, or older ones."""
    wish = asked(query)
    lines: list[dict[str, Any]] = []
    older = None
    with suppress(StepNotFound):  # no line is of a step that is not there
        lines, older = _lines(access, run_id, wish, SHOWN)
    names = [step.name for step in graph.steps]
    copied = "\n".join(plain(line) for line in lines)
    return {
        "lines": lines,
        "older": older,
        "asked": wish,
        "levels": list(LEVELS),
        "names": names if len(names) <= MOST_CHOICES else [],
        "copied": copied if len(copied) <= MOST_COPIED else "",
    }


def step_lines(access: Access, run_id: UUID, name: str) -> Context:
    """The newest lines of a step, for its panel."""
    lines, older = _lines(access, run_id, Asked(step=name), SHOWN_OF_STEP)
    return {"step_lines": lines, "step_has_older": older is not None}


def _lines(
    access: Access, run_id: UUID, wish: Asked, limit: int
) -> tuple[list[dict[str, Any]], int | None]:
    lines, older = newest_logs(
        tenant=access.tenant, run_id=run_id, filters=wish.filters, limit=limit, before=wish.before
    )
    return [shown(line) for line in lines], older


def shown(line: dict[str, object]) -> dict[str, Any]:
    """A line with its fields decoded, its traceback apart from them."""
    fields = line["fields"]
    known: Any = fields.value if isinstance(fields, Payload) else fields
    rest = {name: value for name, value in known.items() if name != EXCEPTION}
    return {**line, "fields": rest, "trace": known.get(EXCEPTION)}


def plain(line: dict[str, Any]) -> str:
    """A line as text, for files and for copying."""
    place = line["step"] + ("" if line["index"] is None else f"[{line['index']}]")
    about = [f"{name}={value}" for name, value in line["fields"].items()]
    head = [format_time(line["at"]), line["level"].upper(), f"{place}#{line['attempt']}"]
    text = " ".join([*head, line["message"].replace("\n", "\n  "), *about])
    trace = line["trace"]
    return text if not trace else f"{text}\n  " + str(trace).rstrip().replace("\n", "\n  ")
