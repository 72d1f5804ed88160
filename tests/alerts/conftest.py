from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest

from orchestrator import store
from orchestrator.conf import conf
from orchestrator.models import Channel, Notification
from orchestrator.services import channels
from orchestrator.services.notifying import Notifier, route
from tenants.actors import COMMAND
from tenants.models import Tenant
from tenants.services import create_tenant
from tests.alerts.planted import Planted
from tests.alerts.receiving import Place, receiver

Make = Callable[..., Channel]


@pytest.fixture
def tenant(transactional_db: None) -> Tenant:
    return create_tenant(slug=f"t{uuid4().hex[:8]}", actor=COMMAND)


@pytest.fixture
def planted(tenant: Tenant) -> Planted:
    return Planted(tenant.pk)


@pytest.fixture
def private(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tenants' receivers may be on this machine."""
    monkeypatch.setenv("ORCHESTRATOR_HTTP_ALLOW_PRIVATE", "true")
    conf.cache_clear()
    yield
    monkeypatch.undo()
    conf.cache_clear()


@pytest.fixture
def place(private: None) -> Iterator[Place]:
    with receiver() as found:
        yield found


@dataclass
class Post:
    """The notifier, ticked by the test."""

    notifier: Notifier = field(default_factory=Notifier)

    def tick(self) -> int:
        """One tick of both duties."""
        return route(store.connection()) + self.notifier(store.connection())

    def until(self, true: Callable[[], object], within_s: float = 60) -> None:
        """Tick until something is so."""
        end = time.monotonic() + within_s
        while not true():
            assert time.monotonic() < end, list(Notification.objects.values())
            self.tick()
            time.sleep(0.01)

    def settle(self) -> None:
        """Tick until nothing is on its way and nothing is due."""
        self.tick()
        self.until(lambda: not self.notifier.on_way and not self.tick())


@pytest.fixture
def post() -> Post:
    return Post()


@pytest.fixture
def channel(tenant: Tenant) -> Make:
    """Make a channel of the tenant's, or of another owner's (None: the server)."""

    def make(url: str = "", *, owner: Any = tenant, name: str = "ops", **more: object) -> Channel:
        body = {"name": name, "kind": "webhook", "url": url, "group_wait": 0, **more}
        return channels.create_channel(tenant=owner, body=body, actor=COMMAND)[0]

    return make


def due_now() -> None:
    """Let what waits be due."""
    Notification.objects.filter(next_at__isnull=False).update(next_at="2026-01-01T00:00Z")


def states() -> list[str]:
    """What became of each message."""
    return sorted(f"{n} {s}" for n, s in Notification.objects.values_list("notice", "state"))
