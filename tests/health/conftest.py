"""A tenant, and a board of checks that begins empty."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.models import Duty, ServerLoad, Worker
from orchestrator.selectors import health
from tenants import keys, services
from tenants.actors import COMMAND
from tenants.models import Tenant


@pytest.fixture
def tenant(transactional_db: None) -> Iterator[Tenant]:
    ServerLoad.objects.all().delete()
    ServerLoad.objects.bulk_create(ServerLoad(slot=slot) for slot in range(-1, 16))
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
