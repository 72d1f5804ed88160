"""Secrets: their values come in and never go out."""

from __future__ import annotations

from django.http import HttpResponse
from ninja import Router

from orchestrator.api import documents
from orchestrator.api.answers import answer
from orchestrator.api.bodies import read_json
from orchestrator.api.doors import ApiRequest, door
from orchestrator.api.queries import PAGING, Query
from orchestrator.api.schemas import ListOf
from orchestrator.api.secret_shapes import NEW_SECRET, SECRET, SecretDetail, SecretView
from orchestrator.selectors import secrets as selectors
from orchestrator.services import secrets as services
from tenants.services import delete_secret

router = Router(tags=["secrets"])


@router.get(
    "/secrets",
    response=ListOf[SecretView],
    summary="List secrets",
    openapi_extra=documents.route(422, parameters=(documents.LIMIT, documents.CURSOR)),
)
@door("admin")
def get_secrets(request: ApiRequest) -> HttpResponse:
    """Secrets by name, without their values."""
    query = Query(request, PAGING)
    limit, cursor = query.limit(), query.cursor()
    query.done()
    page = selectors.list_secrets(tenant=request.tenant, limit=limit, cursor=cursor)
    return answer(page.view())


@router.post(
    "/secrets",
    response={201: SecretView},
    summary="Make a secret",
    openapi_extra=documents.route(400, 409, 413, 422, body=NEW_SECRET),
)
@door("admin")
def post_secret(request: ApiRequest) -> HttpResponse:
    """201; 409 where its name is taken."""
    row = services.create_secret(
        tenant=request.tenant, body=read_json(request), actor=request.actor
    )
    headers = {"Location": f"/api/v1/secrets/{row.name}"}
    return answer(selectors.secret_view(row), 201, headers=headers)


@router.get(
    "/secrets/{name}",
    response=SecretDetail,
    summary="Read a secret's history",
    openapi_extra=documents.route(404),
)
@door("admin")
def get_secret(request: ApiRequest, name: str) -> HttpResponse:
    """When it got its values and from whom, and its last use."""
    row = selectors.access_secret(tenant=request.tenant, name=name)
    return answer({**selectors.secret_view(row), "versions": selectors.history(row)})


@router.put(
    "/secrets/{name}",
    response={200: SecretView, 201: SecretView},
    summary="Make a secret or give it another value",
    openapi_extra=documents.route(400, 413, 422, body=SECRET),
)
@door("admin")
def put_secret(request: ApiRequest, name: str) -> HttpResponse:
    """201 where it is new, else 200; steps that start from now on get the value."""
    row, created = services.replace_secret(
        tenant=request.tenant, name=name, body=read_json(request), actor=request.actor
    )
    return answer(selectors.secret_view(row), 201 if created else 200)


@router.delete(
    "/secrets/{name}",
    response={204: None},
    summary="Delete a secret",
    openapi_extra=documents.route(404),
)
@door("admin")
def remove_secret(request: ApiRequest, name: str) -> HttpResponse:
    """Steps that name it fail from now on."""
    delete_secret(tenant=request.tenant, name=name, actor=request.actor)
    return HttpResponse(status=204)
