"""Each part's state, what is said about it, and who may see it."""

from __future__ import annotations

import socket
import sys
import time
from datetime import timedelta
from typing import Any
from unittest.mock import Mock
from uuid import uuid4

import pytest
from django.conf import settings as django_settings
from django.db import OperationalError
from django.test import Client
from django.utils import timezone
from kombu.connection import Connection as Broker

from orchestrator import store
from orchestrator.embedded import paths
from orchestrator.models import Breaker, Duty, Notification, StepRun, TenantLoad, Worker
from orchestrator.selectors import health
from orchestrator.services.channels import create_channel
from orchestrator.store import clock, gauges
from orchestrator.store.connect import pool_use
from tenants import keys, services
from tenants.actors import COMMAND
from tenants.models import Quota, Tenant, TenantDatabase
from tests.stats.conftest import Shop

pytestmark = pytest.mark.urls("tests.health.urls")
PASSWORD = "a long enough passphrase"


def test_live_needs_nothing(client: Client) -> None:
    response = client.get("/health/live")
    assert (response.status_code, response.json()) == (200, {"state": "ok"})
    assert "no-cache" in response["Cache-Control"]
    assert client.post("/health/live").status_code == 405


def test_ready_says_whether_requests_can_be_served(tenant: Tenant, client: Client) -> None:
    assert client.get("/health/ready").json() == {"state": "ok"}


def test_not_ready_without_database(tenant: Tenant, client: Client, gone: None) -> None:
    response = client.get("/health/ready")
    assert response.status_code == 503
    assert response["Content-Type"] == "application/problem+json"
    assert response.json()["code"] == "not_ready"
    response = client.get("/health")
    assert response.status_code == 503
    assert response.json()["detail"] == "Nobody can be recognised. Down: database."
    assert client.get("/health/live").status_code == 200


def test_the_database_goes_while_a_key_is_looked_up(
    tenant: Tenant, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(keys, "authenticate", refuse)
    assert client.get("/health", headers={"Authorization": "Bearer mr_x"}).status_code == 503


def test_a_broken_tenant_never_makes_the_server_unready(
    working: Tenant, look: Any, client: Client
) -> None:
    TenantDatabase.objects.filter(tenant=working).update(
        external=b"no seal of ours", external_name="db.example:5432/gone"
    )
    Breaker.objects.create(
        tenant=working, host="example.org", state="open", failures=99, retry_at=timezone.now()
    )
    shop = Shop("broken", store.connection())
    shop.submit(3)
    StepRun.objects.update(parked="no_worker")
    TenantLoad.objects.update(ready_count=0)
    shop.tell(timezone.now(), [("run.failed", 1.0)] * 50)
    Quota.objects.update(max_active_runs=1)
    assert client.get("/health/ready").status_code == 200
    seen = look()
    worst = {name: one.state for name, one in seen.items() if one.state is not health.State.OK}
    assert set(worst) - {"disk"} == {"handlers"}
    assert worst["handlers"] is health.State.DEGRADED


def test_a_part_that_hangs_is_down_within_the_limit(
    working: Tenant, look: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health.looking, "LIMIT_S", 0.5)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        monkeypatch.setattr(paths, "channels_url", lambda: address)
        begun = time.monotonic()
        seen = look()
        assert time.monotonic() - begun < 4
    assert seen["channel_layer"].state is health.State.DOWN
    assert seen["channel_layer"].mend
    assert seen["database"].state is health.State.OK


def test_all_is_well(working: Tenant, look: Any) -> None:
    seen = look()
    assert list(seen) == [
        "database", "broker", "channel_layer", "clock", "workers", "handlers", "backlog", "events",
        "canary", "breakers", "disk",
    ]  # fmt: skip
    for name in set(seen) - {"disk"}:
        assert seen[name].state is health.State.OK, seen[name]
        assert seen[name].mend == ""
    assert "cpu: 1, io: 1" in seen["workers"].detail
    assert "3 steps in flight" in seen["workers"].detail


def test_a_database_that_is_slow_full_or_held_back(
    working: Tenant, look: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health.inside, "SLOW_DATABASE_S", -1.0)
    assert "load of the database's machine" in look()["database"].mend
    monkeypatch.undo()
    server = gauges.Server(
        oldest_snapshot_s=0, connections=95, max_connections=100, version="18.1 (x)"
    )
    monkeypatch.setattr(gauges, "server", lambda _: server)
    assert "max_connections" in look()["database"].mend
    server = gauges.Server(
        oldest_snapshot_s=400, connections=5, max_connections=100, version="18.1 (x)"
    )
    assert "manage.py doctor" in look()["database"].mend


def test_requests_that_queue_for_the_pool(
    working: Tenant, look: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pool_use() is None
    pool = Mock(get_stats=lambda: {"pool_size": 9, "pool_available": 2, "pool_max": 32, "requests_waiting": 7})  # fmt: skip
    wrapper = Mock(settings_dict={"OPTIONS": {"pool": True}}, pool=pool)
    with monkeypatch.context() as patched:
        patched.setattr(sys.modules[pool_use.__module__], "connections", {"default": wrapper})
        use = pool_use()
    monkeypatch.setattr(health.inside, "pool_use", lambda: use)
    check = look()["database"]
    assert "7 of 32 of this process's pool" in check.detail
    assert "start more web processes" in check.mend


def test_wake_ups_that_nobody_takes(
    working: Tenant, look: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health.outside, "depth", lambda _, queue: 20_000 if queue == "io" else 0)
    check = look()["broker"]
    assert check.state is health.State.DEGRADED
    assert "serve the queue io" in check.mend


def test_messages_of_a_queue_are_counted(working: Tenant) -> None:
    queue = f"q{uuid4().hex[:8]}"
    with Broker(django_settings.CELERY_BROKER_URL) as broker:
        assert health.outside.depth(broker, queue) == 0
        kept = broker.SimpleQueue(queue)
        kept.put("x")
        assert health.outside.depth(broker, queue) == 1
        kept.get().ack()
        kept.close()


def test_hosts_that_are_held_off_are_named_and_make_nobody_ill(working: Tenant, look: Any) -> None:
    Breaker.objects.create(
        tenant=working, host="example.org", state="open", failures=5, retry_at=timezone.now()
    )
    check = look()["breakers"]
    assert check.state is health.State.OK
    assert f"{working.slug}: 1" in check.detail
    assert "Pools page" in check.mend


def test_no_broker(working: Tenant, look: Any, settings: Any) -> None:
    settings.CELERY_BROKER_URL = "redis://127.0.0.1:1/0"
    check = look()["broker"]
    assert check.state is health.State.DOWN
    assert "Start the broker" in check.mend


def test_no_channel_layer(working: Tenant, look: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "channels_url", lambda: None)
    assert look()["channel_layer"].state is health.State.DEGRADED


def test_the_clock(working: Tenant, look: Any) -> None:
    Duty.objects.filter(name="reap").update(ticked_at=timezone.now() - timedelta(seconds=40))
    check = look()["clock"]
    assert (check.state, check.detail) == (health.State.DEGRADED, "late: reap by 39 s.")
    Duty.objects.filter(name="reap").update(ticked_at=timezone.now(), error="KeyError: x")
    assert look()["clock"].detail == "failing: reap (KeyError: x)."
    gone, other = timezone.now() - timedelta(hours=1), timezone.now() - timedelta(seconds=40)
    Duty.objects.filter(name="reap").update(ticked_at=timezone.now(), error="")
    Duty.objects.create(name="spans", interval_ms=1000, ticked_at=gone)
    Duty.objects.create(
        name="others", interval_ms=1000, ticked_at=other
    )  # another clock's, perhaps
    assert clock.forget_duties(store.connection(), ["reap", "reconcile"]) == 1
    assert look()["clock"].detail == "late: others by 39 s."
    Duty.objects.update(ticked_at=timezone.now() - timedelta(seconds=30), error="")
    assert look()["clock"].state is health.State.DOWN
    Duty.objects.all().delete()
    check = look()["clock"]
    assert (check.state, check.detail) == (health.State.DOWN, "It has never run.")


def test_the_workers(working: Tenant, look: Any) -> None:
    Worker.objects.update(state="draining")
    assert look()["workers"].detail == "All 1 are draining."
    Worker.objects.update(state="active", seen_at=timezone.now() - timedelta(seconds=60))
    check = look()["workers"]
    assert (check.state, check.detail) == (health.State.DOWN, "None is alive.")


def test_since_is_kept_while_the_state_is(working: Tenant, look: Any) -> None:
    first = look()["workers"].since
    assert look()["workers"].since == first
    Worker.objects.all().delete()
    assert look()["workers"].since > first


def test_many_readers_ask_once(working: Tenant, look: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = look()
    Worker.objects.all().delete()
    assert {check.name: check for check in health.checks()} == before


def test_backlog_tells_what_nobody_claims(
    working: Tenant, look: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def backlog(oldest_s: float, *, room: bool) -> None:
        row = gauges.Backlog(tenant_id=1, ready=5, room=room, oldest_s=oldest_s)
        monkeypatch.setattr(gauges, "backlog", lambda _: [row])

    backlog(500.0, room=False)
    assert look()["backlog"].state is health.State.OK
    backlog(6.0, room=True)
    assert look()["backlog"].state is health.State.DEGRADED
    backlog(61.0, room=True)
    assert look()["backlog"].state is health.State.DOWN


def test_notifications_that_are_late(working: Tenant, look: Any) -> None:
    body = {"name": "ops", "kind": "webhook", "url": "https://example.org/"}
    channel, _ = create_channel(tenant=working, body=body, actor=COMMAND)

    def owe(late_s: float) -> None:
        Notification.objects.create(
            tenant_id=working.pk, channel=channel, notice="firing", group_key=str(late_s),
            next_at=timezone.now() - timedelta(seconds=late_s),
        )  # fmt: skip

    assert "0 notifications due." in look()["events"].detail
    owe(-600)
    owe(5)
    check = look()["events"]
    assert (check.state, check.mend) == (health.State.OK, "")
    assert "1 notifications due, the oldest for " in check.detail
    owe(125)
    check = look()["events"]
    assert check.state is health.State.DEGRADED
    assert "2 notifications due, the oldest for " in check.detail
    assert "duty notify" in check.mend


def test_events_that_are_not_counted_for_long_and_late_notifications(
    working: Tenant, look: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gauges, "outbox", lambda _: gauges.Outbox(events=7, oldest_s=601.0))
    monkeypatch.setattr(gauges, "unsent", lambda _: (1, 121.0))
    check = look()["events"]
    assert check.state is health.State.DOWN
    assert "duty roll" in check.mend
    assert "duty notify" in check.mend


def test_health_needs_a_key_or_staff(working: Tenant, client: Client) -> None:
    assert client.get("/health").status_code == 401
    assert client.get("/health").json()["code"] == "invalid_key"
    user = services.create_user(name="ann", password=PASSWORD, tenant=working, actor=COMMAND)
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    assert client.get("/health").status_code == 401
    staff = services.create_user(name="sam", password=PASSWORD, staff=True, actor=COMMAND)
    client.force_login(staff, backend="django.contrib.auth.backends.ModelBackend")
    body = client.get("/health").json()
    assert body["state"] in ("ok", "degraded", "down")
    assert body["checks"][0]["detail"].startswith("PostgreSQL")


@pytest.mark.parametrize(("scope", "told"), [("admin", True), ("runs:read", False)])
def test_keys_see_states_and_admin_keys_see_why(
    working: Tenant, client: Client, scope: str, told: bool
) -> None:
    _, raw = services.create_api_key(tenant=working, scopes=[scope], actor=COMMAND)
    response = client.get("/health", headers={"Authorization": f"Bearer {raw}"})
    check = response.json()["checks"][0]
    assert check["name"] == "database"
    assert check["since"].endswith("Z")
    assert (check["detail"] is not None) is told
    Worker.objects.all().delete()
    rival = services.create_tenant(slug="rival", actor=COMMAND)
    Breaker.objects.create(tenant=rival, host="h", state="open", retry_at=timezone.now())
    health.refresh()
    response = client.get("/health", headers={"Authorization": f"Bearer {raw}"})
    assert response.status_code == 503
    assert "rival" not in response.content.decode()
