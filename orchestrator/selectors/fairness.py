"""What tenants were due in the last minute and what they got."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.domain.fairness import jain
from orchestrator.store import connection, gauges
from orchestrator.store.gauges import ShareGauge


@dataclass(frozen=True, slots=True)
class Share:
    """Of all connections held in the minute, from 0 to 1: what was a tenant's due, what it got."""

    entitled: float
    received: float


@dataclass(frozen=True, slots=True)
class Fairness:
    """The last whole minute by tenant id.  `jain`: 1 is fair; None where nobody wanted anything."""

    shares: dict[int, Share]
    jain: float | None


def last_minute() -> Fairness:
    """Read from the rows that the clock wrote."""
    return fairness(gauges.shares(connection()))


def fairness(rows: Iterable[ShareGauge]) -> Fairness:
    """The shares of what was measured."""
    found = [row for row in rows if row.entitled_s > 0]
    due, got = sum(row.entitled_s for row in found), sum(row.received_s for row in found)
    return Fairness(
        shares={
            row.tenant_id: Share(row.entitled_s / due, row.received_s / got if got else 0.0)
            for row in found
        },
        jain=jain([row.received_s / row.entitled_s for row in found]),
    )
