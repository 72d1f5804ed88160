"""What a rule saw: the one thing that rules (SLAs, health checks, the canary) hand to alerting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID


class Sight(StrEnum):
    """What a look at a rule came to."""

    GOOD = "good"
    BAD = "bad"
    INSUFFICIENT = "insufficient"
    """Too few samples to say: an alert that is open stays as it is."""


class Severity(StrEnum):
    """How much it matters."""

    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Observation:
    """One look at one rule and one set of labels.

    `rule`: the rule's identity, such as `sla:17`, `health:database`, `canary`, `evaluator`;
    together with `tenant_id` (None: the server's own, for staff) and `labels` it names the alert.
    `value` and `threshold` are in `unit` ("s", "share", "per_s", "count" or "").
    `for_s`: how long it is bad before it fires; `clear_for_s`: how long it is good before it
    resolves.  `run_ids`: at most ten runs that show it."""

    tenant_id: int | None
    rule: str
    name: str
    sight: Sight
    summary: str
    labels: Mapping[str, str] = field(default_factory=dict)
    severity: Severity = Severity.WARNING
    value: float | None = None
    threshold: float | None = None
    unit: str = ""
    for_s: float = 0.0
    clear_for_s: float = 0.0
    run_ids: tuple[UUID, ...] = ()
