"""What was given up: groups of like errors, one group, and the retries under way."""

from __future__ import annotations

from dashboard.live.page import Arguments, Context, Page, Query
from orchestrator.domain.errors import InvalidCursor, WorkflowNotFound
from orchestrator.selectors.actions import action_view, open_actions
from orchestrator.selectors.dead_letters import letters_of, list_groups, list_letters
from orchestrator.selectors.workflows import list_workflows
from tenants.access import Access
from tenants.models import Role

LIMIT = 50
ACTIONS = 5
NAMES = 200
RATES = {
    "1/1s": "1 a second",
    "10/1s": "10 a second",
    "100/1s": "100 a second",
    "10/1m": "10 a minute",
}


def context(access: Access, _arguments: Arguments, query: Query) -> Context:
    """The groups, or the dead letters of the one that `?fingerprint=` names; `?workflow=` narrows.

    A cursor or a workflow that is none counts as not said."""
    fingerprint = query.get("fingerprint", "").replace("\0", "")[:100]
    workflow = query.get("workflow", "").replace("\0", "")[:100]
    try:
        letters = letters_of(tenant=access.tenant, workflow=workflow or None)
    except WorkflowNotFound:
        workflow, letters = "", letters_of(tenant=access.tenant)
    cursor = query.get("cursor") or None
    found: Context = {
        "fingerprint": fingerprint,
        "workflow": workflow,
        "names": [row["name"] for row in list_workflows(tenant=access.tenant, limit=NAMES).items],
        "actions": [action_view(row) for row in open_actions(tenant=access.tenant, limit=ACTIONS)],
        "may_retry": access.may(Role.OPERATOR),
        "rates": RATES,
        "is_later": cursor is not None,
    }
    if fingerprint:
        letters = letters_of(
            tenant=access.tenant, workflow=workflow or None, fingerprint=fingerprint
        )
        groups = list_groups(tenant=access.tenant, letters=letters, limit=1).items
        found["group"] = groups[0] if groups else None
    read = list_letters if fingerprint else list_groups
    try:
        page = read(tenant=access.tenant, letters=letters, limit=LIMIT, cursor=cursor)
    except InvalidCursor:
        page = read(tenant=access.tenant, letters=letters, limit=LIMIT)
    return found | {"rows": page.items, "next_cursor": page.next_cursor}


DEAD_LETTERS = Page("dead_letters", "dashboard/dead_letters.html", ("rows", "actions"), context)
