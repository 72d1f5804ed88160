"""A rule that says what a test wants it to say."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from orchestrator import store
from orchestrator.domain.observations import Observation, Severity, Sight
from orchestrator.services import alerting


@dataclass
class Planted:
    """A planted rule; each verb is one look at it."""

    tenant_id: int | None
    rule: str = "sla:planted"
    labels: dict[str, str] = field(default_factory=dict)
    severity: Severity = Severity.WARNING
    name: str = "Orders are quick"
    for_s: float = 0.0
    clear_for_s: float = 0.0

    def sight(self, sight: Sight, **more: Any) -> Observation:
        """What a look at it sees."""
        said: dict[str, object] = {
            "tenant_id": self.tenant_id,
            "rule": self.rule,
            "name": self.name,
            "sight": sight,
            "summary": f"It is {sight}.",
            "labels": self.labels,
            "severity": self.severity,
            "value": 3.5,
            "threshold": 2.0,
            "unit": "s",
            "for_s": self.for_s,
            "clear_for_s": self.clear_for_s,
        }
        return Observation(**{**said, **more})

    def look(
        self,
        sight: Sight,
        now: datetime | None = None,
        connection: store.Connection | None = None,
        **more: Any,
    ) -> int:
        """One look, handed to alerting; how many alerts moved."""
        return alerting.observe(
            [self.sight(sight, **more)], connection=connection or store.connection(), now=now
        )

    def bad(self, now: datetime | None = None, **more: Any) -> int:
        return self.look(Sight.BAD, now, **more)

    def good(self, now: datetime | None = None, **more: Any) -> int:
        return self.look(Sight.GOOD, now, **more)
