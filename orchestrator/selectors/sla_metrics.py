"""The metrics of SLAs, read at each scrape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from orchestrator import metrics
from orchestrator.metrics import Metric
from orchestrator.store import slas
from orchestrator.store.connect import Connection

Sample = tuple[tuple[str, ...], float]


def sla_samples(
    connection: Connection, labels: Mapping[str, str]
) -> Iterator[tuple[Metric, list[Sample]]]:
    """Each metric with its samples; `labels` are the tenants' by slug."""
    states: Counter[tuple[str, ...]] = Counter()
    late: Counter[tuple[str, ...]] = Counter()
    budgets: list[Sample] = []
    for row in slas.standings(connection):
        tenant = labels.get(row.slug, metrics.OTHER)
        states[tenant, row.sight] += 1
        late[tenant,] += row.late
        if (
            tenant not in (metrics.OTHER, metrics.HIDDEN)
            and row.budget is not None
            and len(budgets) < metrics.SLAS_AT_MOST
        ):
            budgets.append(((tenant, row.name), row.budget))
    yield metrics.SLA_RULES, list(states.items())
    yield metrics.SLA_LATE_RUNS, list(late.items())
    yield metrics.SLA_BUDGET_LEFT, budgets
    yield metrics.SLA_BEHIND, [((), slas.behind_s(connection))]
