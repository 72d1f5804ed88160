"""The limits of a quota by name: how people read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from django.db.models import Field, FloatField

from tenants.models import Quota


@dataclass(frozen=True, slots=True)
class Limit:
    """`unit`: what the number counts; `help`: what happens at it, one sentence."""

    name: str
    title: str
    unit: Literal["", "bytes", "days"]
    help: str
    unset: str = "no limit"
    """What holds where it is empty."""

    @property
    def field(self) -> Field[object, object]:
        """Its column, with its range."""
        return Quota._meta.get_field(self.name)  # type: ignore[return-value]

    @property
    def optional(self) -> bool:
        """Whether it may be left unset: no limit."""
        return self.field.null

    @property
    def integral(self) -> bool:
        """Whether it is a whole number."""
        return not isinstance(self.field, FloatField)


ALL = (
    Limit("max_connections", "Connections", "", "Steps that run at once; the rest waits."),
    Limit("weight", "Weight", "", "Its share when tenants compete: 2 gets twice what 1 gets."),
    Limit("max_active_runs", "Active runs", "", "Runs that have not ended; more are refused."),
    Limit(
        "max_waiting_steps",
        "Waiting steps",
        "",
        "Steps that could start and have not; at it, new runs are refused.",
    ),
    Limit(
        "submissions_per_minute",
        "Submissions per minute",
        "",
        "As many at once, then evenly; more are refused.",
    ),
    Limit("max_steps", "Steps per run", "", "Steps of a definition; larger ones are refused."),
    Limit(
        "max_payload_bytes",
        "Payload",
        "bytes",
        "Largest request body, input or output, in bytes.",
    ),
    Limit(
        "max_storage_bytes",
        "Storage",
        "bytes",
        "Payloads over 8 KiB that are kept, in bytes; at it, new runs are refused.",
    ),
    Limit(
        "retention_days", "Retention", "days", "Days that finished runs are kept.", "the server's"
    ),
    Limit("max_schedules", "Schedules", "", "More are refused."),
    Limit("max_api_keys", "API keys", "", "Keys in force; more are refused."),
)
BY_NAME = {limit.name: limit for limit in ALL}
