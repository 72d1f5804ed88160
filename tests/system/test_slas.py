"""SLAs on a running system: a clock that counts, looks and foresees."""

from __future__ import annotations

from typing import Any

import pytest

from tests.system.running_system import TestTenant
from tests.system.shapes import call

pytestmark = [pytest.mark.system]


def status(tenant: TestTenant, name: str) -> dict[str, Any]:
    """An SLA with its status."""
    answer = tenant.http.get(f"/slas/{name}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_a_failure_and_a_run_that_hangs_are_seen_and_a_miss_is_foreseen(tenant: TestTenant) -> None:
    tenant.publish("fails", [call("a", "fail", args={"message": "no"})])
    tenant.publish(
        "waits",
        [{"name": "a", "handler": "core.echo"}, {"name": "b", "signal": "go", "depends_on": ["a"]}],
    )
    rules = {
        "succeed": {"kind": "success_ratio", "workflows": ["fails"]},
        "quick": {"kind": "run_duration", "workflows": ["waits"], "threshold": "1s"},
        "roomy": {"kind": "run_duration", "workflows": ["waits"], "threshold": "1h"},
    }
    for name, body in rules.items():
        assert tenant.http.put(f"/slas/{name}", json=body).status_code == 201
    tenant.run("fails")
    run_id = tenant.submit("waits")["id"]
    until = tenant.system.until
    until(lambda: status(tenant, "succeed")["status"]["state"] == "bad", within_s=60)
    until(lambda: status(tenant, "quick")["status"]["state"] == "bad", within_s=60)
    assert [one["run_id"] for one in status(tenant, "quick")["late"]] == [run_id]
    assert status(tenant, "roomy")["status"]["state"] == "good"
    # as if such runs usually took two hours
    tenant.system.sql(
        "INSERT INTO step_norm (workflow_id, tenant_id, step, p50_s, sample_count, measured_at)"
        " SELECT w.id, w.tenant_id, s.step, s.p50_s, 20, clock_timestamp() FROM workflow w"
        " CROSS JOIN (VALUES ('', NULL), ('b', 7200.0)) AS s (step, p50_s)"
        " WHERE w.tenant_id = %s AND w.name = 'waits'"
        " ON CONFLICT (workflow_id, step) DO UPDATE SET p50_s = excluded.p50_s,"
        "    sample_count = excluded.sample_count, measured_at = excluded.measured_at",
        tenant.id,
    )
    until(
        lambda: [one["run_id"] for one in status(tenant, "roomy")["predicted"]] == [run_id],
        within_s=60,
    )
    assert tenant.http.post(f"/runs/{run_id}/signals/go", json={"payload": 1}).status_code == 200
    until(lambda: not status(tenant, "roomy")["predicted"], within_s=60)
