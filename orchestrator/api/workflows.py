"""Workflows: publish, read, archive."""

from __future__ import annotations

from django.http import HttpResponse
from ninja import Router

from orchestrator.api import documents
from orchestrator.api.answers import answer
from orchestrator.api.bodies import read_json
from orchestrator.api.doors import ApiRequest, door
from orchestrator.api.errors import finding
from orchestrator.api.queries import PAGING, Query
from orchestrator.api.schemas import (
    ListOf,
    Published,
    VersionDetail,
    VersionHead,
    WorkflowDetail,
    WorkflowHead,
)
from orchestrator.domain.errors import VersionNotFound
from orchestrator.selectors import workflows as selectors
from orchestrator.services.workflows import archive_workflow, publish_workflow

router = Router(tags=["workflows"])


@router.put(
    "/workflows/{name}",
    response={200: Published, 201: Published},
    summary="Publish a definition",
    openapi_extra=documents.route(
        400,
        413,
        422,
        parameters=(
            documents.parameter("dry_run", "Check everything, store nothing", kind="boolean"),
        ),
        body=documents.DEFINITION,
    ),
)
@door("workflows:write")
def publish(request: ApiRequest, name: str) -> HttpResponse:
    """201 with a new version; 200 where the newest one has the same content, or for a dry run."""
    query = Query(request, ("dry_run",))
    dry_run = query.flag("dry_run")
    query.done()
    made = publish_workflow(
        tenant=request.tenant,
        name=name,
        document=read_json(request),
        actor=request.actor,
        dry_run=dry_run,
    )
    published: dict[str, object] = {
        "name": made.name,
        "version": made.version,
        "checksum": made.checksum,
    }
    if made.warnings:
        published["warnings"] = [finding(problem) for problem in made.warnings]
    return answer(published, 201 if made.created and not dry_run else 200)


@router.get(
    "/workflows",
    response=ListOf[WorkflowHead],
    summary="List workflows",
    openapi_extra=documents.route(
        422,
        parameters=(
            documents.LIMIT,
            documents.CURSOR,
            documents.parameter("archived", "Archived ones too", kind="boolean"),
        ),
    ),
)
@door("workflows:read")
def list_workflows(request: ApiRequest) -> HttpResponse:
    """Workflows by name."""
    query = Query(request, (*PAGING, "archived"))
    limit, cursor, archived = query.limit(), query.cursor(), query.flag("archived")
    query.done()
    page = selectors.list_workflows(
        tenant=request.tenant, limit=limit, cursor=cursor, archived=archived
    )
    return answer(page.view())


@router.get(
    "/workflows/{name}",
    response=WorkflowDetail,
    summary="Read a workflow",
    openapi_extra=documents.route(404),
)
@door("workflows:read")
def get_workflow(request: ApiRequest, name: str) -> HttpResponse:
    """A workflow with its newest definition."""
    return answer(selectors.workflow_view(tenant=request.tenant, name=name))


@router.get(
    "/workflows/{name}/versions",
    response=ListOf[VersionHead],
    summary="List a workflow's versions",
    openapi_extra=documents.route(404, 422, parameters=(documents.LIMIT, documents.CURSOR)),
)
@door("workflows:read")
def list_versions(request: ApiRequest, name: str) -> HttpResponse:
    """Versions, newest first."""
    selectors.access_workflow(tenant=request.tenant, name=name)
    query = Query(request, PAGING)
    limit, cursor = query.limit(), query.cursor()
    query.done()
    page = selectors.list_versions(tenant=request.tenant, name=name, limit=limit, cursor=cursor)
    return answer(page.view())


@router.get(
    "/workflows/{name}/versions/{version}",
    response=VersionDetail,
    summary="Read a version",
    openapi_extra=documents.route(404),
)
@door("workflows:read")
def get_version(request: ApiRequest, name: str, version: str) -> HttpResponse:
    """A version with its definition."""
    if not (version.isascii() and version.isdigit() and len(version) < 10):
        selectors.access_workflow(tenant=request.tenant, name=name)
        raise VersionNotFound(workflow=name, version=version)
    found = selectors.version_view(tenant=request.tenant, name=name, version=int(version))
    return answer(found)


@router.delete(
    "/workflows/{name}",
    response={204: None},
    summary="Archive a workflow",
    openapi_extra=documents.route(404),
)
@door("workflows:write")
def archive(request: ApiRequest, name: str) -> HttpResponse:
    """No new runs until it is published again; those in flight go on."""
    archive_workflow(tenant=request.tenant, name=name, actor=request.actor)
    return HttpResponse(status=204)
