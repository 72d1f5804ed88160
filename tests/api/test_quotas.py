"""Quotas over HTTP: what is refused and in which order, limits with their use, and usage by hour."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from orchestrator.models import Rollup, Run, Schedule, Storage, TenantLoad, Usage
from orchestrator.selectors.usage import usage_window
from orchestrator.services.firing import Firing
from orchestrator.services.workflows import publish_workflow
from orchestrator.store import connection
from tenants import keys
from tenants.actors import SYSTEM
from tenants.models import Tenant
from tenants.services import set_quota, suspend
from tests.api.client import Answer, Api
from tests.engine import Engine

RUNS = "/workflows/echo/runs"


def quota(tenant: Tenant, **limits: Any) -> None:
    set_quota(tenant=tenant, actor=SYSTEM, **limits)
    keys.forget()


def facts(answer: Answer) -> tuple[object, ...]:
    """A refusal's status, code, quota, value and use; what may be tried again says when."""
    if answer.status == 429:
        assert int(answer.headers["Retry-After"]) == answer.body["retry_after"] >= 1
        assert f"{answer.body['value']}" in answer.body["detail"].replace(",", "")
    body = answer.body
    return answer.status, body["code"], body["quota"], body["value"], body["use"]


def test_active_runs(api: Api, echo: str, tenant: Tenant, engine: Engine) -> None:
    quota(tenant, max_active_runs=2)
    first = api.post(RUNS, {}, headers={"Idempotency-Key": "k"})
    assert first.status == 202
    assert api.post(RUNS).status == 202
    assert facts(api.post(RUNS)) == (429, "over_quota", "max_active_runs", 2, 2)
    again = api.post(RUNS, {}, headers={"Idempotency-Key": "k"})
    assert (again.status, again.body["id"]) == (200, first.body["id"])
    other = api.post(RUNS, {"input": 1}, headers={"Idempotency-Key": "k"})
    assert other.status == 422
    engine.run_all()
    assert api.post(RUNS).status == 202


def test_submissions_per_minute(api: Api, echo: str, tenant: Tenant) -> None:
    quota(tenant, submissions_per_minute=2)
    assert [api.post(RUNS).status for _ in range(3)] == [202, 202, 429]
    refused = api.post(RUNS)
    assert facts(refused) == (429, "over_quota", "submissions_per_minute", 2, 2)
    assert 25 <= int(refused.headers["Retry-After"]) <= 30
    assert Run.objects.count() == 2


def test_waiting_steps_and_storage(api: Api, echo: str, tenant: Tenant) -> None:
    quota(tenant, max_waiting_steps=1)
    assert [api.post(RUNS).status for _ in range(2)] == [202, 429]
    assert facts(api.post(RUNS)) == (429, "over_quota", "max_waiting_steps", 1, 1)
    quota(tenant, max_waiting_steps=None, max_storage_bytes=5000)
    Storage.objects.create(tenant_id=tenant.pk, bytes=6000)
    assert facts(api.post(RUNS)) == (429, "over_quota", "max_storage_bytes", 5000, 6000)


def test_what_is_too_large(api: Api, echo: str, tenant: Tenant) -> None:
    quota(tenant, max_payload_bytes=10_000)
    answer = api.post(RUNS, {"input": {"text": "x" * 20_000}})
    assert facts(answer) == (413, "too_large", "max_payload_bytes", 10_000, 20_011)
    declared = api.post(RUNS, {"input": {"text": "x" * 100_000}})
    assert facts(declared)[:4] == (413, "too_large", "max_payload_bytes", 10_000)
    (line,) = api.bulk({"workflow": "echo", "input": {"text": "x" * 100_000}})
    assert line["error"]["quota"] == "max_payload_bytes"
    steps = [{"name": name, "handler": "core.echo"} for name in "abc"]
    publish_workflow(tenant=tenant, name="three", document={"steps": steps}, actor=SYSTEM)
    quota(tenant, max_steps=2)
    answer = api.post("/workflows/three/runs")
    assert facts(answer) == (413, "too_large", "max_steps", 2, 3)
    assert api.put("/workflows/three", {"steps": steps}).status == 422


def test_a_small_limit_is_exact(api: Api, echo: str, tenant: Tenant) -> None:
    """Beneath what stays in its row, too; bytes count and not characters."""
    quota(tenant, max_payload_bytes=1024)
    fits = {"text": "x" * (1024 - len('{"text":""}'))}
    assert api.post(RUNS, {"input": fits}).status == 202
    more = {"text": fits["text"] + "x"}
    answer = api.post(RUNS, {"input": more})
    assert facts(answer) == (413, "too_large", "max_payload_bytes", 1024, 1025)
    wide = {"text": "€" * 400}
    answer = api.post(RUNS, {"input": wide})
    assert facts(answer) == (413, "too_large", "max_payload_bytes", 1024, 1211)
    lines = [{"workflow": "echo", "input": value} for value in (fits, more, wide)]
    answers = api.bulk(*lines)
    assert ["id" in answer for answer in answers] == [True, False, False]
    assert answers[1]["error"]["quota"] == "max_payload_bytes"


def test_lines_are_refused_one_by_one(api: Api, echo: str, tenant: Tenant) -> None:
    quota(tenant, max_active_runs=2)
    line = {"workflow": "echo", "input": {}}
    keyed = {**line, "idempotency_key": "k"}
    answers = api.bulk(keyed, b"{", line, line, {**line, "workflow": "none"})
    assert ["id" in answer for answer in answers] == [True, False, True, False, False]
    assert answers[3]["error"]["quota"] == "max_active_runs"
    assert answers[3]["error"]["status"] == 429
    (replay,) = api.bulk(keyed)
    assert replay["id"] == answers[0]["id"]


def test_the_quota_comes_last(api: Api, echo: str, tenant: Tenant) -> None:
    quota(tenant, max_active_runs=0)
    assert api.post("/workflows/none/runs").status == 404
    assert api.post(RUNS, raw=b"{").status == 400
    assert api.post(RUNS, {"inputs": 1}).status == 422
    assert api.delete("/workflows/echo").status == 204
    assert api.post(RUNS).status == 409
    suspend(tenant=tenant, reason="unpaid", actor=SYSTEM)
    keys.forget()
    assert api.post(RUNS).code == "tenant_suspended"


def test_schedules(api: Api, echo: str, tenant: Tenant) -> None:
    quota(tenant, max_schedules=1)
    body = {"name": "s", "workflow": "echo", "interval": "1h"}
    assert api.post("/schedules", body).status == 201
    more = {**body, "name": "t"}
    assert facts(api.post("/schedules", more)) == (429, "over_quota", "max_schedules", 1, 1)
    assert api.put("/schedules/t", more).status == 429
    assert api.put("/schedules/s", body).status == 200
    assert api.delete("/schedules/s").status == 204
    assert api.post("/schedules", more).status == 201


def test_a_schedules_time_over_the_quota_is_its_outcome(
    api: Api, echo: str, tenant: Tenant
) -> None:
    body = {"name": "s", "workflow": "echo", "interval": "1h"}
    assert api.post("/schedules", body).status == 201
    quota(tenant, max_active_runs=0)
    now = timezone.now()
    Schedule.objects.update(anchor_at=now - timedelta(hours=1), next_at=now, look_at=now)
    Firing()(connection())
    (fire,) = api.get("/schedules/s/fires").body["items"]
    assert (fire["outcome"], fire["reason"], fire["run_id"]) == ("failed", "over_quota", None)
    assert "max_active_runs" in fire["detail"]
    assert not Run.objects.exists()


def test_the_quota_with_its_use(api: Api, echo: str, tenant: Tenant, engine: Engine) -> None:
    quota(tenant, max_active_runs=5, reason="small")
    until = timezone.now() + timedelta(hours=1)
    quota(tenant, max_connections=50, until=until, reason="sale")
    quota(tenant, submissions_per_minute=10)
    for _ in range(3):
        api.post(RUNS)
    engine.claim(1)
    found = api.get("/quota").body
    assert (found["max_connections"], found["max_active_runs"], found["suspended"]) == (
        50,
        5,
        False,
    )
    assert found["max_storage_bytes"] is None
    assert found["use"] == {
        "connections": 1,
        "ready_steps": 2,
        "active_runs": 3,
        "waiting_steps": 2,
        "submissions": 3,
        "storage_bytes": 0,
        "schedules": 0,
        "api_keys": 1,
    }
    rows = {row["name"]: row for row in found["limits"]}
    assert (rows["max_connections"]["value"], rows["max_connections"]["base"]) == (50, 10)
    assert rows["max_connections"]["override"]["reason"] == "sale"
    assert rows["max_active_runs"]["override"] is None
    assert rows["max_steps"]["use"] == 1
    assert [(row["name"], row["kind"]) for row in found["changes"]] == [
        ("submissions_per_minute", "base"),
        ("max_connections", "override"),
        ("max_active_runs", "base"),
    ]
    TenantLoad.objects.update(submit_at=timezone.now() - timedelta(seconds=1))
    assert api.get("/quota").body["use"]["submissions"] == 0


def test_a_forecast(api: Api, tenant: Tenant) -> None:
    quota(tenant, max_storage_bytes=1000, max_active_runs=9)
    now = timezone.now().replace(minute=0, second=0, microsecond=0)
    for hours in range(1, 5):
        at = now - timedelta(hours=hours)
        Usage.objects.create(
            tenant_id=tenant.pk, width_s=3600, at=at, storage_bytes=500 - 100 * hours
        )
    Storage.objects.create(tenant_id=tenant.pk, bytes=500)
    rows = {row["name"]: row for row in api.get("/quota").body["limits"]}
    ends = datetime.fromisoformat(rows["max_storage_bytes"]["exhausted_at"])
    assert timedelta(hours=4) < ends - now < timedelta(hours=8)
    assert rows["max_active_runs"]["exhausted_at"] is None


def test_usage_by_hour(api: Api, tenant: Tenant, stranger: Api) -> None:
    now = timezone.now().replace(minute=0, second=0, microsecond=0)
    for hours, number in ((0, 1), (2, 10), (40, 100)):
        at = now - timedelta(hours=hours)
        Rollup.objects.create(
            tenant_id=tenant.pk, workflow_id=0, width_s=3600, at=at, submitted=number,
            attempts=number * 2, worker_s=number / 2,
        )  # fmt: skip
        Usage.objects.create(
            tenant_id=tenant.pk, width_s=3600, at=at, requests=number * 3, bytes=number * 4,
            peak_connections=number, storage_bytes=7,
        )  # fmt: skip
    seen = api.get("/usage").body
    assert (seen["window"], len(seen["hours"])) == ("24h", 25)
    assert seen["totals"] == {
        "runs": 11, "steps": 22, "worker_s": 5.5, "requests": 33, "bytes": 44,
    }  # fmt: skip
    last, hour = seen["hours"][-1], seen["hours"][-3]
    assert datetime.fromisoformat(last["at"]) == now.astimezone(UTC)
    assert (hour["runs"], hour["peak_connections"], hour["storage_bytes"]) == (10, 10, 7)
    assert seen["hours"][-2]["runs"] == 0
    assert len(seen["limits"]) == 11
    assert api.get("/usage?window=48h").body["totals"]["runs"] == 111
    assert stranger.get("/usage").body["totals"]["runs"] == 0


def test_every_hour_that_a_window_touches_counts(tenant: Tenant) -> None:
    nine = datetime(2026, 11, 20, 9, tzinfo=UTC)
    for hours in range(-1, 2):
        at = nine + timedelta(hours=hours)
        Usage.objects.create(tenant_id=tenant.pk, width_s=3600, at=at, requests=10 ** (hours + 1))
    for minutes, window_s, requests in (
        (65, 3600, [10, 100]), (65, 3900, [10, 100]), (65, 3901, [1, 10, 100]), (60, 3600, [10, 100]),
    ):  # fmt: skip
        now = nine + timedelta(minutes=minutes)
        seen = usage_window(tenant=tenant, window_s=window_s, now=now)
        assert [hour.used.requests for hour in seen.hours] == requests
        assert seen.since == nine + timedelta(hours=2 - len(requests))
        assert seen.totals.requests == sum(requests)


@pytest.mark.parametrize("window", ["soon", "59m", "32d", "0"])
def test_a_window_out_of_range(api: Api, window: str) -> None:
    assert api.get(f"/usage?window={window}").status == 422


def test_reading_needs_its_scope(tenant: Tenant, key_of: Callable[..., Api]) -> None:
    for path in ("/usage", "/quota"):
        assert key_of(tenant, "workflows:read").get(path).status == 403
