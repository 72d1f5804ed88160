"""The workflows that stand out in a window: the busiest, the slowest, those that fail most."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from django.utils import timezone

from orchestrator.conf import conf
from orchestrator.models.metrics import WIDTHS
from orchestrator.selectors.stats import WorkflowStats, workflow_stats
from orchestrator.store import connection, ranking
from tenants.models import Tenant

CANDIDATES = 20
"""Percentiles cannot be ranked without reading sketches: they are read of the so many workflows that ran
most, and of the so many whose runs held connections for the longest."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """Each list with its first at the top; a workflow may stand in several."""

    busiest: list[WorkflowStats]
    slowest: list[WorkflowStats]
    """By the 95th percentile of their runs' durations."""
    failing: list[WorkflowStats]
    """By how many of their runs failed; those of which none did are not there."""


def workflow_ranking(
    *, tenant: Tenant, window_s: int, limit: int, now: datetime | None = None
) -> Ranking:
    """The first `limit` of each rank in the `window_s` seconds up to `now`, among those that had a run end.

    Reads at most 168 rollup rows of each workflow, by their key, and sketches of some forty workflows."""
    moment = now or timezone.now()
    begin = int(moment.timestamp() - window_s)
    width = _width(window_s, begin)
    found = ranking.outstanding(
        connection(),
        tenant_id=tenant.pk,
        width_s=width,
        since=datetime.fromtimestamp(begin // width * width, UTC),
        until=moment,
        most=limit,
        held=CANDIDATES,
    )
    names = [one.name for one in found]
    stats = {
        one.name: one
        for one in workflow_stats(
            tenant=tenant, window_s=window_s, names=names, limit=len(names), now=moment
        )
    }
    known = [one for one in found if one.name in stats]
    timed = [one for one in stats.values() if one.run.p95_s is not None]
    return Ranking(
        busiest=sorted(
            (stats[one.name] for one in known if one.busiest),
            key=lambda one: (-one.totals.runs_finished, one.name),
        ),
        slowest=sorted(timed, key=lambda one: (-(one.run.p95_s or 0.0), one.name))[:limit],
        failing=sorted(
            (stats[one.name] for one in known if one.failing),
            key=lambda one: (-one.totals.runs_failed, -(one.totals.error_rate or 0.0), one.name),
        ),
    )


def _width(window_s: int, begin: int) -> int:
    """The widest bucket of at most a tenth of the window; wider where narrow ones are kept no longer."""
    age_s = timezone.now().timestamp() - begin
    days = conf().rollup_days_by_width
    kept = next((one for one in WIDTHS if age_s < days[one] * 86_400), WIDTHS[-1])
    return max(kept, *(one for one in WIDTHS if one == WIDTHS[0] or one * 10 <= window_s))
