"""What other limits would have done to the runs of the last week."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from orchestrator.models import Payload, Rollup, Run, Schedule, TenantLoad, Usage, WorkflowVersion
from orchestrator.selectors.impact import impact
from orchestrator.services.runs import submit_run
from orchestrator.services.workflows import publish_workflow
from tenants.actors import SYSTEM
from tenants.models import Tenant
from tenants.services import create_api_key, create_tenant

pytestmark = pytest.mark.django_db


@pytest.fixture
def tenant() -> Tenant:
    return create_tenant(slug="acme", actor=SYSTEM)


def busy(tenant: Tenant, days: float, submitted: int, **peaks: int) -> None:
    """Five minutes in which so many runs came and ended."""
    moment = int((timezone.now() - timedelta(days=days)).timestamp()) // 300 * 300
    at = datetime.fromtimestamp(moment, UTC)
    Rollup.objects.create(
        tenant_id=tenant.pk, workflow_id=0, width_s=300, at=at, submitted=submitted,
        runs_succeeded=submitted,
    )  # fmt: skip
    Usage.objects.create(tenant_id=tenant.pk, width_s=300, at=at, **peaks)


def judge(tenant: Tenant, **changes: Any) -> dict[str, tuple[int, int]]:
    return {
        one.limit.name: (one.waited, one.refused) for one in impact(tenant=tenant, changes=changes)
    }


def test_runs_that_would_have_waited_or_been_refused(tenant: Tenant) -> None:
    busy(tenant, 1, 100, peak_connections=8, peak_waiting_steps=50, storage_bytes=900)
    busy(tenant, 2, 10, peak_connections=3, peak_waiting_steps=5, storage_bytes=100)
    busy(tenant, 8, 1000, peak_connections=9, peak_waiting_steps=99, storage_bytes=999)
    assert judge(
        tenant,
        max_connections=5,
        weight=2.0,
        max_active_runs=30,
        max_waiting_steps=50,
        submissions_per_minute=10,
        max_storage_bytes=500,
    ) == {
        "max_connections": (100, 0),
        "weight": (0, 0),
        "max_active_runs": (0, 20),
        "max_waiting_steps": (0, 100),
        "submissions_per_minute": (0, 40),
        "max_storage_bytes": (0, 100),
    }
    assert judge(tenant, max_connections=10, max_active_runs=None) == {}  # as they are
    assert judge(tenant, max_connections=20) == {"max_connections": (0, 0)}


def test_what_is_active_now_was_active_before(tenant: Tenant) -> None:
    TenantLoad.objects.create(tenant_id=tenant.pk, active_runs=40)
    busy(tenant, 1, 10)
    assert judge(tenant, max_active_runs=30) == {"max_active_runs": (0, 10)}


def test_steps_payloads_and_counts(tenant: Tenant) -> None:
    steps = [{"name": name, "handler": "core.echo"} for name in "abc"]
    publish_workflow(tenant=tenant, name="three", document={"steps": steps}, actor=SYSTEM)
    made = submit_run(tenant=tenant, workflow="three", body={}, actor=SYSTEM)
    workflow_id = WorkflowVersion.objects.get().workflow_id
    Rollup.objects.create(
        tenant_id=tenant.pk, workflow_id=workflow_id, width_s=3600, at=timezone.now(), submitted=6
    )
    for size in (9000, 20_000, 30_000):
        Payload.objects.create(
            id=uuid4(), tenant_id=tenant.pk, run_id=made.run_id, size=size, data=b"x"
        )
    create_api_key(tenant=tenant, actor=SYSTEM)
    Schedule.objects.create(
        tenant=tenant, name="s", workflow_id=workflow_id, interval=timedelta(hours=1),
        anchor_at=timezone.now(), revision=1, jitter=timedelta(0),
    )  # fmt: skip
    old = timezone.now() - timedelta(days=9)
    Run.objects.update(state="succeeded", created_at=old, finished_at=old)
    found = {
        one.limit.name: one
        for one in impact(
            tenant=tenant,
            changes={
                "max_steps": 2,
                "max_payload_bytes": 10_000,
                "retention_days": 7,
                "max_schedules": 1,
                "max_api_keys": 1,
            },
        )
    }
    assert found["max_steps"].refused == 6
    assert found["max_steps"].note == "Too large: three."
    assert found["max_payload_bytes"].refused == 1
    assert found["retention_days"].note == "1 finished runs are older and will be deleted."
    assert found["max_schedules"].note == "There are 1; they stay, and new ones are refused."
    assert found["max_api_keys"].note == found["max_schedules"].note
    roomy = {"max_steps": 9, "retention_days": 30, "max_schedules": 9, "max_payload_bytes": 99_999}
    assert [one.note for one in impact(tenant=tenant, changes=roomy)] == ["", "", "", ""]
