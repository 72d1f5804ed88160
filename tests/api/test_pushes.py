"""Pushes: writers' hints, and the clock's, which are said again when they could not be."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from channels.layers import channel_layers, get_channel_layer
from django.conf import settings as django_settings
from pytest_django import Settings

from orchestrator import broadcast
from orchestrator.broadcast import hint, hints
from orchestrator.clock.duties import Publisher
from orchestrator.models import ServerLoad
from orchestrator.store import connection
from tenants.models import Tenant
from tests.api.client import Api


class Layer:
    """A channel layer that fails when it is told to."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.away = False
        self.slow = False

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        if self.slow:
            await asyncio.Event().wait()
        if self.away:
            raise ConnectionError("gone")
        self.sent.append((group, message))


@pytest.fixture
def layer(monkeypatch: pytest.MonkeyPatch) -> Layer:
    made = Layer()
    monkeypatch.setattr(broadcast, "get_channel_layer", lambda: made)
    return made


@pytest.fixture
def publisher(layer: Layer) -> Iterator[Publisher]:
    made = Publisher()
    yield made
    made._runner.close()


@pytest.fixture(autouse=True)
def slots(db: None) -> None:
    ServerLoad.objects.bulk_create(
        [ServerLoad(slot=slot) for slot in range(-1, 16)], ignore_conflicts=True
    )


def submitted(api: Api) -> str:
    return str(api.post("/workflows/echo/runs", {"input": {"text": "x"}}).body["id"])


def test_the_clock_tells_what_changed_once(
    api: Api, echo: str, tenant: Tenant, layer: Layer, publisher: Publisher
) -> None:
    submitted(api)
    assert publisher(connection()) == 0, "what was before it began is nobody's news"
    run_id = submitted(api)
    layer.sent.clear()
    assert publisher(connection()) == 1
    changed = {"type": "changed", "tenant": tenant.pk, "runs": [run_id], "seq": 4}
    assert layer.sent == [(f"tenant.{tenant.pk}", changed)]
    assert publisher(connection()) == 0


def test_what_could_not_be_told_is_told_again(
    api: Api,
    echo: str,
    tenant: Tenant,
    layer: Layer,
    publisher: Publisher,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert publisher(connection()) == 0
    first = submitted(api)
    layer.away = True
    assert publisher(connection()) == 0
    second = submitted(api)
    layer.away, layer.slow = False, True
    monkeypatch.setattr(broadcast, "SEND_WITHIN_S", 0.01)
    assert publisher(connection()) == 0
    layer.slow = False
    layer.sent.clear()
    assert publisher(connection()) == 1
    ((_, message),) = layer.sent
    assert (set(message["runs"]), message["seq"]) == ({first, second}, 4)


def test_many_runs_are_not_named(layer: Layer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcast, "MANY", 0)
    assert asyncio.run(broadcast.tell(7, [], 1))
    assert asyncio.run(broadcast.tell(7, [uuid4()], 2))
    assert [message["runs"] for _, message in layer.sent] == [[], None]


async def test_a_hint_reaches_who_listens(servers: None) -> None:
    """Over the servers that tests have; in a process's own memory there is nobody else to tell."""
    channel_layers.backends.clear()
    backend = django_settings.CHANNEL_LAYERS["default"]["BACKEND"]
    assert str(backend).endswith("RedisPubSubChannelLayer")
    real = get_channel_layer()
    channel = await real.new_channel()
    await real.group_add(hints(7), channel)
    hint((7, 8))
    async with asyncio.timeout(30):
        assert await real.receive(channel) == {"type": "hint", "tenant": 7}
    hint(())
    hint((7,))
    async with asyncio.timeout(30):
        assert await real.receive(channel) == {"type": "hint", "tenant": 7}
    await real.group_discard(hints(7), channel)


def test_without_a_shared_layer_no_thread_is_begun(settings: Settings) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    channel_layers.backends.clear()
    before = threading.active_count()
    hint((7,))
    assert threading.active_count() == before


def test_hints_are_gathered_and_come_back_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    again = threading.Event()
    held = threading.Event()
    answers = iter([True, False])

    async def say(name: str, message: dict[str, Any]) -> bool:
        said.append(name)
        if len(said) == 1:
            held.wait(30)
        if len(said) == 3:
            again.set()
        return next(answers, True)

    monkeypatch.setattr(broadcast, "_say", say)
    monkeypatch.setattr(broadcast, "QUIET_S", 0.01)
    sender = broadcast._Sender()
    sender.put((1,))
    while not said:
        threading.Event().wait(0.001)
    for _ in range(100):
        sender.put((2,))
    held.set()
    while len(said) < 2:
        threading.Event().wait(0.001)
    sender.put((3,))
    assert again.wait(30)
    assert said == ["hints.1", "hints.2", "hints.3"]
