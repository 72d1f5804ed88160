"""Channels: made, edited, tried, and what became of their messages."""

from __future__ import annotations

from django.http import HttpResponse
from ninja import Router

from orchestrator.api import documents
from orchestrator.api.alert_shapes import CHANNEL, ChannelSecret, ChannelView, NotificationView
from orchestrator.api.answers import answer
from orchestrator.api.bodies import read_json
from orchestrator.api.doors import ApiRequest, door
from orchestrator.api.queries import PAGING, Query
from orchestrator.api.schemas import ListOf
from orchestrator.selectors import channels as selectors
from orchestrator.services import channels as services

router = Router(tags=["alerts"])
NO_STORE = {"Cache-Control": "no-store"}


@router.get(
    "/channels",
    response=ListOf[ChannelView],
    summary="List channels",
    openapi_extra=documents.route(422, parameters=(documents.LIMIT, documents.CURSOR)),
)
@door("runs:read")
def get_channels(request: ApiRequest) -> HttpResponse:
    """Channels by name."""
    query = Query(request, PAGING)
    limit, cursor = query.limit(), query.cursor()
    query.done()
    page = selectors.list_channels(tenant=request.tenant, limit=limit, cursor=cursor)
    return answer(page.view())


@router.post(
    "/channels",
    response={201: ChannelSecret},
    summary="Make a channel",
    openapi_extra=documents.route(400, 409, 413, 422, 429, body=CHANNEL),
)
@door("alerts:write")
def create_channel(request: ApiRequest) -> HttpResponse:
    """201 with the channel and, of a webhook, its secret, which is shown this once."""
    row, secret = services.create_channel(
        tenant=request.tenant, body=read_json(request), actor=request.actor
    )
    headers = {**NO_STORE, "Location": f"/api/v1/channels/{row.name}"}
    return answer({**selectors.channel_view(row), "secret": secret}, 201, headers=headers)


@router.get(
    "/channels/{name}",
    response=ChannelView,
    summary="Read a channel",
    openapi_extra=documents.route(404),
)
@door("runs:read")
def get_channel(request: ApiRequest, name: str) -> HttpResponse:
    """A channel, without what is secret in its address."""
    return answer(
        selectors.channel_view(selectors.access_channel(tenant=request.tenant, name=name))
    )


@router.put(
    "/channels/{name}",
    response={200: ChannelSecret, 201: ChannelSecret},
    summary="Make or replace a channel",
    openapi_extra=documents.route(400, 413, 422, 429, body=CHANNEL),
)
@door("alerts:write")
def replace_channel(request: ApiRequest, name: str) -> HttpResponse:
    """201 where it is new; 200 else: it keeps its secret, and its address where none is given."""
    known = selectors.has_channel(tenant=request.tenant, name=name)
    row, secret = services.replace_channel(
        tenant=request.tenant, name=name, body=read_json(request), actor=request.actor
    )
    shown = {**selectors.channel_view(row), "secret": secret}
    return answer(shown, 200 if known else 201, headers=NO_STORE)


@router.delete(
    "/channels/{name}",
    response={204: None},
    summary="Delete a channel",
    openapi_extra=documents.route(404),
)
@door("alerts:write")
def delete_channel(request: ApiRequest, name: str) -> HttpResponse:
    """What was to be told there is told no more."""
    services.delete_channel(tenant=request.tenant, name=name, actor=request.actor)
    return HttpResponse(status=204)


@router.post(
    "/channels/{name}/test",
    response={202: NotificationView},
    summary="Try a channel",
    openapi_extra=documents.route(404, 429),
)
@door("alerts:write")
def test_channel(request: ApiRequest, name: str) -> HttpResponse:
    """A message that says that it is a test, tried once; what became of it: `…/notifications`."""
    row = services.test_channel(tenant=request.tenant, name=name, actor=request.actor)
    return answer(selectors.notification_view(row), 202)


@router.post(
    "/channels/{name}/rotate",
    response=ChannelSecret,
    summary="Give a webhook a new secret",
    openapi_extra=documents.route(404, 422),
)
@door("alerts:write")
def rotate_channel(request: ApiRequest, name: str) -> HttpResponse:
    """The new secret, shown this once; the one before signs nothing more."""
    row, secret = services.rotate_channel(tenant=request.tenant, name=name, actor=request.actor)
    return answer({**selectors.channel_view(row), "secret": secret}, headers=NO_STORE)


@router.get(
    "/channels/{name}/notifications",
    response=ListOf[NotificationView],
    summary="List a channel's messages",
    openapi_extra=documents.route(404, 422, parameters=(documents.LIMIT, documents.CURSOR)),
)
@door("runs:read")
def get_notifications(request: ApiRequest, name: str) -> HttpResponse:
    """Messages, newest first, with what the receiver said."""
    row = selectors.access_channel(tenant=request.tenant, name=name)
    query = Query(request, PAGING)
    limit, cursor = query.limit(), query.cursor()
    query.done()
    return answer(selectors.notifications_page(row=row, limit=limit, cursor=cursor).view())
