"""Who takes the mutexes of several tenants takes them in the order of their ids, whatever it does."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from orchestrator import store
from orchestrator.models import Run, StepRun
from orchestrator.services.runs import cancel_run
from orchestrator.store import Connection, clock, connect
from tenants.actors import SYSTEM
from tenants.services import create_tenant
from tests.store.waiting import Waiting

BLOCKED = (
    "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE %s AND wait_event_type = 'Lock'"
)
LOCK = "SELECT 1 FROM tenant_load WHERE tenant_id = %s FOR NO KEY UPDATE"


@pytest.fixture
def engines(transactional_db: None) -> tuple[Waiting, Waiting]:
    """Two tenants, that of the lower id first."""
    one, two = (Waiting(create_tenant(slug=slug, actor=SYSTEM)) for slug in ("one", "two"))
    assert one.tenant.pk < two.tenant.pk
    return one, two


def holds_nothing_higher(
    engines: tuple[Waiting, Waiting], duty: Callable[[Connection], object]
) -> None:
    """The duty waits for the lower tenant's mutex; the higher one's is free meanwhile."""
    one, two = engines

    def work() -> object:
        with connect(name="duty") as connection:
            return duty(connection)

    with ThreadPoolExecutor(1) as threads, connect(name="holder") as holder:
        with holder.transaction():
            holder.execute(LOCK, (one.tenant.pk,))
            done = threads.submit(work)
            with connect(name="watcher") as watcher:
                until_blocked(watcher)
            holder.execute(f"{LOCK} NOWAIT", (two.tenant.pk,))
        done.result(30)


def until_blocked(watcher: Connection) -> None:
    """Wait until the duty waits for a lock."""
    end = time.monotonic() + 30
    while not watcher.execute(BLOCKED, ("%duty",)).fetchone():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_steps_are_set_aside_and_taken_back(engines: tuple[Waiting, Waiting]) -> None:
    one, two = engines
    step = {"name": "a", "handler": "core.echo"}
    one.publish("w", {**step, "queue": "here"})
    two.publish("w", {**step, "queue": "there"})
    one.submit("w")
    assert clock.unserved(store.connection(), lease_s=15) == []
    one.join("here")
    two.submit("w")
    holds_nothing_higher(engines, lambda connection: clock.unserved(connection, lease_s=15))
    parked = StepRun.objects.order_by("tenant_id").values_list("parked", flat=True)
    assert list(parked) == [None, "no_worker"]


def test_runs_expire_and_are_cut_off(engines: tuple[Waiting, Waiting]) -> None:
    one, two = engines
    step = {"name": "a", "handler": "core.echo", "trigger_rule": "always"}
    for engine in engines:
        engine.publish("w", step)
    closing, late = one.submit("w"), two.submit("w", deadline="1h")
    cancel_run(tenant=one.tenant, run_id=closing.pk, actor=SYSTEM)
    Run.objects.filter(pk=closing.pk).update(closing_at="2020-01-01T00:00Z")
    Run.objects.filter(pk=late.pk).update(expires_at="2020-01-01T00:00Z")
    holds_nothing_higher(engines, clock.expire)
    closing.refresh_from_db()
    late.refresh_from_db()
    assert (closing.state, late.closing) == ("cancelled", "timeout")
