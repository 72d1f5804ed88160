"""Runs: submitted and cancelled."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import partial
from uuid import UUID

from django.db import transaction

from orchestrator import dispatch, store
from orchestrator.domain import jsonvalue
from orchestrator.domain.errors import (
    IdempotencyMismatch,
    StateConflict,
    TenantSuspended,
    WorkflowNotFound,
)
from orchestrator.domain.statuses import TERMINAL_RUN, RunState
from orchestrator.selectors.runs import RunRow, access_run
from orchestrator.selectors.versions import version_facts
from orchestrator.services.submissions import asked_version, check_key, read_submission
from orchestrator.services.submitting import check_size, check_steps, new_run, refused
from orchestrator.store import closing, submissions
from orchestrator.store.gathering import submit_gathered
from orchestrator.store.payloads import is_large
from orchestrator.store.submit import NewRun, submit
from tenants.actors import Actor
from tenants.models import Tenant
from tenants.services import record


@dataclass(frozen=True, slots=True)
class Submitted:
    """`replayed`: the key was known, and this is the first run that it made; else `row` is the run
    as it was made."""

    run_id: UUID
    replayed: bool
    row: RunRow | None = None


def submit_run(
    *, tenant: Tenant, workflow: str, body: object, key: str | None = None, actor: Actor
) -> Submitted:
    """Make a run of the tenant's workflow; `body` is the decoded JSON of the submission.

    Raises WorkflowNotFound, IdempotencyMismatch, InvalidRequest, InvalidInput, TooLarge,
    TenantSuspended, StateConflict (archived), ConcurrencyConflict, OverQuota.  One statement reads and
    one writes: it is a transaction by itself."""
    connection = store.connection()
    target = submissions.target(
        connection, tenant_id=tenant.pk, name=workflow, version=asked_version(body), key=key
    )
    if target is None:
        raise WorkflowNotFound(workflow=workflow)
    if key is not None:
        check_key(key)
    fingerprint = None if key is None else jsonvalue.fingerprint(body)
    if target.known is not None:
        return Submitted(replayed(target.known, fingerprint), replayed=True)
    read = read_submission(body, version_id=target.version_id)
    check_open(tenant, target)
    assert target.version_id is not None
    new = new_run(
        tenant=tenant,
        version_id=target.version_id,
        read=read,
        key=key,
        fingerprint=fingerprint,
        workflow=workflow,
    )
    check_size(tenant, new.input)
    check_steps(tenant, new.version_id)
    if transaction.get_connection().in_atomic_block or is_large(new.input):
        made = submit(
            connection, tenant_id=tenant.pk, runs=[new], actor=str(actor), origin=actor.origin
        )
    else:
        made = submit_gathered(
            connection, tenant_id=tenant.pk, run=new, actor=str(actor), origin=actor.origin
        )
    transaction.on_commit(partial(dispatch.wake, made.wake))
    (result,) = made.results
    if result.replayed and not result.same:
        raise IdempotencyMismatch(run_id=result.run_id)
    if result.refused:
        raise refused(new, result)
    row = _row(workflow, target, new, result.created_at, result.held)
    return Submitted(result.run_id, result.replayed, row)


def _row(
    workflow: str,
    target: submissions.Target,
    new: NewRun,
    created_at: datetime | None,
    held: str | None,
) -> RunRow | None:
    """The run as it was made, without asking for it."""
    if created_at is None or new.concurrency is not None:  # others may have made room for it
        return None
    assert target.version is not None
    facts = version_facts(new.version_id)
    return RunRow(
        id=new.id,
        workflow=workflow,
        version=target.version,
        version_id=new.version_id,
        state=RunState.QUEUED,
        input=new.input,
        output=None,
        error=None,
        labels=new.labels,
        priority=facts.priority if new.priority is None else new.priority,
        step_count=facts.step_count,
        open_count=facts.step_count,
        succeeded_count=0,
        failed_count=0,
        skipped_count=0,
        cancelled_count=0,
        ready_count=facts.root_count if held is None else 0,
        running_count=0,
        waiting_count=0,
        created_at=created_at,
        started_at=None,
        finished_at=None,
        deadline_at=new.deadline_at,
        closing=None,
        start_at=new.start_at,
        held=held,
        undo_state=None,
        undo_error=None,
        undo_finished_at=None,
        paused_at=None,
    )


def replayed(known: submissions.KnownKey, fingerprint: str | None) -> UUID:
    """The run that a known key made first.  Raises IdempotencyMismatch for another body."""
    if known.fingerprint != fingerprint:
        raise IdempotencyMismatch(run_id=known.run_id)
    return known.run_id


def check_open(tenant: Tenant, target: submissions.Target) -> None:
    """Whether new runs are taken.  Raises TenantSuspended, StateConflict."""
    if tenant.suspended_at is not None:
        raise TenantSuspended(tenant=tenant.slug)
    if target.archived:
        raise StateConflict(
            "The workflow is archived: it takes no new runs until it is published again.",
            state="archived",
            action="submit",
        )


@transaction.atomic
def cancel_run(*, tenant: Tenant, run_id: UUID | str, actor: Actor) -> UUID:
    """Let nothing new of a run start, except `always` steps; what runs is asked to end.

    A run that is being cancelled already is left alone.  Raises RunNotFound, StateConflict (it has
    ended, is being undone, or is ending for another reason)."""
    run = access_run(tenant=tenant, run_id=run_id)
    closed = closing.close_runs(
        store.connection(), tenant_id=tenant.pk, run_ids=[run.pk], kind="cancel", actor=str(actor)
    )
    if closed:
        record(tenant=tenant, actor=actor, action="run.cancel", target=str(run.pk))
    else:
        run.refresh_from_db(fields=["state", "undo_state", "closing"])
        if run.state in TERMINAL_RUN:
            raise StateConflict(state=run.state, action="cancel")
        if run.undo_state is not None:
            message = (
                "The run has failed and is being undone; that cannot be cancelled. An undo that cannot"
                " run is given up by skipping its step."
            )
            raise StateConflict(message, state=run.state, action="cancel")
        if run.closing != "cancel":
            message = f"The run is ending already ({run.closing}): nothing new of it starts."
            raise StateConflict(message, state=run.state, action="cancel")
    return run.pk
