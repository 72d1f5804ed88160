"""Repair by hand: a run retried; a step retried, completed or skipped.

What the state of the run and of the step allows is decided by `engine_retry`, `engine_retry_step` and
`engine_settle_step` under the tenant's mutex; docs/repair.md has the table."""

from __future__ import annotations

from functools import partial
from uuid import UUID

from django.db import transaction

from orchestrator import dispatch, store
from orchestrator.domain import jsonvalue
from orchestrator.domain.definition.reader import Raw, Reader
from orchestrator.domain.errors import (
    ConcurrencyConflict,
    InvalidRequest,
    Problem,
    RunNotFound,
    StateConflict,
    TooLarge,
)
from orchestrator.models import Run
from orchestrator.selectors.runs import access_run
from orchestrator.selectors.steps import access_step
from orchestrator.selectors.versions import VersionGraph, version_graph
from orchestrator.store import repairs
from orchestrator.store.repairs import Repaired
from tenants.actors import Actor
from tenants.models import Quota, Tenant
from tenants.services import record

CLOSING = (
    "The run is coming to its end, or is being undone: it cannot be repaired until that is over."
)
NO_UNDO = (
    "The run is being undone, and the step has no undo that waits: it has none, its turn has not come,"
    " it runs, or it has ended. The undo of a workflow step is skipped in its child run."
)
DROPPED = (
    "The outputs of the run's steps were dropped when it had succeeded: nothing is left to keep."
)


@transaction.atomic
def retry_run(*, tenant: Tenant, run_id: UUID | str, body: object, actor: Actor) -> UUID:
    """Run again what failed or was cancelled of a run that has ended, and what follows it; or, from
    the step `from_step` of `body`, that one and what follows it.  The others keep their outputs.

    Raises RunNotFound, InvalidRequest, StateConflict, ConcurrencyConflict."""
    run = access_run(tenant=tenant, run_id=run_id)
    graph = version_graph(run.version_id)
    from_step = _from_step(body, graph)
    done = repairs.retry_run(
        store.connection(),
        tenant_id=tenant.pk,
        run_id=run.pk,
        from_ordinal=None if from_step is None else graph.ordinals[from_step],
        actor=str(actor),
    )
    _check(done, run, graph, "retry")
    _conclude(tenant, run, actor, done, "run.retry", {"from_step": from_step})
    return run.pk


def _from_step(body: object, graph: VersionGraph) -> str | None:
    reader = Reader()
    raw: Raw = reader.mapping(body, "", ("from_step",)) or {}
    name = raw.get("from_step")
    if name is not None and not isinstance(name, str):
        reader.note("/from_step", "must be the name of a step", "wrong_type")
    elif name is not None and name not in graph.ordinals:
        guess = reader.suggestion(name, graph.ordinals)
        reader.note("/from_step", f"the run has no such step{guess}", "unknown_step")
    if reader.problems:
        raise InvalidRequest(problems=reader.problems)
    return name if isinstance(name, str) else None


@transaction.atomic
def retry_step(*, tenant: Tenant, run_id: UUID | str, name: str, actor: Actor) -> UUID:
    """Run a step again that failed for good or was cancelled, with what follows it; one that waits
    for its next attempt gets it at once.

    Raises RunNotFound, StepNotFound, StateConflict, ConcurrencyConflict."""
    run, graph, ordinal = access_step(tenant=tenant, run_id=run_id, name=name)
    done = repairs.retry_step(
        store.connection(), tenant_id=tenant.pk, run_id=run.pk, ordinal=ordinal, actor=str(actor)
    )
    _check(done, run, graph, "retry")
    _conclude(tenant, run, actor, done, "step.retry", {"step": name})
    return run.pk


@transaction.atomic
def complete_step(
    *, tenant: Tenant, run_id: UUID | str, name: str, body: object, actor: Actor
) -> UUID:
    """End a step that does not run as if it had succeeded, with the `output` of `body` (null unless
    given).

    Raises RunNotFound, StepNotFound, InvalidRequest, TooLarge, StateConflict, ConcurrencyConflict."""
    run, graph, ordinal = access_step(tenant=tenant, run_id=run_id, name=name)
    output = _output(body, tenant)
    done = repairs.settle_step(
        store.connection(),
        tenant_id=tenant.pk,
        run_id=run.pk,
        ordinal=ordinal,
        state="succeeded",
        output=output,
        actor=str(actor),
    )
    _check(done, run, graph, "complete")
    _conclude(tenant, run, actor, done, "step.complete", {"step": name})
    return run.pk


def _output(body: object, tenant: Tenant) -> str:
    reader = Reader()
    raw: Raw = reader.mapping(body, "", ("output",)) or {}
    if reader.problems:
        raise InvalidRequest(problems=reader.problems)
    limit = Quota.objects.values_list("max_payload_bytes", flat=True).get(pk=tenant.pk)
    try:
        return jsonvalue.encode(raw.get("output"), max_bytes=limit)
    except jsonvalue.TooBig:
        raise TooLarge(f"The output is larger than {limit:,} bytes.", limit=limit) from None
    except jsonvalue.NotJson as error:
        problem = Problem("/output" + error.pointer, error.reason, "wrong_type")
        raise InvalidRequest(problems=[problem]) from None


@transaction.atomic
def skip_step(*, tenant: Tenant, run_id: UUID | str, name: str, actor: Actor) -> UUID:
    """Skip a step that does not run; what follows is decided by its rule.  In a run that is being
    undone: give up the step's undo, so that those before it go on.

    Raises RunNotFound, StepNotFound, StateConflict, ConcurrencyConflict."""
    run, graph, ordinal = access_step(tenant=tenant, run_id=run_id, name=name)
    done = repairs.settle_step(
        store.connection(),
        tenant_id=tenant.pk,
        run_id=run.pk,
        ordinal=ordinal,
        state="skipped",
        output=None,
        actor=str(actor),
    )
    _check(done, run, graph, "skip")
    _conclude(tenant, run, actor, done, "step.skip", {"step": name})
    return run.pk


def _check(done: Repaired, run: Run, graph: VersionGraph, action: str) -> None:
    """Raise StateConflict, ConcurrencyConflict or RunNotFound where it was refused."""
    if done.refused is None:
        return
    if done.refused == "gone":
        raise RunNotFound(run_id=run.pk)
    what, _, state = done.refused.partition(" ")
    if what == "closing":
        raise StateConflict(CLOSING, state="closing", action=action)
    if what == "undo":
        raise StateConflict(NO_UNDO, state="closing", action=action)
    if what == "dropped":
        raise StateConflict(DROPPED, state="dropped", action=action)
    if what == "concurrency":
        raise ConcurrencyConflict(limit=int(state))
    if what == "busy":
        step = graph.name(int(state))
        raise StateConflict(
            f"The step {step} still runs: wait for its end, or cancel the run.",
            state="running",
            action=action,
            step=step,
        )
    raise StateConflict(
        f"The {what} is {state}, which does not allow {action}.", state=state, action=action
    )


def _conclude(
    tenant: Tenant, run: Run, actor: Actor, done: Repaired, action: str, what: dict[str, object]
) -> None:
    record(tenant=tenant, actor=actor, action=action, target=str(run.pk), after=what)
    transaction.on_commit(partial(dispatch.wake, done.wake))
