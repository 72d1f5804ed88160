"""Workflows and their versions, always of a tenant."""

from __future__ import annotations

from django.db.models import F

from orchestrator.domain.errors import VersionNotFound, WorkflowNotFound
from orchestrator.models import Workflow, WorkflowVersion
from orchestrator.selectors.paging import (
    DEFAULT_LIMIT,
    Page,
    seal,
    seal_number,
    unseal,
    unseal_number,
)
from orchestrator.selectors.payloads import Payload
from tenants.models import Tenant

CURSOR = "workflows"
VERSIONS_CURSOR = "versions"


def access_workflow(*, tenant: Tenant, name: str) -> Workflow:
    """The tenant's workflow, archived or not.  Raises WorkflowNotFound."""
    found = Workflow.objects.filter(tenant=tenant, name=name).first() if "\0" not in name else None
    if found is None:
        raise WorkflowNotFound(workflow=name)
    return found


def access_version(*, tenant: Tenant, name: str, version: int | None = None) -> WorkflowVersion:
    """A version of the tenant's workflow, the newest unless given, with its workflow joined.

    Raises WorkflowNotFound, VersionNotFound."""
    workflow = access_workflow(tenant=tenant, name=name)
    number = workflow.newest if version is None else version
    found = WorkflowVersion.objects.filter(tenant=tenant, workflow=workflow, version=number).first()
    if found is None:
        raise VersionNotFound(workflow=name, version=number)
    found.workflow = workflow
    return found


def list_workflows(
    *,
    tenant: Tenant,
    limit: int = DEFAULT_LIMIT,
    cursor: str | None = None,
    archived: bool = False,
) -> Page:
    """The tenant's workflows by name, with their newest version; archived ones only when asked.

    Raises InvalidCursor."""
    rows = WorkflowVersion.objects.filter(
        tenant=tenant, workflow__tenant=tenant, version=F("workflow__newest")
    )
    if not archived:
        rows = rows.filter(workflow__archived_at__isnull=True)
    if cursor is not None:
        (after,) = unseal(CURSOR, cursor, 1)
        rows = rows.filter(workflow__name__gt=after)
    ordered = rows.select_related("workflow").defer("document").order_by("workflow__name")
    found = list(ordered[: limit + 1])
    more = len(found) > limit
    found = found[:limit]
    return Page(
        [_head(row) for row in found], seal(CURSOR, found[-1].workflow.name) if more else None
    )


def workflow_view(*, tenant: Tenant, name: str) -> dict[str, object]:
    """A workflow with its newest definition.  Raises WorkflowNotFound."""
    row = access_version(tenant=tenant, name=name)
    return {**_head(row), "definition": Payload(row.document)}


def version_view(*, tenant: Tenant, name: str, version: int) -> dict[str, object]:
    """A version with its definition.  Raises WorkflowNotFound, VersionNotFound."""
    row = access_version(tenant=tenant, name=name, version=version)
    return {**_version(row), "definition": Payload(row.document)}


def list_versions(
    *, tenant: Tenant, name: str, limit: int = DEFAULT_LIMIT, cursor: str | None = None
) -> Page:
    """A workflow's versions, newest first, without definitions.

    Raises WorkflowNotFound, InvalidCursor."""
    workflow = access_workflow(tenant=tenant, name=name)
    rows = WorkflowVersion.objects.filter(tenant=tenant, workflow=workflow)
    if cursor is not None:
        rows = rows.filter(version__lt=unseal_number(VERSIONS_CURSOR, cursor))
    ordered = rows.select_related("workflow").defer("document").order_by("-version")
    found = list(ordered[: limit + 1])
    more = len(found) > limit
    found = found[:limit]
    return Page(
        [_version(row) for row in found],
        seal_number(VERSIONS_CURSOR, found[-1].version) if more else None,
    )


def _head(row: WorkflowVersion) -> dict[str, object]:
    workflow = row.workflow
    return {
        "name": workflow.name,
        "version": row.version,
        "checksum": row.checksum,
        "steps": row.step_count,
        "created_at": workflow.created_at,
        "published_at": row.created_at,
        "paused_at": workflow.paused_at,
        "archived_at": workflow.archived_at,
    }


def _version(row: WorkflowVersion) -> dict[str, object]:
    return {
        "name": row.workflow.name,
        "version": row.version,
        "checksum": row.checksum,
        "steps": row.step_count,
        "created_at": row.created_at,
        "created_by": row.created_by,
    }
