"""Undoing a run on request."""

from __future__ import annotations

from functools import partial
from uuid import UUID

from django.db import transaction

from orchestrator import dispatch, store
from orchestrator.domain.errors import RunNotFound, StateConflict
from orchestrator.selectors.runs import access_run
from orchestrator.store import undoing
from tenants.actors import Actor
from tenants.models import Tenant
from tenants.services import record

REFUSED = {
    "open": "The run has not ended: it can be undone when it has, and is by itself when it fails.",
    "again": "The run has been undone already, or is being undone: that is done once.",
    "nothing": "There is nothing to undo: no step of the run that succeeded has an undo.",
}


@transaction.atomic
def undo_run(*, tenant: Tenant, run_id: UUID | str, actor: Actor) -> UUID:
    """Call the undo of every step of an ended run that succeeded, last first; its state stays.

    Raises RunNotFound, StateConflict (it has not ended, was undone before, or there is nothing)."""
    run = access_run(tenant=tenant, run_id=run_id)
    made = undoing.undo_run(
        store.connection(), tenant_id=tenant.pk, run_id=run.pk, actor=str(actor)
    )
    if made.verdict == "gone":
        raise RunNotFound(run_id=run.pk)
    if made.verdict != "begun":
        raise StateConflict(REFUSED[made.verdict], state=run.state, action="undo")
    record(tenant=tenant, actor=actor, action="run.undo", target=str(run.pk))
    transaction.on_commit(partial(dispatch.wake, made.wake))
    return run.pk
