"""Every page's socket and every message of the channel layer, as a stranger and without a login; and
what a socket that is open can be made to show.

A new page, address or message fails here until it is in the tables."""

from __future__ import annotations

import asyncio
import inspect
from importlib import import_module
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from channels.layers import channel_layers, get_channel_layer
from channels.routing import URLRouter
from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY
from django.contrib.auth.models import AnonymousUser
from pytest_django import Settings

from dashboard.live import consumer
from dashboard.live.consumer import LiveConsumer
from dashboard.pages import PAGES
from dashboard.routing import websocket_urlpatterns
from orchestrator.broadcast import group, tell
from tenants.actors import SYSTEM
from tenants.models import Membership, Role, Tenant
from tenants.services import create_user
from tests.dashboard.sockets import Socket
from tests.walk.world import ABSENT, MARK, World, world

__all__ = ["world"]

pytestmark = pytest.mark.django_db(transaction=True)
Sessions = import_module(settings.SESSION_ENGINE).SessionStore

SOCKETS = {
    "overview": "overview",
    "runs": "runs",
    "run": "run/{run_id}",
    "workflows": "workflows",
    "workflow": "workflow/{name}",
    "dead_letters": "dead_letters",
    "schedules": "schedules",
    "schedule": "schedule/{name}",
    "slas": "slas",
    "sla": "sla/{name}",
    "triggers": "triggers",
    "trigger": "trigger/{name}",
    "pools": "pools",
    "usage": "usage",
    "members": "members",
    "member": "member/{name}",
    "api_keys": "api_keys",
    "api_key": "api_key/{key_id}",
    "secrets": "secrets",
    "secret": "secret/{name}",
    "audit": "audit",
    "alerts": "alerts",
    "alert": "alert/{alert_id}",
    "channels": "channels",
    "channel": "channel/{name}",
    "silences": "silences",
    "health": "health",
    "workers": "workers",
}
"""The pages with a socket, and its address below `/ws/t/<slug>/`."""
HANDLERS = {"connect", "disconnect", "receive", "changed"}
"""What the consumer answers to; `changed` alone comes over the channel layer."""


@pytest.fixture(autouse=True)
def in_memory_layer(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    channel_layers.backends.clear()
    monkeypatch.setattr(consumer, "ACCESS_S", 0.1)
    monkeypatch.setattr(consumer, "HEARTBEAT_S", 0.1)


def person(*tenants: Tenant) -> Any:
    """An admin of these tenants."""
    user: Any = create_user(name=f"p{uuid4().hex[:8]}", password="a-long-word-9", actor=SYSTEM)
    for tenant in tenants:
        Membership.objects.create(tenant=tenant, user=user, role=Role.ADMIN)
    return user


async def socket(path: str, user: Any) -> Socket:
    session = Sessions()
    if user.is_authenticated:
        session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    await sync_to_async(session.save)()
    return Socket(URLRouter(websocket_urlpatterns), path, user=user, session=session)


def test_every_page_address_and_message_is_in_the_tables() -> None:
    assert set(PAGES) == set(SOCKETS)
    assert len(websocket_urlpatterns) == 1 + sum("{" in path for path in SOCKETS.values())
    handlers = {
        name
        for name, value in vars(LiveConsumer).items()
        if inspect.iscoroutinefunction(value) and not name.startswith("_")
    }
    assert handlers == HANDLERS


async def test_strangers_and_the_signed_out_are_refused_at_every_socket(world: World) -> None:
    stranger = await sync_to_async(person)(world.stranger)
    for path in SOCKETS.values():
        place = path.format(**world.ids)
        for slug in (world.tenant.slug, ABSENT):
            refused = await (await socket(f"/ws/t/{slug}/{place}", stranger)).open()
            assert refused == 4404, place
        refused = await (await socket(f"/ws/t/{world.tenant.slug}/{place}", AnonymousUser())).open()
        assert refused == 4401, place


async def test_a_foreign_id_at_ones_own_socket_is_like_an_absent_one(world: World) -> None:
    stranger = await sync_to_async(person)(world.stranger)
    absent = {**world.ids, "name": ABSENT, "run_id": str(uuid4()), "key_id": ABSENT}
    for path in SOCKETS.values():
        if "{" not in path:
            continue
        for ids in (world.ids, absent):
            live = await socket(f"/ws/t/{world.stranger.slug}/{path.format(**ids)}", stranger)
            assert await live.open() is None
            assert await live.closed() == 4404, path


async def test_ones_own_sockets_show_nothing_of_others(world: World) -> None:
    stranger = await sync_to_async(person)(world.stranger)
    for name, path in SOCKETS.items():
        if "{" in path:
            continue
        place = f"/ws/t/{world.stranger.slug}/{path}?workflow={MARK}&q={MARK}&label=k:{MARK}"
        live = await socket(place, stranger)
        assert await live.open() is None
        text = await live.section(PAGES[name].sections[0])
        assert world.ids["run_id"] not in text
        assert f"/workflows/{MARK}" not in text
        await live.leave()


async def test_a_tenants_messages_reach_its_own_sockets_alone(world: World) -> None:
    stranger = await sync_to_async(person)(world.stranger)
    live = await socket(f"/ws/t/{world.stranger.slug}/runs", stranger)
    assert await live.open() is None
    await live.section("rows")
    layer: Any = get_channel_layer()
    assert set(layer.groups) == {group(world.stranger.pk)}
    await tell(world.tenant.pk, [], 1)
    async with asyncio.timeout(5):
        for _ in range(3):
            assert world.ids["run_id"] not in await live.text()
    await live.leave()


async def test_a_socket_stays_with_its_tenant_whatever_is_said_over_it(world: World) -> None:
    both = await sync_to_async(person)(world.tenant, world.stranger)
    live = await socket(f"/ws/t/{world.stranger.slug}/runs", both)
    assert await live.open() is None
    await live.section("rows")
    for said in (
        f'{{"slug": "{world.tenant.slug}"}}',
        f'{{"type": "changed", "tenant": {world.tenant.pk}}}',
        f"/ws/t/{world.tenant.slug}/runs",
    ):
        await live.say(said)
        await tell(world.stranger.pk, [], 1)
        assert world.ids["run_id"] not in await live.text()
    await live.leave()


async def test_a_socket_ends_when_its_person_loses_the_tenant_and_keeps_another(
    world: World,
) -> None:
    both = await sync_to_async(person)(world.tenant, world.stranger)
    live = await socket(f"/ws/t/{world.tenant.slug}/runs", both)
    assert await live.open() is None
    assert world.ids["run_id"] in await live.section("rows")
    await sync_to_async(Membership.objects.filter(tenant=world.tenant, user=both).delete)()
    assert await live.closed() == 4404


async def test_a_socket_ends_when_another_person_signs_in_with_its_browser(world: World) -> None:
    member = await sync_to_async(person)(world.tenant)
    live = await socket(f"/ws/t/{world.tenant.slug}/runs", member)
    assert await live.open() is None
    await live.section("rows")
    session = live.scope["session"]
    await sync_to_async(session.flush)()  # what a login as somebody else does to the old session
    assert await live.closed() == 4401
