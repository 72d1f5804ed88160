"""Each part's state, what is said about it, and who may see it."""

from __future__ import annotations

import socket
import time
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from orchestrator.embedded import paths
from orchestrator.models import Breaker, Duty, Worker
from orchestrator.selectors import health
from orchestrator.store import gauges
from tenants import services
from tenants.actors import COMMAND
from tenants.models import Tenant

pytestmark = pytest.mark.urls("tests.health.urls")
PASSWORD = "a long enough passphrase"


def test_live_needs_nothing(client: Client) -> None:
    response = client.get("/health/live")
    assert (response.status_code, response.json()) == (200, {"state": "ok"})
    assert "no-cache" in response["Cache-Control"]
    assert client.post("/health/live").status_code == 405


def test_ready_says_whether_requests_can_be_served(tenant: Tenant, client: Client) -> None:
    assert client.get("/health/ready").json() == {"state": "ok"}


def test_not_ready_without_database(
    tenant: Tenant, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> Any:
        import psycopg

        return psycopg.connect("host=127.0.0.1 port=1 connect_timeout=1")

    monkeypatch.setattr(health, "connect", refuse)
    response = client.get("/health/ready")
    assert response.status_code == 503
    assert response["Content-Type"] == "application/problem+json"
    assert response.json()["code"] == "not_ready"
    assert client.get("/health/live").status_code == 200


def test_a_part_that_hangs_is_down_within_the_limit(
    working: Tenant, look: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "LIMIT_S", 0.5)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        monkeypatch.setattr(paths, "channels_url", lambda: address)
        begun = time.monotonic()
        seen = look()
        assert time.monotonic() - begun < 1.5
    assert seen["channel_layer"].state is health.State.DOWN
    assert seen["channel_layer"].mend
    assert seen["database"].state is health.State.OK


def test_all_is_well(working: Tenant, look: Any) -> None:
    seen = look()
    assert list(seen) == [
        "database", "broker", "channel_layer", "clock", "workers", "backlog",
        "breakers", "disk",
    ]  # fmt: skip
    for name in ("database", "broker", "channel_layer", "clock", "workers", "backlog", "breakers"):
        assert seen[name].state is health.State.OK, seen[name]
        assert seen[name].mend == ""
    assert "cpu: 1, io: 1" in seen["workers"].detail
    assert "3 steps in flight" in seen["workers"].detail


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
    assert (check.state, check.detail) == (health.State.DEGRADED, "late: reap.")
    Duty.objects.filter(name="reap").update(ticked_at=timezone.now(), error="KeyError: x")
    assert look()["clock"].detail == "failing: reap (KeyError: x)."
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
    health.refresh()
    assert client.get("/health", headers={"Authorization": f"Bearer {raw}"}).status_code == 503
