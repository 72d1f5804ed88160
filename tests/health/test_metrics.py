"""What Prometheus reads, and who may."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from orchestrator import metrics, store
from orchestrator.api import access
from orchestrator.conf import Conf
from orchestrator.models import (
    Breaker,
    CanaryRun,
    NotificationTotal,
    Pool,
    RollupCursor,
    SlaState,
    StepRun,
    TenantLoad,
    Usage,
    Worker,
)
from orchestrator.models.metrics import HISTOGRAM_BOUNDS_S
from orchestrator.selectors import metrics as selector
from orchestrator.services.slas import create_sla
from tenants import services
from tenants.actors import COMMAND
from tenants.models import Tenant
from tests.alerts.planted import Planted
from tests.stats.conftest import Shop

pytestmark = pytest.mark.urls("tests.health.urls")

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(client: Client, **headers: str) -> Samples:
    response = client.get("/metrics", headers=headers)
    assert response.status_code == 200
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(response.content.decode())
        for sample in family.samples
    }


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is busy with other tests is no database that does not answer."""
    monkeypatch.setattr(selector, "LIMIT_S", 60.0)


@pytest.fixture
def counted(working: Tenant) -> Tenant:
    TenantLoad.objects.create(tenant_id=working.pk, in_use=2, ready_count=3, active_runs=7, seq=40)
    RollupCursor.objects.create(
        tenant_id=working.pk, own=True, seq=30, submitted=9, runs_succeeded=5, runs_failed=1, attempts=8,
        steps_succeeded=6, retries=2, timeouts=3, runs_timed_out=1, losses=1, events=30, worker_s=1.5,
        run_histogram=[0] * 9 + [1, 3] + [4] * (len(HISTOGRAM_BOUNDS_S) - 10), run_sum_s=7.5,
    )  # fmt: skip
    minute = timezone.now().replace(second=0, microsecond=0) - timedelta(minutes=1)
    for at in (minute, minute + timedelta(minutes=1)):  # whichever is the last whole one
        Usage.objects.create(tenant_id=working.pk, width_s=60, at=at, entitled_s=60, received_s=30)
    Pool.objects.create(name="p", max_places=2, in_use=1)
    Pool.objects.create(tenant=working, name="p", max_places=2, in_use=1)
    Breaker.objects.create(
        tenant=working, host="example.org", state="open", retry_at=timezone.now()
    )
    CanaryRun.objects.create(run_id=uuid4(), outcome="ok", seconds=0.25, ended_at=timezone.now())
    Worker.objects.update(drain_at=timezone.now())
    Planted(None, "health:disk").bad()
    NotificationTotal.objects.create(kind="email", outcome="sent", count=4)
    body = {"name": "errors", "kind": "error_rate_ceiling", "threshold": 0.01}
    now, rule = timezone.now(), create_sla(tenant=working, body=body, actor=COMMAND)
    SlaState.objects.create(
        sla=rule, tenant_id=working.pk, at=now, changed_at=now, sight="good", late=2, budget=0.5
    )
    return working


def test_every_metric_is_served(counted: Tenant, client: Client) -> None:
    access._SECONDS.labels("GET", "/api/v1/runs", "200").observe(0.02)
    samples = scrape(client)
    acme = (("tenant", "acme"),)
    assert samples["millrace_up", ()] == 1
    assert samples["millrace_connections_in_use", acme] == 2
    assert samples["millrace_connections_limit", acme] == 10
    assert samples["millrace_ready_steps", acme] == 3
    assert samples["millrace_events_seq", acme] == 40
    assert samples["millrace_events_uncounted", ()] == 10
    assert samples["millrace_runs_submitted_total", acme] == 9
    assert samples["millrace_runs_total", (("outcome", "succeeded"), *acme)] == 5
    assert samples["millrace_runs_total", (("outcome", "failed"), *acme)] == 1
    assert samples["millrace_steps_total", (("outcome", "succeeded"), *acme)] == 6
    assert samples["millrace_attempts_total", acme] == 8
    assert samples["millrace_retries_total", acme] == 2
    assert samples["millrace_losses_total", acme] == 1
    assert samples["millrace_worker_seconds_total", acme] == 1.5
    for le, count in (("0.5", 0), ("1.0", 1), ("2.5", 3), ("+Inf", 4)):
        assert samples["millrace_run_duration_seconds_bucket", (("le", le), *acme)] == count
    assert samples["millrace_run_duration_seconds_count", acme] == 4
    assert samples["millrace_run_duration_seconds_sum", acme] == 7.5
    assert samples["millrace_queue_latency_seconds_count", acme] == 0
    assert samples["millrace_timeouts_total", acme] == 3
    assert samples["millrace_runs_timed_out_total", acme] == 1
    assert samples["millrace_events_total", acme] == 30
    assert samples["millrace_late_results_refused_total", ()] == 4
    assert samples["millrace_workers", (("state", "active"),)] == 1
    assert samples["millrace_steps_in_flight", ()] == 3
    for place in ("-", "acme"):
        key = (("pool", "p"), ("tenant", place))
        assert samples["millrace_pool_in_use", key] == 1
        assert samples["millrace_pool_limit", key] == 2
    assert samples["millrace_breakers_open", (("tenant", "acme"),)] == 1
    assert samples["millrace_active_runs", acme] == 7
    assert samples["millrace_entitled_share", acme] == 1
    assert samples["millrace_received_share", acme] == 1
    assert samples["millrace_fairness_jain", ()] == 1
    assert samples["millrace_slot_leaks_repaired_total", ()] == 2
    assert samples["millrace_server_connections_limit", ()] == 100
    assert samples["millrace_duty_ticks_total", (("duty", "reap"),)] == 7
    assert samples["millrace_duty_interval_seconds", (("duty", "reconcile"),)] == 60
    assert samples["millrace_health", (("check", "database"),)] == 0
    assert samples["millrace_canary_seconds", ()] == 0.25
    assert samples["millrace_sla_rules", (("state", "good"), *acme)] == 1
    assert samples["millrace_sla_late_runs", acme] == 2
    assert samples["millrace_canary_misses", ()] == 0
    assert samples["millrace_drained_workers", ()] == 1
    assert samples["millrace_database_bytes", ()] > 1_000_000
    firing = (("severity", "warning"), ("state", "firing"), ("tenant", "-"))
    assert samples["millrace_alerts", firing] == 1
    assert samples["millrace_notifications_total", (("kind", "email"), ("outcome", "sent"))] == 4
    served = {name for name, _ in samples}
    assert {name for metric in metrics.ALL for name in metric.samples} <= served
    assert "django_http_requests_before_middlewares_total" in served


def test_tenants_without_a_label_are_one(counted: Tenant, client: Client) -> None:
    for slug in ("beta", "gamma"):
        services.create_tenant(slug=slug, max_connections=7, actor=COMMAND)
    samples = scrape(client)
    labels = {dict(key)["tenant"] for name, key in samples if name == "millrace_connections_limit"}
    assert labels == {"acme", "other"}
    assert samples["millrace_connections_limit", (("tenant", "other"),)] == 14


def test_a_tenants_key_sees_its_own_values_and_the_servers(counted: Tenant, client: Client) -> None:
    beta = services.create_tenant(slug="beta", max_connections=7, actor=COMMAND)
    Pool.objects.create(tenant=beta, name="hush", max_places=5)
    RollupCursor.objects.create(tenant_id=beta.pk, seq=4, attempts=3)  # it has no label of its own
    RollupCursor.objects.create(tenant_id=0, attempts=3)

    def asked(tenant: Tenant) -> Samples:
        _, raw = services.create_api_key(tenant=tenant, scopes=["admin"], actor=COMMAND)
        return scrape(client, **{"Authorization": f"Bearer {raw}", "X-Forwarded-For": "192.0.2.1"})

    for tenant, attempts, pools, slas in (
        (beta, 3, {"hush"}, set()), (counted, 8, {"p"}, {"errors"})
    ):  # fmt: skip
        samples = asked(tenant)
        labels = [dict(key) for _, key in samples]
        mine = (("tenant", tenant.slug),)
        assert {one["tenant"] for one in labels if "tenant" in one} == {tenant.slug}
        assert {one["pool"] for one in labels if "pool" in one} == pools
        assert {one["sla"] for one in labels if "sla" in one} == slas
        assert samples["millrace_attempts_total", mine] == attempts
        assert samples["millrace_connections_limit", mine] == (7 if tenant is beta else 10)
        assert samples["millrace_workers", (("state", "active"),)] == 1
        assert ("process_start_time_seconds", ()) in samples
    staff = get_user_model().objects.create_user("sam", password="x", is_staff=True)
    client.force_login(staff)
    everybody = scrape(client, **{"X-Forwarded-For": "192.0.2.1"})
    slugs = {dict(key).get("tenant") for _, key in everybody}
    assert {"acme", "other", "-"} <= slugs


def test_who_waits_although_it_could_run(counted: Tenant, client: Client) -> None:
    shop = Shop("shop", store.connection())
    shop.submit(1)
    StepRun.objects.update(ready_at=timezone.now() - timedelta(seconds=90))
    waits = ("millrace_unclaimed_seconds", (("tenant", "other"),))
    assert scrape(client)[waits] >= 90
    TenantLoad.objects.filter(tenant_id=shop.tenant.pk).update(in_use=10)
    samples = scrape(client)
    assert samples[waits] == 0
    assert samples["millrace_oldest_ready_seconds", (("tenant", "other"),)] >= 90


def test_without_database_it_says_so(
    counted: Tenant, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> Any:
        import psycopg

        return psycopg.connect("host=127.0.0.1 port=1 connect_timeout=1")

    monkeypatch.setattr(selector, "connect", refuse)
    samples = scrape(client)
    assert samples["millrace_up", ()] == 0
    assert ("millrace_workers", (("state", "active"),)) not in samples


@pytest.mark.parametrize(
    ("address", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("::1", {}, 200),
        ("192.0.2.1", {}, 401),
        ("", {}, 401),
        ("127.0.0.1", {"X-Forwarded-For": "192.0.2.1"}, 401),
        ("127.0.0.1", {"Forwarded": "for=192.0.2.1"}, 401),
        ("192.0.2.1", {"Authorization": "Bearer {admin}"}, 200),
        ("192.0.2.1", {"Authorization": "Bearer {reader}"}, 403),
        ("192.0.2.1", {"Authorization": "Bearer the-token"}, 200),
        ("192.0.2.1", {"Authorization": "Bearer "}, 401),
        ("192.0.2.1", {"Authorization": "Bearer other"}, 401),
    ],
)
def test_who_may_read(
    working: Tenant,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    address: str,
    headers: dict[str, str],
    status: int,
) -> None:
    from orchestrator.api import health as views

    monkeypatch.setattr(views, "conf", lambda: Conf(metrics_token="the-token"))
    made = {
        "admin": services.create_api_key(tenant=working, scopes=["admin"], actor=COMMAND)[1],
        "reader": services.create_api_key(tenant=working, scopes=["runs:read"], actor=COMMAND)[1],
    }
    sent = {name: value.format(**made) for name, value in headers.items()}
    assert client.get("/metrics", REMOTE_ADDR=address, headers=sent).status_code == status


def test_every_metric_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    for metric in metrics.ALL:
        assert f"`{metric.name}`" in text, metric.name
