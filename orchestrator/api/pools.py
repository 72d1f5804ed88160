"""Pools: named limits that steps share."""

from __future__ import annotations

from django.http import HttpResponse
from ninja import Router

from orchestrator.api import documents
from orchestrator.api.answers import answer
from orchestrator.api.bodies import read_json
from orchestrator.api.doors import ApiRequest, door
from orchestrator.api.pool_shapes import PoolView
from orchestrator.api.queries import PAGING, Query
from orchestrator.api.schemas import ListOf
from orchestrator.selectors.pools import access_pool, list_pools, pool_view
from orchestrator.services.pools import LARGEST_LIMIT, change_pool, create_pool, delete_pool

router = Router(tags=["pools"])

_LIMIT: documents.Part = {
    "type": "integer",
    "minimum": 0,
    "maximum": LARGEST_LIMIT,
    "description": "Steps that may run at once; 0 pauses",
}
_RATE: documents.Part = {
    "type": ["string", "null"],
    "examples": ["100/1m"],
    "description": "At most so many starts in any window of this length; null: no rate",
}
_NEW: documents.Part = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "limit"],
    "properties": {"name": {"type": "string"}, "limit": _LIMIT, "rate": _RATE},
}
_CHANGE: documents.Part = {**_NEW, "required": []}


@router.get(
    "/pools",
    response=ListOf[PoolView],
    summary="List pools",
    openapi_extra=documents.route(422, parameters=(documents.LIMIT, documents.CURSOR)),
)
@door("workflows:read")
def get_pools(request: ApiRequest) -> HttpResponse:
    """The tenant's pools, and the server's that none of them hides, by name."""
    query = Query(request, PAGING)
    limit, cursor = query.limit(), query.cursor()
    query.done()
    return answer(list_pools(tenant=request.tenant, limit=limit, cursor=cursor).view())


@router.post(
    "/pools",
    response={201: PoolView},
    summary="Make a pool",
    openapi_extra=documents.route(400, 409, 413, 422, body=_NEW),
)
@door("workflows:write")
def post_pool(request: ApiRequest) -> HttpResponse:
    """A pool of the tenant; it hides one of the server's of the same name from its steps."""
    pool = create_pool(tenant=request.tenant, body=read_json(request), actor=request.actor)
    return answer(
        pool_view(tenant=request.tenant, name=pool.name),
        201,
        headers={"Location": f"/api/v1/pools/{pool.name}"},
    )


@router.get(
    "/pools/{name}",
    response=PoolView,
    summary="Read a pool",
    openapi_extra=documents.route(404),
)
@door("workflows:read")
def get_pool(request: ApiRequest, name: str) -> HttpResponse:
    """A pool with its use: the tenant's, or the server's of this name."""
    return answer(pool_view(tenant=request.tenant, name=name))


@router.put(
    "/pools/{name}",
    response=PoolView,
    summary="Resize a pool",
    openapi_extra=documents.route(400, 404, 413, 422, body=_CHANGE),
)
@door("workflows:write")
def put_pool(request: ApiRequest, name: str) -> HttpResponse:
    """Set the limit, the rate, or both of a pool of the tenant; it acts at once."""
    access_pool(tenant=request.tenant, name=name)
    change_pool(tenant=request.tenant, name=name, body=read_json(request), actor=request.actor)
    return answer(pool_view(tenant=request.tenant, name=name))


@router.delete(
    "/pools/{name}",
    response={204: None},
    summary="Delete a pool",
    openapi_extra=documents.route(404, 409),
)
@door("workflows:write")
def remove_pool(request: ApiRequest, name: str) -> HttpResponse:
    """Delete a pool of the tenant that no step holds and no newest version names."""
    delete_pool(tenant=request.tenant, name=name, actor=request.actor)
    return HttpResponse(status=204)
