"""API keys: made, listed, rotated, ended."""

from __future__ import annotations

from django.http import HttpResponse
from ninja import Router

from orchestrator.api import documents
from orchestrator.api.answers import answer
from orchestrator.api.api_key_shapes import API_KEY, ROTATE, ApiKeySecret, ApiKeyView
from orchestrator.api.bodies import read_json
from orchestrator.api.doors import ApiRequest, door
from orchestrator.api.queries import PAGING, Query
from orchestrator.api.schemas import ListOf
from orchestrator.selectors import api_keys as selectors
from orchestrator.services import api_keys as services

router = Router(tags=["api keys"])
NO_STORE = {"Cache-Control": "no-store"}


@router.get(
    "/api-keys",
    response=ListOf[ApiKeyView],
    summary="List API keys",
    openapi_extra=documents.route(422, parameters=(documents.LIMIT, documents.CURSOR)),
)
@door("admin")
def get_api_keys(request: ApiRequest) -> HttpResponse:
    """Keys, newest first, those that have ended too."""
    query = Query(request, PAGING)
    limit, cursor = query.limit(), query.cursor()
    query.done()
    page = selectors.list_api_keys(tenant=request.tenant, limit=limit, cursor=cursor)
    return answer(page.view())


@router.post(
    "/api-keys",
    response={201: ApiKeySecret},
    summary="Make an API key",
    openapi_extra=documents.route(400, 413, 422, body=API_KEY, required=False),
)
@door("admin")
def create(request: ApiRequest) -> HttpResponse:
    """201 with the key itself, which is shown this once."""
    row, raw = services.create_api_key(
        tenant=request.tenant, body=read_json(request, default={}), actor=request.actor
    )
    headers = {**NO_STORE, "Location": f"/api/v1/api-keys/{row.prefix}"}
    shown = selectors.access_api_key(tenant=request.tenant, key_id=row.prefix)
    return answer({**selectors.api_key_view(shown), "key": raw}, 201, headers=headers)


@router.get(
    "/api-keys/{key_id}",
    response=ApiKeyView,
    summary="Read an API key",
    openapi_extra=documents.route(404),
)
@door("admin")
def get_api_key(request: ApiRequest, key_id: str) -> HttpResponse:
    """A key, without the key itself."""
    row = selectors.access_api_key(tenant=request.tenant, key_id=key_id)
    return answer(selectors.api_key_view(row))


@router.delete(
    "/api-keys/{key_id}",
    response={204: None},
    summary="End an API key",
    openapi_extra=documents.route(404),
)
@door("admin")
def revoke(request: ApiRequest, key_id: str) -> HttpResponse:
    """It is refused from now on, within a second by every process."""
    services.revoke_api_key(tenant=request.tenant, key_id=key_id, actor=request.actor)
    return HttpResponse(status=204)


@router.post(
    "/api-keys/{key_id}/rotate",
    response={201: ApiKeySecret},
    summary="Put a new API key in the place of another",
    openapi_extra=documents.route(400, 404, 409, 413, 422, 429, body=ROTATE, required=False),
)
@door("admin")
def rotate(request: ApiRequest, key_id: str) -> HttpResponse:
    """201 with the new key, shown this once; the one before still counts for `overlap`."""
    selectors.access_api_key(tenant=request.tenant, key_id=key_id)
    row, raw = services.rotate_api_key(
        tenant=request.tenant,
        key_id=key_id,
        body=read_json(request, default={}),
        actor=request.actor,
    )
    headers = {**NO_STORE, "Location": f"/api/v1/api-keys/{row.prefix}"}
    shown = selectors.access_api_key(tenant=request.tenant, key_id=row.prefix)
    return answer({**selectors.api_key_view(shown), "key": raw}, 201, headers=headers)
