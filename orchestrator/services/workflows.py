"""Workflows: published, version by version, and archived."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

from django.db import transaction
from django.db.models.functions import Now

from orchestrator import store
from orchestrator.domain import jsonvalue
from orchestrator.domain.definition import Call, Definition, Step, parse_definition
from orchestrator.domain.errors import Problem
from orchestrator.domain.undo import COMPENSATION, UNDO
from orchestrator.models import Handler, Workflow, WorkflowVersion
from orchestrator.selectors.secrets import unknown_secrets
from orchestrator.selectors.workflows import access_workflow
from orchestrator.services.handlers import known_handlers
from orchestrator.services.pools import known_pools
from orchestrator.store.version_steps import CallRow, StepRow, insert_calls, insert_steps
from tenants.actors import Actor
from tenants.models import Quota, Tenant
from tenants.services import record

MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Published:
    """A version.  `created` is False where the newest version has the same content."""

    name: str
    version: int
    checksum: str
    created: bool
    warnings: tuple[Problem, ...] = ()
    """What will fail unless it is mended before a run: secrets that there are not."""


def publish_workflow(
    *, tenant: Tenant, name: str | None, document: object, actor: Actor, dry_run: bool = False
) -> Published:
    """Publish `document` (plain JSON data) as the newest version of the workflow `name` (None: the
    one that it names); an archived workflow takes runs again.  `dry_run` checks and stores nothing.

    Raises InvalidDefinition with every problem."""
    max_steps = Quota.objects.values_list("max_steps", flat=True).get(pk=tenant.pk)
    definition = parse_definition(
        document,
        name=name,
        max_steps=max_steps,
        handlers=known_handlers(),
        workflows=lambda other: _is_open(tenant, other),
        pools=known_pools(tenant),
    )
    made = _foretell(tenant, definition) if dry_run else _store(tenant, definition, actor)
    return replace(made, warnings=_warnings(tenant, definition))


def _warnings(tenant: Tenant, definition: Definition) -> tuple[Problem, ...]:
    missing = unknown_secrets(tenant=tenant, definition=definition)
    return tuple(
        Problem(place, f"there is no secret {name} yet", "unknown_secret")
        for name, place in sorted(missing.items(), key=lambda item: (item[1], item[0]))
    )


def _is_open(tenant: Tenant, name: str) -> bool:
    """Whether the tenant has a workflow of this name that takes runs."""
    known = Workflow.objects.filter(tenant=tenant, name=name, newest__gt=0)
    return known.filter(archived_at__isnull=True).exists()


def _newest(workflow: Workflow | None) -> WorkflowVersion | None:
    if workflow is None or workflow.newest == 0:
        return None
    return WorkflowVersion.objects.defer("document").get(workflow=workflow, version=workflow.newest)


def _foretell(tenant: Tenant, definition: Definition) -> Published:
    """What publishing would answer now."""
    newest = _newest(Workflow.objects.filter(tenant=tenant, name=definition.name).first())
    if newest is not None and newest.checksum == definition.checksum:
        return Published(definition.name, newest.version, newest.checksum, created=False)
    version = 1 if newest is None else newest.version + 1
    return Published(definition.name, version, definition.checksum, created=True)


@transaction.atomic
def _store(tenant: Tenant, definition: Definition, actor: Actor) -> Published:
    Workflow.objects.bulk_create(
        [Workflow(tenant=tenant, name=definition.name)], ignore_conflicts=True
    )
    workflow = Workflow.objects.select_for_update().get(tenant=tenant, name=definition.name)
    newest = _newest(workflow)
    if newest is not None and newest.checksum == definition.checksum:
        version, created = newest.version, False
    else:
        version, created = workflow.newest + 1, True
        _insert(tenant, workflow, definition, version, actor)
    if created or workflow.archived_at is not None:
        Workflow.objects.filter(pk=workflow.pk).update(newest=version, archived_at=None)
        record(
            tenant=tenant,
            actor=actor,
            action="workflow.published",
            target=definition.name,
            before=None if newest is None else {"version": newest.version},
            after={"version": version, "checksum": definition.checksum},
        )
    return Published(definition.name, version, definition.checksum, created)


def _insert(
    tenant: Tenant, workflow: Workflow, definition: Definition, number: int, actor: Actor
) -> None:
    version = WorkflowVersion.objects.create(
        tenant=tenant,
        workflow=workflow,
        version=number,
        checksum=definition.checksum,
        document=jsonvalue.encode(definition.document),
        timeout_ms=max(1, round(definition.timeout / MILLISECOND)),
        max_parallel=definition.max_parallel,
        fail_fast=definition.fail_fast,
        priority=definition.priority,
        step_count=len(definition.steps),
        leaves=list(definition.leaves),
        output_needs=None if definition.output is None else list(definition.output_needs),
        concurrency_limit=None if definition.concurrency is None else definition.concurrency.limit,
        on_conflict=None if definition.concurrency is None else definition.concurrency.on_conflict,
        has_undo=any(step.undo is not None for step in definition.steps),
        created_by=str(actor),
    )
    calls = list(_calls(definition))
    names = {name for step in definition.steps for name in _called(step)}
    ids = _handler_ids(names | {call.handler for _, _, call in calls})
    insert_steps(
        store.connection(), (_row(tenant, version, step, ids) for step in definition.steps)
    )
    if calls:
        insert_calls(
            store.connection(),
            (
                CallRow(
                    version_id=version.pk,
                    ordinal=step.ordinal,
                    batch=batch,
                    tenant_id=tenant.pk,
                    handler_id=ids[call.handler],
                    queue=call.queue,
                    needs=[step.ordinal, *call.needs],
                )
                for step, batch, call in calls
            ),
        )


def _calls(definition: Definition) -> Iterator[tuple[Step, int, Call]]:
    """What the steps call besides their handlers, with its batch."""
    for step in definition.steps:
        if step.compensate is not None:
            yield step, COMPENSATION, step.compensate
        if step.undo is not None:
            yield step, UNDO, step.undo


def _called(step: Step) -> Iterator[str]:
    """The handlers that the step's rows call."""
    if step.handler is not None:
        yield step.handler
    if step.map is not None and isinstance(step.map.over, Call):
        yield step.map.over.handler


def _row(tenant: Tenant, version: WorkflowVersion, step: Step, ids: dict[str, int]) -> StepRow:
    return StepRow(
        version_id=version.pk,
        ordinal=step.ordinal,
        tenant_id=tenant.pk,
        name=step.name,
        handler_id=None if step.handler is None else ids[step.handler],
        queue=step.queue,
        rule=str(step.trigger_rule),
        parents=list(step.parents),
        children=list(step.children),
        needs=list(step.needs),
        needs_input=step.needs_input,
        control=step.condition is not None
        or step.cache is not None
        or step.map is not None
        or step.kind != "handler",
        max_attempts=step.retry.max_attempts,
        fallback=jsonvalue.encode(step.on_error_value) if step.has_on_error_value else None,
        batch_needs=list(step.batch_needs),
        batch_needs_input=step.batch_needs_input,
        pool=step.pool or "",
    )


def _handler_ids(names: Iterable[str]) -> dict[str, int]:
    """The handlers' numbers; those that no worker has registered yet get theirs now."""
    wanted = sorted(names)
    Handler.objects.bulk_create([Handler(name=name) for name in wanted], ignore_conflicts=True)
    return dict(Handler.objects.filter(name__in=wanted).values_list("name", "pk"))


@transaction.atomic
def archive_workflow(*, tenant: Tenant, name: str, actor: Actor) -> None:
    """Take no new runs of a workflow until it is published again; those in flight go on.

    Raises WorkflowNotFound."""
    workflow = access_workflow(tenant=tenant, name=name)
    changed = Workflow.objects.filter(pk=workflow.pk, archived_at__isnull=True).update(
        archived_at=Now()
    )
    if changed:
        record(tenant=tenant, actor=actor, action="workflow.archived", target=name)
