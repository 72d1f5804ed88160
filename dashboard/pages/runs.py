"""The list of runs: live on its first page, filtered by its address."""

from __future__ import annotations

from dashboard.live.page import Arguments, Context, Page, Query
from dashboard.pages.query import PERIODS, runs_query
from dashboard.words import RUN_STATES
from orchestrator.domain.errors import InvalidCursor
from orchestrator.selectors.runs import list_runs
from orchestrator.selectors.workflows import list_workflows
from tenants.access import Access

LIMIT = 50
NAMES = 200


def context(access: Access, _arguments: Arguments, query: Query) -> Context:
    """The asked page of runs, and what the filters offer.  A cursor that is none: the first page."""
    asked = runs_query(query)
    filters = asked.filters()
    try:
        page = list_runs(
            tenant=access.tenant, filters=filters, limit=LIMIT, cursor=asked.cursor or None
        )
    except InvalidCursor:
        page = list_runs(tenant=access.tenant, filters=filters, limit=LIMIT)
    workflows = list_workflows(tenant=access.tenant, limit=NAMES).items
    return {
        "asked": asked,
        "page": page,
        "states": RUN_STATES,
        "periods": PERIODS,
        "names": [row["name"] for row in workflows],
    }


RUNS = Page("runs", "dashboard/runs.html", ("rows",), context)
