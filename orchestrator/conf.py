"""Product settings: typed, with defaults, read once from the environment.

Every variable starts with ``ORCHESTRATOR_``; nonsense is refused and the variable named.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache

from django.core.exceptions import ImproperlyConfigured

PREFIX = "ORCHESTRATOR_"


@dataclass(frozen=True, slots=True)
class Conf:
    """What can be set.  ``_s`` is seconds, ``_bytes`` bytes; all limits are per process."""

    handlers: str = ""
    """Modules with handlers besides every installed app's ``handlers.py``: ``pkg.mod,pkg2.mod``."""
    async_limit: int = 100
    """Async handlers that one worker child runs at once."""
    thread_limit: int = 100
    """Blocking handlers that one worker child runs at once."""
    cpu_limit: int = 1
    """cpu handlers that one worker child runs at once, each in a helper process of its own."""
    grace_s: float = 10.0
    """What a cancelled, timed out or drained step gets before it is cut off."""
    poll_s: float = 0.05
    """How often a child with steps in flight asks for cancels, draining and new work."""
    lease_s: float = 15.0
    """Age of a lease after which its worker counts as dead although its lock cannot be read."""
    renew_s: float = 5.0
    """How often a child renews its lease."""
    outputs_bytes: int = 4 * 1024 * 1024
    """Inputs and outputs that one claim carries; the rest is fetched step by step."""
    payload_bytes: int = 64 * 1024 * 1024
    """Largest request body, input or output."""
    event_days: int = 14
    """Days that events are kept."""
    run_days: int = 30
    """Days that finished runs are kept."""
    metrics_token: str = ""
    """A bearer token that opens ``/metrics`` from other hosts, besides keys with the scope admin."""
    http_allow: str = ""
    """Hosts that ``core.http`` may call: ``api.example.org,*.example.com``; empty = all public ones."""
    http_allow_private: bool = False
    """Whether ``core.http`` may call private addresses."""
    breaker_failures: int = 5
    """Failures in a row of a tenant's ``core.http`` calls to a host, after which its steps wait."""
    breaker_pause_s: float = 30.0
    """How long they wait before one of them tries the host again."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type in ("int", "float") and value <= 0:
                raise ImproperlyConfigured(f"{PREFIX}{field.name.upper()} must be above 0.")


def read(environ: Mapping[str, str]) -> Conf:
    """The settings of an environment.  Raises ImproperlyConfigured, naming the variable."""
    values: dict[str, object] = {}
    for field in fields(Conf):
        variable = PREFIX + field.name.upper()
        text = environ.get(variable)
        if text is None:
            continue
        try:
            values[field.name] = _PARSERS[str(field.type)](text)
        except ValueError as error:
            raise ImproperlyConfigured(f"{variable}={text!r}: {error}.") from None
    return Conf(**values)  # type: ignore[arg-type]


def _parse_bool(text: str) -> bool:
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off", ""):
        return False
    raise ValueError("say true or false")


_PARSERS: dict[str, Callable[[str], object]] = {
    "int": int,
    "float": float,
    "str": str,
    "bool": _parse_bool,
}


@cache
def conf() -> Conf:
    """This process's settings."""
    return read(os.environ)
