"""What Prometheus reads, and who may."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from orchestrator import metrics
from orchestrator.conf import Conf
from orchestrator.models import Breaker, Pool, Rollup, RollupCursor, TenantLoad
from orchestrator.selectors import metrics as selector
from orchestrator.services.rollups import CENTROIDS
from tenants import services
from tenants.actors import COMMAND
from tenants.models import Tenant

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


@pytest.fixture
def counted(working: Tenant) -> Tenant:
    from fastdigest import TDigest

    TenantLoad.objects.create(tenant_id=working.pk, in_use=2, ready_count=3, seq=40)
    RollupCursor.objects.create(
        tenant_id=working.pk, seq=30, submitted=9, runs_succeeded=5, runs_failed=1, attempts=8,
        steps_succeeded=6, retries=2, losses=1, worker_s=1.5,
    )  # fmt: skip
    sketch = TDigest.from_values([1.0, 2.0, 3.0], max_centroids=CENTROIDS).to_bytes()
    Rollup.objects.create(
        tenant_id=working.pk, workflow_id=0, width_s=10, at=timezone.now() - timedelta(seconds=20),
        run_sketch=sketch,
    )  # fmt: skip
    Pool.objects.create(name="p", max_places=2, in_use=1)
    Pool.objects.create(tenant=working, name="p", max_places=2, in_use=1)
    Breaker.objects.create(
        tenant=working, host="example.org", state="open", retry_at=timezone.now()
    )
    return working


def test_every_metric_is_served(counted: Tenant, client: Client) -> None:
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
    assert samples["millrace_run_duration_seconds", (("quantile", "0.5"), *acme)] == 2.0
    assert samples["millrace_late_results_refused_total", ()] == 4
    assert samples["millrace_workers", (("state", "active"),)] == 1
    assert samples["millrace_steps_in_flight", ()] == 3
    for place in ("-", "acme"):
        key = (("pool", "p"), ("tenant", place))
        assert samples["millrace_pool_in_use", key] == 1
        assert samples["millrace_pool_limit", key] == 2
    assert samples["millrace_breakers_open", (("tenant", "acme"),)] == 1
    assert samples["millrace_slot_leaks_repaired_total", ()] == 2
    assert samples["millrace_server_connections_limit", ()] == 100
    assert samples["millrace_duty_ticks_total", (("duty", "reap"),)] == 7
    assert samples["millrace_health", (("check", "database"),)] == 0
    served = {name for name, _ in samples}
    quiet = {"millrace_queue_latency_seconds", "millrace_attempt_duration_seconds"}
    assert {metric.name for metric in metrics.ALL} - quiet <= served
    assert "django_http_requests_before_middlewares_total" in served


def test_tenants_beyond_the_busiest_are_one_label(
    counted: Tenant, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "TENANTS_AT_MOST", 1)
    for slug in ("beta", "gamma"):
        services.create_tenant(slug=slug, max_connections=7, actor=COMMAND)
    samples = scrape(client)
    labels = {dict(key)["tenant"] for name, key in samples if name == "millrace_connections_limit"}
    assert labels == {"acme", "other"}
    assert samples["millrace_connections_limit", (("tenant", "other"),)] == 14


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
