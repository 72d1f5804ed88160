"""The tenant's own database: its schema here, or one elsewhere."""

from __future__ import annotations

from datetime import datetime

from django.http import HttpResponse
from ninja import Router, Schema

from orchestrator.api import documents
from orchestrator.api.answers import answer
from orchestrator.api.bodies import read_json
from orchestrator.api.doors import ApiRequest, door
from orchestrator.selectors.databases import database_view
from orchestrator.services.sessions import set_database
from tenants import services

router = Router(tags=["database"])

_ADDRESS: documents.Part = {
    "type": "object",
    "additionalProperties": False,
    "required": ["address"],
    "properties": {
        "address": {
            "type": "string",
            "writeOnly": True,
            "examples": ["postgresql://app:secret@db.example.com/shop?sslmode=verify-full"],
        }
    },
}


class Waits(Schema):
    """Steps to which PostgreSQL gave no connection at once, and the seconds that they waited."""

    count: int
    seconds: float
    last_at: datetime | None


class DatabaseView(Schema):
    """Where `ctx.connection()` and `core.sql` lead; `external` is null for the tenant's schema here."""

    schema_name: str
    external: str | None
    max_connections: int
    updated_at: datetime
    waits: Waits


@router.get(
    "/database",
    response=DatabaseView,
    summary="Read which database steps use",
    openapi_extra=documents.route(),
)
@door("admin")
def get_database(request: ApiRequest) -> HttpResponse:
    """The tenant's schema, or the address of a database elsewhere without its password."""
    return answer(database_view(tenant=request.tenant))


@router.put(
    "/database",
    response=DatabaseView,
    summary="Use a database elsewhere",
    openapi_extra=documents.route(400, 413, 422, 429, body=_ADDRESS),
)
@door("admin")
def put_database(request: ApiRequest) -> HttpResponse:
    """Let steps use a database elsewhere, which must answer now; the address is never shown again.
    It is waited for up to 10 s, one of a tenant at a time: 429 else."""
    set_database(tenant=request.tenant, body=read_json(request), actor=request.actor)
    return answer(database_view(tenant=request.tenant))


@router.delete(
    "/database",
    response={204: None},
    summary="Use the tenant's own schema again",
    openapi_extra=documents.route(),
)
@door("admin")
def delete_database(request: ApiRequest) -> HttpResponse:
    """Go back to the tenant's schema in the server's database, whether it was left or not."""
    services.clear_external_database(tenant=request.tenant, actor=request.actor)
    return HttpResponse(status=204)
