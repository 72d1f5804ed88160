"""Dead letters, always of a tenant: one by one, or grouped by what their errors have in common."""

from __future__ import annotations

from orchestrator import store
from orchestrator.domain.errors import InvalidCursor, WorkflowNotFound
from orchestrator.models import Workflow
from orchestrator.selectors.paging import (
    DEFAULT_LIMIT,
    Page,
    seal,
    seal_number,
    unseal,
    unseal_number,
)
from orchestrator.store import dead_letters
from orchestrator.store.actions import Letters
from tenants.models import Tenant

CURSOR = "dead_letters"
GROUPS_CURSOR = "dead_letter_groups"


def letters_of(
    *,
    tenant: Tenant,
    workflow: str | None = None,
    step: str | None = None,
    code: str | None = None,
    fingerprint: str | None = None,
    ids: list[int] | None = None,
) -> Letters:
    """What narrows dead letters, for the store.  Raises WorkflowNotFound."""
    workflow_id = None
    if workflow is not None:
        found = Workflow.objects.filter(tenant=tenant, name=workflow).values_list("pk", flat=True)
        workflow_id = found.first()
        if workflow_id is None:
            raise WorkflowNotFound(workflow=workflow)
    return Letters(ids=ids, workflow_id=workflow_id, step=step, code=code, fingerprint=fingerprint)


def list_letters(
    *, tenant: Tenant, letters: Letters, limit: int = DEFAULT_LIMIT, cursor: str | None = None
) -> Page:
    """Dead letters, newest first.  Raises InvalidCursor."""
    after = None if cursor is None else _unseal(CURSOR, cursor)
    rows = dead_letters.rows(
        store.connection(), tenant_id=tenant.pk, letters=letters, limit=limit + 1, after=after
    )
    more = len(rows) > limit
    rows = rows[:limit]
    items: list[dict[str, object]] = [
        {
            "id": row.id,
            "run_id": row.run_id,
            "workflow": row.workflow,
            "version": row.version,
            "step": row.step,
            "error": {"code": row.code, "message": row.message, "type": row.type},
            "fingerprint": row.fingerprint,
            "attempts": row.attempts,
            "losses": row.losses,
            "failed_at": row.failed_at,
        }
        for row in rows
    ]
    next_cursor = seal(CURSOR, rows[-1].micros, rows[-1].id) if more else None
    return Page(items, next_cursor)


def list_groups(
    *, tenant: Tenant, letters: Letters, limit: int = DEFAULT_LIMIT, cursor: str | None = None
) -> Page:
    """Groups of dead letters with the same fingerprint, the one with the newest first.

    Raises InvalidCursor."""
    after = None if cursor is None else unseal_number(GROUPS_CURSOR, cursor)
    rows = dead_letters.groups(
        store.connection(), tenant_id=tenant.pk, letters=letters, limit=limit + 1, after=after
    )
    more = len(rows) > limit
    rows = rows[:limit]
    items: list[dict[str, object]] = [
        {
            "fingerprint": row.fingerprint,
            "error": {"code": row.code, "message": row.message, "type": row.type},
            "count": row.count,
            "runs": row.runs,
            "workflows": row.workflows,
            "steps": row.steps,
            "first_at": row.first_at,
            "last_at": row.last_at,
            "newest": {"id": row.newest_id, "run_id": row.run_id},
        }
        for row in rows
    ]
    return Page(items, seal_number(GROUPS_CURSOR, rows[-1].newest_id) if more else None)


def _unseal(kind: str, cursor: str) -> tuple[int, int]:
    micros, number = unseal(kind, cursor, 2)
    try:
        at, letter_id = int(micros), int(number)
    except ValueError:
        raise _bad(cursor) from None
    if not 0 <= at < 2**62 or not 0 <= letter_id < 2**62:
        raise _bad(cursor)
    return at, letter_id


def _bad(cursor: str) -> InvalidCursor:
    return InvalidCursor(cursor=cursor)
