"""The handlers' API: what users import to write the functions that steps call.

    from orchestrator.handlers import Abort, Retry, StepContext, handler

    @handler("billing.charge", queue="io", timeout="30s")
    async def charge(ctx: StepContext, *, invoice_id: str, amount: int) -> dict: ...

A JSON value is success.  `Abort` fails without retry, `Retry` retries, `Snooze` waits without using
an attempt, `Skip` skips; any other exception follows the step's retry policy."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import logging
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, TypeVar
from uuid import UUID

from django.apps import apps

from orchestrator.conf import conf
from orchestrator.domain import jsonvalue
from orchestrator.domain.definition import HandlerInfo
from orchestrator.domain.durations import parse_duration

Kind = Literal["async", "blocking", "cpu"]
Function = TypeVar("Function", bound=Callable[..., Any])
LARGEST_PROGRESS = 64 * 1024
"""Bytes of JSON that a progress may have."""
_KEEP: Any = object()
"""No progress given: the one before stays."""


class Directive(Exception):
    """What a handler may raise or return to say what becomes of its attempt."""


class Abort(Directive):
    """Fail now, without retry."""


class Retry(Directive):
    """Try again, after so long (default: the policy's backoff); uses an attempt."""

    def __init__(self, message: str = "", *, after: str | float | timedelta | None = None) -> None:
        super().__init__(message or "the handler asked for a retry")
        self.after = None if after is None else parse_duration(after, zero=True)


class Snooze(Directive):
    """Wait so long and run again; uses no attempt."""

    def __init__(self, for_: str | float | timedelta) -> None:
        super().__init__(f"snoozed for {for_}")
        self.for_ = parse_duration(for_, zero=True)


class Skip(Directive):
    """End the step as skipped, with the reason kept."""

    def __init__(self, reason: str = "skipped by its handler") -> None:
        super().__init__(reason)
        self.reason = reason


class Continue(Directive):
    """Go on with this value instead of the failure (from `compensate`); elsewhere: the step's output."""

    def __init__(self, value: object = None) -> None:
        super().__init__("go on with a value")
        self.value = value


@dataclass(frozen=True, slots=True)
class Item:
    """What a streamed map's source yields when it takes `after`: an item, and where to go on.

    `cursor` is any JSON value; the source gets the last one that was kept as `after`."""

    value: object
    cursor: object = None


class Stop:
    """Whether a step was asked to end; set once, from another thread."""

    __slots__ = ("asked",)

    def __init__(self) -> None:
        self.asked = False


class Pulse:
    """A step's signs of life: when the last one came, what progress it told, and how many there were.

    Beaten by the handler's thread, read by another, which `notify` tells; `count` is written last, so
    that a reader who has seen it has seen what came with it."""

    __slots__ = ("at", "count", "notify", "text")

    def __init__(self, notify: Callable[[], None] | None = None) -> None:
        self.notify = notify
        self.at = time.monotonic()
        self.text: str | None = None
        self.count = 0

    def beat(self, text: str | None) -> None:
        """A sign of life, with a progress (JSON text) or None: as it was."""
        if text is not None:
            self.text = text
        self.at = time.monotonic()
        self.count += 1
        if self.notify is not None:
            self.notify()


class Beat:
    """What `heartbeat` answers: true while the step should go on.  An async handler may await it."""

    __slots__ = ("_goes_on",)

    def __init__(self, goes_on: bool) -> None:
        self._goes_on = goes_on

    def __bool__(self) -> bool:
        return self._goes_on

    def __await__(self) -> Generator[None, None, bool]:
        yield  # others get their turn, and a cancelled coroutine its CancelledError
        return self._goes_on


@dataclass(frozen=True, slots=True)
class StepContext:
    """What a handler knows of the step it runs."""

    tenant: str
    """The tenant's slug."""
    run_id: UUID
    step: str
    index: int | None
    """Of a map: the batch, from 0."""
    attempt: int
    """Counts from 1."""
    labels: dict[str, str]
    uncertain: bool = False
    """In an undo: whether it is unknown how far the step came (it was cut off, or its process died)."""
    _part: str = ""
    """What is called of the step besides its handler: `undo`, `compensate:<attempt>`."""
    progress: Any = None
    """What the attempt before told `heartbeat` last; None: nothing."""
    item_index: int | None = None
    """Of a map's handler that is called once per item: the item, from 0."""
    _stop: Stop = field(default_factory=Stop, repr=False)
    _pulse: Pulse = field(default_factory=Pulse, repr=False)

    @property
    def idempotency_key(self) -> str:
        """The same for all attempts of a step run: give it to services that deduplicate.

        A step's undo has its own, and so has its compensation after each attempt.  Of a map: the
        same for all attempts of an item, or, where the handler takes a list, of a batch."""
        index = self.index if self.item_index is None else self.item_index
        return (
            f"{self.run_id}:{self.step}"
            + ("" if index is None else f":{index}")
            + (f":{self._part}" if self._part else "")
        )

    @property
    def cancelled(self) -> bool:
        """Whether the step should end soon: cancelled, timed out, or its worker is stopping."""
        return self._stop.asked

    def heartbeat(self, progress: object = _KEEP) -> Beat:
        """Say that the step is alive, and what it has done so far (any JSON value of up to 64 KiB).

        The next attempt finds the progress in `ctx.progress`, after a killed process too.  True while
        the step should go on, false once it should end (`cancelled`); an async handler may await it.
        May be called as often as wanted: what is written goes together, a few times a second.
        Raises ValueError for what is no JSON or too large."""
        text = None
        if progress is not _KEEP:
            try:
                text = jsonvalue.encode(progress, max_bytes=LARGEST_PROGRESS)
            except ValueError as error:
                raise ValueError(f"heartbeat: the progress cannot be kept: {error}") from None
        self._pulse.beat(text)
        return Beat(not self._stop.asked)

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger that names the run, step and attempt."""
        facts = {"tenant": self.tenant, "run": str(self.run_id), "step": self.step}
        return _StepLog(logging.getLogger(f"step.{self.step}"), {**facts, "attempt": self.attempt})


class _StepLog(logging.LoggerAdapter[logging.Logger]):
    """Puts the step's facts behind the message, where the plain log has no other place."""

    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
        facts = " ".join(f"{key}={value}" for key, value in (self.extra or {}).items())
        kwargs["extra"] = {**(self.extra or {}), **kwargs.get("extra", {})}
        return f"{msg} [{facts}]", kwargs


@dataclass(frozen=True, slots=True)
class HandlerSpec:
    """A registered handler.  `parameters` are the names it takes besides the context."""

    name: str
    function: Callable[..., Any]
    kind: Kind
    queue: str | None
    timeout: timedelta | None
    batch: bool
    parameters: tuple[str, ...]
    required: tuple[str, ...]
    accepts_any: bool
    takes_context: bool

    def info(self) -> HandlerInfo:
        """What the domain needs to know of it."""
        return HandlerInfo(
            name=self.name,
            queue=self.queue,
            timeout=self.timeout,
            parameters=self.parameters,
            required=self.required,
            accepts_any=self.accepts_any,
            batch=self.batch,
            kind=self.kind,
        )

    def misfit(self, args: dict[str, object]) -> str | None:
        """What is wrong with these arguments, in words; None: they fit."""
        missing = [name for name in self.required if name not in args]
        if missing:
            return f"{self.name} needs the argument{'s' * (len(missing) > 1)} {', '.join(missing)}"
        if not self.accepts_any:
            unknown = [name for name in args if name not in self.parameters]
            if unknown:
                known = ", ".join(self.parameters) or "none"
                return f"{self.name} takes no argument {', '.join(unknown)} (it takes: {known})"
        return None


class Registry:
    """The handlers of this process."""

    def __init__(self) -> None:
        self._specs: dict[str, HandlerSpec] = {}
        self._loaded = False
        self._lock = threading.RLock()

    def load(self) -> None:
        """Import what holds handlers: the built-in ones, every installed app's `handlers.py`, and
        the modules that ORCHESTRATOR_HANDLERS names.  Raises ImportError for one of those."""
        with self._lock:
            if self._loaded:
                return
            importlib.import_module("orchestrator.builtin_handlers")
            for config in apps.get_app_configs():
                module = f"{config.name}.handlers"
                if module != __name__ and importlib.util.find_spec(module):
                    importlib.import_module(module)
            for module in filter(None, (part.strip() for part in conf().handlers.split(","))):
                importlib.import_module(module)
            self._loaded = True

    def add(self, spec: HandlerSpec) -> None:
        """Register; a name may stand for one function alone."""
        known = self._specs.get(spec.name)
        if known is not None and (
            known.function.__module__,
            known.function.__qualname__,
        ) != (spec.function.__module__, spec.function.__qualname__):
            raise ValueError(
                f"two handlers are named {spec.name!r}: {known.function.__module__}."
                f"{known.function.__qualname__} and {spec.function.__module__}.{spec.function.__qualname__}"
            )
        self._specs[spec.name] = spec

    def get(self, name: str) -> HandlerSpec | None:
        """The handler of this name, or None."""
        self.load()
        return self._specs.get(name)

    def info(self, name: str) -> HandlerInfo | None:
        """What the domain needs to know of the handler of this name, or None."""
        spec = self.get(name)
        return None if spec is None else spec.info()

    def all(self) -> list[HandlerSpec]:
        """Every handler, by name."""
        self.load()
        return sorted(self._specs.values(), key=lambda spec: spec.name)


registry = Registry()


def handler(
    name: str,
    *,
    queue: str | None = None,
    timeout: str | float | timedelta | None = None,
    batch: bool = False,
) -> Callable[[Function], Function]:
    """Register a function (async or plain) as the handler `name`.

    `queue` and `timeout` are the defaults of the steps that call it; `cpu` is the queue of handlers
    that compute: each runs in a process of its own, which can be killed.  Raises ValueError."""

    def register(function: Function) -> Function:
        registry.add(_describe(name, function, queue, timeout, batch))
        return function

    return register


def _describe(
    name: str,
    function: Callable[..., Any],
    queue: str | None,
    timeout: str | float | timedelta | None,
    batch: bool,
) -> HandlerSpec:
    if not name or len(name) > 200 or any(c.isspace() for c in name):
        raise ValueError(
            f"{name!r} is no name of a handler: use letters, digits and dots, e.g. billing.charge"
        )
    parameters = list(inspect.signature(function).parameters.values())
    takes_context = bool(parameters) and parameters[0].kind in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    )
    named = [
        p
        for p in parameters[takes_context:]
        if p.kind in (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    ]
    kind: Kind = "blocking"
    if queue == "cpu":
        kind = "cpu"
    elif inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        kind = "async"
    return HandlerSpec(
        name=name,
        function=function,
        kind=kind,
        queue=queue,
        timeout=None if timeout is None else parse_duration(timeout),
        batch=batch,
        parameters=tuple(p.name for p in named),
        required=tuple(p.name for p in named if p.default is inspect.Parameter.empty),
        accepts_any=any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters),
        takes_context=takes_context,
    )
