"""A tenant with a workflow, runs with planted times, and the clock's duties called by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import uuid_utils.compat as uuids
from django.utils import timezone

from orchestrator import store
from orchestrator.domain.observations import Observation
from orchestrator.models import Run, TenantLoad, Workflow, WorkflowVersion
from orchestrator.services import alerting, evaluating, predicting, sla_counting
from tenants.models import Tenant
from tests.api.client import Api
from tests.api.conftest import api, echo, engine, key_of, stranger, tenant

__all__ = ["api", "echo", "engine", "key_of", "stranger", "tenant"]


class Past:
    """Runs of the tenant's workflow that ended when the test says, with their events."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self.workflow = Workflow.objects.get(tenant=tenant, name="echo")
        self.version = WorkflowVersion.objects.get(workflow=self.workflow)

    def run(
        self,
        ended_at: datetime,
        took_s: float = 1.0,
        *,
        state: str = "succeeded",
        labels: dict[str, str] | None = None,
        waited_s: float = 0.0,
        workflow: Workflow | None = None,
    ) -> UUID:
        """A run that ended so, after so long, and had waited before; no events of its beginning."""
        started = ended_at - timedelta(seconds=took_s)
        made = Run.objects.create(
            id=uuids.uuid7(), tenant=self.tenant, workflow=workflow or self.workflow,
            version=self.version, state=state, priority=5, input="{}", labels=labels or {},
            timeout_ms=1000, fail_fast=False, step_count=1, open_count=0, started_at=started,
            created_at=started - timedelta(seconds=waited_s), finished_at=ended_at,
        )  # fmt: skip
        self.tell(ended_at, [(f"run.{state}", took_s, None)], made.pk)
        return made.pk

    def tell(
        self,
        at: datetime,
        events: Sequence[tuple[str, float | None, float | None]],
        run_id: UUID | None = None,
    ) -> None:
        """Events (type, seconds, readiness) with the tenant's next positions."""
        load, _ = TenantLoad.objects.get_or_create(tenant_id=self.tenant.pk)
        load.refresh_from_db()
        store.connection().execute(
            "INSERT INTO event (tenant_id, seq, at, type, run_id, ordinal, batch, value_s, lag_s)"
            " SELECT %s::int, %s::bigint + nr, %s::timestamptz, type, %s::uuid,"
            "        CASE WHEN type LIKE 'step.%%' THEN 0 END, CASE WHEN type LIKE 'step.%%' THEN 0 END,"
            "        value_s, lag_s"
            "   FROM unnest(%s::text[], %s::float8[], %s::float8[])"
            "        WITH ORDINALITY AS e (type, value_s, lag_s, nr)",
            (self.tenant.pk, load.seq, at, run_id, *map(list, zip(*events, strict=True))),
        )
        TenantLoad.objects.filter(tenant_id=self.tenant.pk).update(seq=load.seq + len(events))


def gathering(seen: list[Observation]) -> Callable[..., int]:
    """What stands for alerting, and keeps what it is given."""

    def observe(these: Sequence[Observation], **_: Any) -> int:
        seen.extend(these)
        return 0

    return observe


class Clock:
    """The duties, one after the other."""

    def __init__(self) -> None:
        self.evaluator = evaluating.Evaluator()

    def count(self) -> int:
        return sla_counting.count(store.connection())

    def look(self) -> dict[str, Observation]:
        """Count, predict, evaluate; what the rules saw, by name."""
        self.count()
        predicting.predict(store.connection())
        seen: list[Observation] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(alerting, "observe", gathering(seen))
            self.evaluator(store.connection())
        return {one.name: one for one in seen}


@pytest.fixture
def past(echo: str, tenant: Tenant) -> Past:
    return Past(tenant)


@pytest.fixture
def clock(db: None) -> Clock:
    return Clock()


@pytest.fixture
def now() -> datetime:
    return timezone.now()


@pytest.fixture
def make(api: Api) -> Callable[..., dict[str, Any]]:
    """Make a rule."""

    def made(name: str, kind: str, **more: Any) -> dict[str, Any]:
        answer = api.post("/slas", {"name": name, "kind": kind, **more})
        assert answer.status == 201, answer.text
        return dict(answer.body)

    return made
