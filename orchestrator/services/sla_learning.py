"""What tenants begin with, and what is proposed to them: duties of the clock."""

from __future__ import annotations

import logging
from datetime import timedelta

from django.db.models import Exists, OuterRef
from django.utils import timezone

from orchestrator.domain.slo.proposing import proposed_threshold
from orchestrator.models import Sla, SlaProposal, Workflow
from orchestrator.selectors.stats import measure
from orchestrator.services.slas import make_defaults
from orchestrator.store import Connection, for_a_moment, slas
from tenants.models import Tenant

logger = logging.getLogger(__name__)

TENANTS_AT_ONCE = 20
WORKFLOWS_AT_ONCE = 50
FIRST_WEEK = timedelta(days=7)
FEWEST_RUNS = 100
"""Of a week, for a percentile that means something."""


def begin(connection: Connection) -> int:
    """Cursors for new tenants, and the rules that they begin with; answers how many rules."""
    waiting = slas.make_cursors(connection, limit=TENANTS_AT_ONCE)
    if not waiting:
        return 0
    with for_a_moment():
        return sum(_begin(tenant) for tenant in Tenant.objects.filter(pk__in=waiting))


def _begin(tenant: Tenant) -> int:
    """A tenant whose rules cannot be made keeps those behind it from nothing."""
    try:
        return make_defaults(tenant=tenant)
    except Exception:
        logger.exception("the first rules of tenant %s could not be made", tenant.slug)
        return 0


class Learner:
    """Proposes a threshold for each workflow that has been there for a week: some at a time."""

    def __init__(self) -> None:
        self._after = 0

    def __call__(self, connection: Connection) -> int:
        """Look at the next few workflows; answers how many thresholds were proposed."""
        with for_a_moment():
            return self._look()

    def _look(self) -> int:
        now = timezone.now()
        proposed = SlaProposal.objects.filter(workflow=OuterRef("pk"))
        rows = list(
            Workflow.objects.filter(
                ~Exists(proposed),
                pk__gt=self._after,
                archived_at__isnull=True,
                created_at__lte=now - FIRST_WEEK,
            ).order_by("pk")[:WORKFLOWS_AT_ONCE]
        )
        self._after = rows[-1].pk if len(rows) == WORKFLOWS_AT_ONCE else 0
        return sum(self._propose(row) for row in rows)

    def _propose(self, workflow: Workflow) -> bool:
        """Raises nothing: a workflow that has a rule, or too few runs, is looked at again later."""
        rules = Sla.objects.filter(
            tenant_id=workflow.tenant_id,
            kind__in=("p95_threshold", "run_duration"),
            workflow_ids__contains=[workflow.pk],
        )
        if rules.exists():
            return False
        now = timezone.now()
        found = measure(
            tenant_id=workflow.tenant_id,
            workflow_ids=[workflow.pk],
            since=now - FIRST_WEEK,
            until=now,
            of=("run",),
        ).run
        p95 = found.quantile(0.95)
        if p95 is None or found.count < FEWEST_RUNS:
            return False
        _, made = SlaProposal.objects.get_or_create(
            tenant_id=workflow.tenant_id,
            workflow=workflow,
            defaults={
                "p95_s": p95,
                "threshold_s": proposed_threshold(p95),
                "run_count": found.count,
            },
        )
        return made
