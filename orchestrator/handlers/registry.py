"""Which handlers this process has."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, TypeVar

from django.apps import apps

from orchestrator.conf import conf
from orchestrator.domain.definition import HandlerInfo
from orchestrator.domain.durations import parse_duration

Kind = Literal["async", "blocking", "cpu"]
Function = TypeVar("Function", bound=Callable[..., Any])


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
    constant: tuple[str, ...] = ()

    @property
    def is_async(self) -> bool:
        """Whether its function is a coroutine's, wherever it runs."""
        return inspect.iscoroutinefunction(self.function) or inspect.isasyncgenfunction(
            self.function
        )

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
            constant=self.constant,
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
                if module != __package__ and importlib.util.find_spec(module):
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
    constant: tuple[str, ...] = (),
) -> Callable[[Function], Function]:
    """Register a function (async or plain) as the handler `name`.

    `queue` and `timeout` are the defaults of the steps that call it; `cpu` is the queue of handlers
    that compute: each runs in a process of its own, which can be killed.  `constant` names arguments that a
    definition must write out, without expressions.  Raises ValueError."""

    def register(function: Function) -> Function:
        registry.add(_describe(name, function, queue, timeout, batch, constant))
        return function

    return register


def _describe(
    name: str,
    function: Callable[..., Any],
    queue: str | None,
    timeout: str | float | timedelta | None,
    batch: bool,
    constant: tuple[str, ...],
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
        constant=constant,
    )
