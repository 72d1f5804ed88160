"""Pausing and resuming: of a run, and of a workflow with all its runs."""

from __future__ import annotations

from functools import partial
from uuid import UUID

from django.db import transaction

from orchestrator import dispatch, store
from orchestrator.domain.errors import StateConflict
from orchestrator.models import Run
from orchestrator.selectors.runs import access_run
from orchestrator.selectors.workflows import access_workflow
from orchestrator.store import pauses
from tenants.actors import Actor
from tenants.models import Tenant
from tenants.services import record


@transaction.atomic
def pause_run(*, tenant: Tenant, run_id: UUID | str, actor: Actor) -> UUID:
    """Let nothing new of a run start; what runs, ends.  Its timeout stands still, its deadline does not.

    Raises RunNotFound, StateConflict (it has ended, is closing, or is paused)."""
    run = access_run(tenant=tenant, run_id=run_id)
    paused = pauses.pause_runs(
        store.connection(), tenant_id=tenant.pk, run_ids=[run.pk], actor=str(actor)
    )
    if not paused:
        raise _refused(run, "pause")
    record(tenant=tenant, actor=actor, action="run.pause", target=str(run.pk))
    return run.pk


@transaction.atomic
def resume_run(*, tenant: Tenant, run_id: UUID | str, actor: Actor) -> UUID:
    """Let a paused run go on.  Raises RunNotFound, StateConflict (it is not paused)."""
    run = access_run(tenant=tenant, run_id=run_id)
    resumed, wake = pauses.resume_runs(
        store.connection(), tenant_id=tenant.pk, run_ids=[run.pk], actor=str(actor)
    )
    if not resumed:
        raise _refused(run, "resume")
    record(tenant=tenant, actor=actor, action="run.resume", target=str(run.pk))
    transaction.on_commit(partial(dispatch.wake, wake))
    return run.pk


def _refused(run: Run, action: str) -> StateConflict:
    run.refresh_from_db(fields=["state", "closing", "undo_state"])
    if (run.closing or run.undo_state) and run.finished_at is None:
        return StateConflict(
            "The run is coming to its end: it cannot be paused any more.",
            state=run.state,
            action=action,
        )
    return StateConflict(state=run.state, action=action)


@transaction.atomic
def pause_workflow(*, tenant: Tenant, name: str, actor: Actor) -> None:
    """Let nothing new of a workflow's runs start; new runs are taken, and wait.

    Raises WorkflowNotFound, StateConflict (it is paused)."""
    workflow = access_workflow(tenant=tenant, name=name)
    if not pauses.pause_workflow(store.connection(), tenant_id=tenant.pk, workflow_id=workflow.pk):
        raise StateConflict("The workflow is paused already.", state="paused", action="pause")
    record(tenant=tenant, actor=actor, action="workflow.pause", target=name)


@transaction.atomic
def resume_workflow(*, tenant: Tenant, name: str, actor: Actor) -> None:
    """Let a workflow's runs go on, but those that are paused themselves.

    Raises WorkflowNotFound, StateConflict (it is not paused)."""
    workflow = access_workflow(tenant=tenant, name=name)
    resumed, wake = pauses.resume_workflow(
        store.connection(), tenant_id=tenant.pk, workflow_id=workflow.pk
    )
    if not resumed:
        raise StateConflict("The workflow is not paused.", state="active", action="resume")
    record(tenant=tenant, actor=actor, action="workflow.resume", target=name)
    transaction.on_commit(partial(dispatch.wake, wake))
