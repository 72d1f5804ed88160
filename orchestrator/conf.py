"""Product settings: typed, with defaults, read once from the environment.

Every variable starts with ``ORCHESTRATOR_``; nonsense is refused and the variable named.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache

from django.core.exceptions import ImproperlyConfigured

from orchestrator.domain import steplog

PREFIX = "ORCHESTRATOR_"
LOG_FORMATS = ("console", "json")
MAY_BE_0 = ("canary_every_s",)
"""Settings that 0 turns off."""


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
    suspect_limit: int = 4
    """Steps that were lost before that one worker child runs at once, each in a helper process too."""
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
    request_bytes: int = 1024 * 1024 * 1024
    """Largest body of any request, bulk calls too; more is refused while it comes."""
    streams: int = 1000
    """Event streams that one web process holds open."""
    tenant_streams: int = 500
    """Those of them that one tenant may have."""
    event_days: int = 14
    """Days that events are kept."""
    run_days: int = 30
    """Days that finished runs are kept."""
    rollup_fine_days: int = 2
    """Days that statistics by 10 s are kept."""
    rollup_minute_days: int = 15
    """Days that statistics by 1 and 5 min are kept, 8 at least."""
    rollup_hour_days: int = 400
    """Days that statistics by the hour are kept, 61 at least."""
    step_log_days: int = 14
    """Days that the lines of handlers (``ctx.log``) are kept."""
    step_log_level: str = "info"
    """The lowest level of lines that are kept: debug, info, warning, error or critical."""
    step_log_lines: int = 5_000
    """Lines that are kept of an attempt."""
    step_log_line_bytes: int = 8 * 1024
    """Bytes of a line's message, and of its fields; what is longer is cut."""
    step_log_bytes: int = 1024 * 1024
    """Bytes of all lines that are kept of an attempt."""
    log_format: str = "console"
    """What processes log as: console (a line to read) or json (an object a line)."""
    audit_days: int = 400
    """Days that the audit log is kept, 30 at least."""
    alert_days: int = 90
    """Days that alerts that are over, and what was told of them, are kept."""
    public_url: str = ""
    """Where people reach the server: ``https://millrace.example.org``; for links in messages."""
    watchdog_url: str = ""
    """An address elsewhere that is called every minute while alerts are evaluated and told."""
    metrics_token: str = ""
    """A bearer token that opens ``/metrics`` from other hosts, besides keys with the scope admin."""
    http_allow: str = ""
    """Hosts that ``core.http`` may call: ``api.example.org,*.example.com``; empty = all public ones."""
    http_allow_private: bool = False
    """Whether ``core.http`` may call private addresses."""
    connection_wait_s: float = 30.0
    """How long a step waits for its tenant's connection while PostgreSQL gives it none."""
    database_allow: str = ""
    """Hosts whose databases tenants may name: ``db.example.org,*.example.com``; empty = all public ones."""
    database_allow_private: bool = False
    """Whether those may be at private addresses."""
    breaker_failures: int = 5
    """Failures in a row of a tenant's ``core.http`` calls to a host, after which its steps wait."""
    breaker_pause_s: float = 30.0
    """How long they wait before one of them tries the host again."""
    canary_every_s: float = 60.0
    """How often the clock sends a run of its own to see that work is done; 0: never."""
    canary_late_s: float = 30.0
    """How long that run may take, at most."""

    def __post_init__(self) -> None:
        for name, words in (("step_log_level", steplog.LEVELS), ("log_format", LOG_FORMATS)):
            if getattr(self, name) not in words:
                said = f"{PREFIX}{name.upper()}={getattr(self, name)!r}"
                raise ImproperlyConfigured(f"{said}: must be one of {', '.join(words)}.")
        if self.audit_days < 30:
            raise ImproperlyConfigured(f"{PREFIX}AUDIT_DAYS must be 30 or more.")
        if self.rollup_minute_days < 8:
            raise ImproperlyConfigured(f"{PREFIX}ROLLUP_MINUTE_DAYS must be 8 or more.")
        if self.rollup_hour_days < 61:
            raise ImproperlyConfigured(f"{PREFIX}ROLLUP_HOUR_DAYS must be 61 or more.")
        for name in ("public_url", "watchdog_url"):
            value = getattr(self, name)
            if value and not value.startswith(("http://", "https://")):
                raise ImproperlyConfigured(
                    f"{PREFIX}{name.upper()} must begin with http:// or https://."
                )
        for field in fields(self):
            value = getattr(self, field.name)
            if (
                field.type in ("int", "float")
                and value <= 0
                and (value or field.name not in MAY_BE_0)
            ):
                raise ImproperlyConfigured(f"{PREFIX}{field.name.upper()} must be above 0.")

    @property
    def rollup_days_by_width(self) -> dict[int, int]:
        """Days that buckets are kept, by their seconds."""
        minute = self.rollup_minute_days
        return {10: self.rollup_fine_days, 60: minute, 300: minute, 3600: self.rollup_hour_days}


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


def parse_bool(text: str) -> bool:
    """A switch; ValueError: it is neither on nor off."""
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off", ""):
        return False
    raise ValueError("say true or false")


_PARSERS: dict[str, Callable[[str], object]] = {
    "int": int,
    "float": float,
    "str": str,
    "bool": parse_bool,
}


def names(text: str) -> tuple[str, ...]:
    """The parts of a list with commas, in small letters."""
    return tuple(part.strip().lower() for part in text.split(",") if part.strip())


@cache
def conf() -> Conf:
    """This process's settings."""
    return read(os.environ)
