"""What processes log: one line a message, for a person or as JSON, with whose work it was.

Everything goes through Python's logging: our own modules, Django, Celery, uvicorn, libraries.  What a
line is about comes from the context in which it is logged: a request, or a step."""

from __future__ import annotations

import json
import logging
import re
import traceback
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID

from structlog.contextvars import merge_contextvars
from structlog.stdlib import ExtraAdder, ProcessorFormatter
from structlog.typing import EventDict

from orchestrator.domain.masking import masks
from orchestrator.domain.times import format_time

LINE_ENDS = {
    code: repr(chr(code))[1:-1]
    for code in (*range(0x09), *range(0x0A, 0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)
}
"""What could begin a line of its own, or move the cursor of who reads it."""
_SECRET = re.compile(r"""(/t/[a-z0-9-]+)?(/invitations/|/login/forgotten/)[^\s"'<>]+""")
"""Addresses that are secrets themselves; those of a tenant's own pages are none."""
_PLAIN = re.compile(r"[^\s\"'=\\]+")
_INDENT = "  | "


@dataclass(slots=True)
class Request:
    """What is known of a request by now; whoever learns more writes it down."""

    id: str
    tenant: str | None = None
    key: str | None = None
    """The prefix of its API key."""
    user: str | None = None
    route: str | None = None
    traceparent: str | None = None
    """What the client sent, where it is one."""

    def facts(self) -> dict[str, object]:
        """What lines say of it."""
        known = {"request": self.id, "tenant": self.tenant, "key": self.key, "user": self.user}
        return {name: value for name, value in known.items() if value is not None}


class Step(Protocol):
    """What lines say of a step."""

    @property
    def tenant(self) -> str: ...
    @property
    def run_id(self) -> UUID: ...
    @property
    def step(self) -> str: ...
    @property
    def index(self) -> int | None: ...
    @property
    def attempt(self) -> int: ...


request: ContextVar[Request | None] = ContextVar("request", default=None)
"""The request that is being answered."""
step: ContextVar[Step | None] = ContextVar("step", default=None)
"""The step that is being run."""
process: dict[str, object] = {}
"""What every line of this process says: its worker's name."""


def about() -> dict[str, object]:
    """Whose work is being done here."""
    found = dict(process)
    if (asked := request.get()) is not None:
        found |= asked.facts()
    if (running := step.get()) is not None:
        found |= {
            "tenant": running.tenant,
            "run": str(running.run_id),
            "step": running.step,
            "attempt": running.attempt,
        }
        if running.index is not None:
            found["index"] = running.index
    return found


def _add_about(_: object, __: str, line: EventDict) -> EventDict:
    return {**about(), **line}


def _add_record(_: object, __: str, line: EventDict) -> EventDict:
    """When, how grave, and who says it."""
    record: logging.LogRecord = line["_record"]
    head = {
        "at": format_time(datetime.fromtimestamp(record.created, UTC)),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": line.pop("event"),
    }
    return {**head, **{f"{name}_" if name in head else name: line[name] for name in line}}


def _add_traceback(_: object, __: str, line: EventDict) -> EventDict:
    error = line.pop("exc_info", None)
    stack = line.pop("stack_info", None)
    told = (
        "".join(traceback.format_exception(*error)) if isinstance(error, tuple) and error[0] else ""
    )
    told += f"{stack}\n" if stack else ""
    return {**line, "exception": told.rstrip()} if told else line


def _as_json(_: object, __: str, line: EventDict) -> str:
    return json.dumps(line, ensure_ascii=False, default=str)


def _as_text(_: object, __: str, line: EventDict) -> str:
    """One line; a traceback follows, indented, so that nothing in it looks like a line of the log."""
    told = line.pop("exception", "")
    at, level, name, message = (str(line.pop(key)) for key in ("at", "level", "logger", "message"))
    facts = "".join(f" {name}={_word(value)}" for name, value in line.items())
    text = f"{at} {level.upper()} {_escaped(name)}: {_escaped(message)}{facts}"
    if told:
        text += "".join(f"\n{_INDENT}{_escaped(part)}" for part in told.split("\n"))
    return text


def _word(value: object) -> str:
    """A value without spaces, or in quotes."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, str) and not _PLAIN.fullmatch(text):
        text = json.dumps(text, ensure_ascii=False)
    return _escaped(text)


def _escaped(text: str) -> str:
    return text if text.isprintable() else text.translate(LINE_ENDS)


def without_secret_addresses(text: str) -> str:
    """A path, or whatever tells of paths, with only the beginning of those that open something."""
    return _SECRET.sub(lambda found: found[0] if found[1] else f"{found[2]}…", text)


class Formatter(ProcessorFormatter):
    """A line of any logger, without the secrets that this process knows, and without addresses that are
    some: Django and libraries log paths as they are."""

    def __init__(self, *, form: str) -> None:
        super().__init__(
            foreign_pre_chain=[ExtraAdder(), merge_contextvars, _add_about],
            processors=[
                _add_record,
                self.remove_processors_meta,
                _add_traceback,
                _as_json if form == "json" else _as_text,
            ],
        )

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return without_secret_addresses(masks.text(super().format(record)))


def is_news(record: logging.LogRecord) -> bool:
    """Whether a line of Django about a refused request tells anything: that something is down is what
    /health is asked for, again and again, and its 503 is the answer."""
    path = getattr(getattr(record, "request", None), "path", "")
    return getattr(record, "status_code", 0) != 503 or not path.startswith("/health")


def configuration(*, form: str, level: str) -> dict[str, Any]:
    """Django's LOGGING: all loggers to the standard error, in this form."""
    quiet = {"level": "WARNING"}
    passed_on: dict[str, Any] = {"handlers": [], "propagate": True}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": "orchestrator.logs.Formatter", "form": form}},
        "filters": {"news": {"()": lambda: is_news}},
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["console"], "level": level},
        "loggers": {
            "django": passed_on,
            "django.server": passed_on,
            "django.request": {"level": "ERROR", "filters": ["news"]},
            "uvicorn": passed_on,
            "uvicorn.error": passed_on,
            "uvicorn.access": {**passed_on, **quiet},  # `access` says more
            "axes": quiet,
            "botocore": quiet,
            "httpx": quiet,
        },
    }
