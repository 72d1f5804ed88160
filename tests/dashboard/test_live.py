"""The socket of a page: who may open it, what it sends, when it closes."""

from __future__ import annotations

import asyncio
import html
import re
from importlib import import_module
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async
from channels.layers import channel_layers
from channels.routing import URLRouter
from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY
from django.contrib.auth.models import AnonymousUser, User
from django.db import OperationalError
from pytest_django import Settings

from dashboard.live import consumer
from dashboard.live.page import Page
from dashboard.pages import PAGES
from dashboard.routing import websocket_urlpatterns
from orchestrator.broadcast import tell
from tenants.models import Membership, Session
from tests.dashboard.conftest import House
from tests.dashboard.sockets import Socket

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.thorough]
Sessions = import_module(settings.SESSION_ENGINE).SessionStore


@pytest.fixture(autouse=True)
def in_memory_layer(settings: Settings) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    channel_layers.backends.clear()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask for access often, so that a test need not wait for it."""
    monkeypatch.setattr(consumer, "ACCESS_S", 0.1)
    monkeypatch.setattr(consumer, "HEARTBEAT_S", 0.1)


def socket(path: str, user: Any = None) -> Socket:
    session = Sessions()
    if user is not None:
        session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    router = URLRouter(websocket_urlpatterns)
    return Socket(router, path, user=user or AnonymousUser(), session=session)


async def opened(house: House, path: str, role: str | None = "viewer") -> Socket:
    user = await sync_to_async(house.user)(role)
    live = await sync_to_async(socket)(path, user)
    assert await live.open() is None
    return live


@pytest.mark.parametrize(
    ("path", "role"),
    [
        ("/ws/t/mill/overview", None),
        ("/ws/t/other/overview", "viewer"),
        ("/ws/t/mill/nonsense", "viewer"),
        ("/ws/t/mill/run", "viewer"),
        ("/ws/t/mill/alert", "viewer"),
    ],
)
async def test_strangers_are_refused(house: House, path: str, role: str | None) -> None:
    user = await sync_to_async(house.user)(role)
    live = await sync_to_async(socket)(path, user)
    assert await live.open() == 4404


async def test_the_signed_out_are_refused(house: House) -> None:
    live = await sync_to_async(socket)("/ws/t/mill/overview")
    assert await live.open() == 4401


@pytest.mark.parametrize("page", ["overview", "runs", "workflows", "workflow/import"])
async def test_a_snapshot_comes_first(house: House, page: str) -> None:
    live = await opened(house, f"/ws/t/mill/{page}?window=15m")
    names = PAGES[page.partition("/")[0]].sections
    text = await live.section(names[0])
    assert all(f'id="section-{name}"' in text for name in names)
    await live.leave()


async def test_a_change_is_sent_and_only_what_changed(house: House) -> None:
    run_id: UUID = await sync_to_async(house.run)()
    live = await opened(house, f"/ws/t/mill/run/{run_id}")
    assert "is-queued" in await live.section("head")
    await sync_to_async(house.engine.claim)()
    await tell(house.tenant.pk, [run_id], 9)
    text = await live.section("head")
    assert "is-running" in text
    assert "section-banner" not in text
    await live.leave()


async def test_another_run_does_not_touch_a_run_page() -> None:
    page: Page = PAGES["run"]
    assert page.concerns({"run_id": "a"}, ["a", "b"])
    assert page.concerns({"run_id": "a"}, None)
    assert not page.concerns({"run_id": "a"}, ["b"])
    assert PAGES["overview"].concerns({}, ["b"])


async def test_a_heartbeat_comes_when_nothing_changes(house: House, quick: None) -> None:
    run_id: UUID = await sync_to_async(house.run)()
    live = await opened(house, f"/ws/t/mill/run/{run_id}?tab=data")
    await live.section("head")
    async with asyncio.timeout(5):
        while await live.text() != '{"heartbeat": true}':
            pass
    await live.leave()


async def test_who_is_no_member_any_more_is_closed_out(house: House, quick: None) -> None:
    live = await opened(house, "/ws/t/mill/runs")
    await live.section("rows")
    await sync_to_async(Membership.objects.all().delete)()
    assert await live.closed() == 4404


async def test_who_signs_out_is_closed_out(house: House, quick: None) -> None:
    live = await opened(house, "/ws/t/mill/runs")
    await live.section("rows")
    await sync_to_async(live.scope["session"].flush)()
    assert await live.closed() == 4401


async def test_who_signs_out_is_closed_out_in_time(house: House) -> None:
    """Whenever it is: here right after access was asked for, with no change to wake the page."""
    live = await opened(house, "/ws/t/mill/runs")
    await live.section("rows")
    await sync_to_async(live.scope["session"].flush)()
    async with asyncio.timeout(consumer.ACCESS_S + 1):  # a second for a busy machine
        assert await live.closed() == 4401


async def test_a_database_that_is_away_closes_nobody_out(
    house: House, quick: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    live = await opened(house, "/ws/t/mill/runs")
    await live.section("rows")
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()

    def away(*_: object) -> Any:
        loop.call_soon_threadsafe(asked.set)
        raise OperationalError("away")

    with monkeypatch.context() as patched:
        patched.setattr(consumer, "authorise", away)
        async with asyncio.timeout(5):
            await asked.wait()
        assert "heartbeat" in await live.text()
    await sync_to_async(live.scope["session"].flush)()
    assert await live.closed() == 4401
    assert "access to runs not checked: away" in caplog.text


async def test_who_has_a_new_password_is_closed_out(house: House, quick: None) -> None:
    live = await opened(house, "/ws/t/mill/runs")
    await live.section("rows")
    user = await sync_to_async(User.objects.get)()
    await sync_to_async(user.set_password)("another long passphrase")
    await sync_to_async(user.save)()
    assert await live.closed() == 4401


async def test_whose_session_was_ended_is_closed_out(house: House, quick: None) -> None:
    live = await opened(house, "/ws/t/mill/runs")
    await live.section("rows")
    await sync_to_async(Session.objects.all().delete)()
    assert await live.closed() == 4401


async def test_pages_of_admins_close_when_somebody_is_none_any_more(
    house: House, quick: None
) -> None:
    live = await opened(house, "/ws/t/mill/members", "admin")
    await live.section("rows")
    await sync_to_async(Membership.objects.update)(role="viewer")
    assert await live.closed() == 4404
    for page in ("members", "api_keys", "member/admin"):
        user = await sync_to_async(User.objects.get)()
        refused = await sync_to_async(socket)(f"/ws/t/mill/{page}", user)
        assert await refused.open() == 4404


async def test_a_foreign_run_closes_the_socket(house: House) -> None:
    live = await opened(house, "/ws/t/mill/run/01a1fc6c-9ead-7127-af4c-71f35e8c8db8")
    assert await live.closed() == 4404


async def test_changes_are_coalesced(house: House) -> None:
    live = await opened(house, "/ws/t/mill/runs")
    await live.section("rows")
    for nr in range(20):
        await tell(house.tenant.pk, [], nr)
    assert await live.silence(0.2)
    await live.leave()


async def test_a_later_page_of_runs_is_pushed_too(house: House) -> None:
    for _ in range(52):
        await sync_to_async(house.run)()
    client = await sync_to_async(house.client)("operator")
    answer = await sync_to_async(client.get)("/t/mill/runs/?state=queued")
    href = re.search(r'rel="next" href="(\?[^"]+)"', answer.content.decode())
    assert href is not None
    query = html.unescape(href[1])
    live = await opened(house, f"/ws/t/mill/runs{query}")
    text = await live.section("rows")
    assert 'href="?state=queued">Newest' in text
    assert text.count("data-run=") == 2
    await live.leave()
