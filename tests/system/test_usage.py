"""On a running system: limits that are set for a time come back, and what is used is measured."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.system.flights import in_flight, spans
from tests.system.running_system import System, TestTenant
from tests.system.shapes import call
from tests.system.staff import Staff

pytestmark = pytest.mark.system
SOON = timedelta(seconds=1.5)


def limit(tenant: TestTenant) -> int:
    return int(tenant.http.get("/quota").json()["max_connections"])


def test_a_boost_acts_at_once_and_ends_by_itself(system: System) -> None:
    tenant = system.tenant(max_connections=2)
    tenant.publish("wide", [call(f"s{nr}", "sleep", args={"ms": 400}) for nr in range(60)])
    with Staff(system) as staff:
        run = tenant.submit("wide")["id"]
        staff.change(tenant, max_connections=8, until="2s", reason="a test")
    assert limit(tenant) == 8
    system.until(lambda: limit(tenant) == 2)
    changes = "SELECT kind, at, expires_at FROM quota_change WHERE tenant_id = %s"
    rows = {kind: (at, until) for kind, at, until in system.sql(changes, tenant.id)}
    due, ended = rows["override"][1], rows["expired"][0]
    assert due <= ended <= due + SOON
    assert tenant.wait(run)["state"] == "succeeded"
    found = spans(tenant)
    assert max(in_flight(found, start) for start, _ in found) == 8
    assert max(in_flight(found, start) for start, _ in found if start > ended + SOON) == 2


def test_usage_is_measured(system: System) -> None:
    tenant = system.tenant(max_connections=3)
    tenant.publish("wide", [call(f"s{nr}", "sleep", args={"ms": 1000}) for nr in range(9)])
    tenant.wait(tenant.submit("wide", {"text": "x" * 20_000})["id"])

    def measured() -> bool:
        seen = tenant.http.get("/usage").json()
        totals = seen["totals"]
        hours = seen["hours"][-2:]
        return bool(
            (totals["runs"], totals["steps"]) == (1, 9)
            and totals["worker_s"] >= 9
            and totals["requests"] >= 3
            and totals["bytes"] > 20_000
            and max(hour["peak_connections"] for hour in hours) == 3
            and max(hour["peak_active_runs"] for hour in hours) == 1
        )

    system.until(measured)
    system.until(lambda: tenant.http.get("/quota").json()["use"]["storage_bytes"] > 20_000)
    shares = (
        "SELECT sum(received_s), sum(entitled_s) FROM usage WHERE tenant_id = %s AND width_s = 3600"
    )

    def shared() -> bool:
        """What was sampled last is written a moment later."""
        ((received, entitled),) = system.sql(shares, tenant.id)
        return bool(received == pytest.approx(9, abs=3) and entitled >= received * 0.6)

    system.until(shared)
