"""A tenant, and a board of checks that begins empty."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from orchestrator import store
from orchestrator.models import Duty, Worker
from orchestrator.selectors import health
from tenants import keys, services
from tenants.actors import COMMAND
from tenants.models import Tenant


@pytest.fixture
def tenant(transactional_db: None) -> Iterator[Tenant]:
    keys.forget()
    health.refresh()
    yield services.create_tenant(slug="acme", actor=COMMAND)
    health.refresh()


@pytest.fixture
def working(tenant: Tenant) -> Tenant:
    """A clock and a worker that were seen just now."""
    from django.utils import timezone

    now = timezone.now()
    Duty.objects.create(name="reap", interval_ms=1000, ticked_at=now, tick_count=7)
    Duty.objects.create(name="reconcile", interval_ms=60_000, ticked_at=now, changed_count=2)
    Worker.objects.create(
        name="w1", host="here", pid=1, queues=["io", "cpu"], in_flight=3, refused_count=4
    )
    return tenant


@pytest.fixture
def look() -> Any:
    """The checks by name, looked at anew."""

    def anew() -> dict[str, health.Check]:
        health.refresh()
        return {check.name: check for check in health.checks()}

    return anew


@pytest.fixture
def clockwork(transactional_db: None) -> Iterator[store.Connection]:
    """A connection such as a duty of the clock has."""
    with store.connect(name="test clock") as connection:
        yield connection


@pytest.fixture
def gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No connection to the database can be made."""

    def refuse(**_: object) -> Any:
        return psycopg.connect("host=127.0.0.1 port=1 connect_timeout=1")

    for module in (health.board, health.looking):
        monkeypatch.setattr(module, "connect", refuse)
    health.refresh()
