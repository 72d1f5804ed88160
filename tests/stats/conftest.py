"""A tenant with a workflow of one step, and the engine's own statements to work it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import pytest
import uuid_utils.compat as uuids
from django.db import transaction

from orchestrator import store
from orchestrator.models import (
    Handler,
    Run,
    TenantLoad,
    VersionStep,
    Worker,
    Workflow,
    WorkflowVersion,
)
from orchestrator.store.connect import Connection
from orchestrator.store.submit import NewRun, submit
from orchestrator.store.work import Claimed, Completion, Wanted, exchange
from tenants import services
from tenants.actors import COMMAND

Event = tuple[str, float | None]


class Shop:
    """A tenant with one workflow; runs go through the engine, or as events straight into the outbox."""

    def __init__(self, slug: str, engine: Connection, workflow: str = "squares") -> None:
        self.engine = engine
        self.tenant = services.create_tenant(slug=slug, actor=COMMAND)
        self.handler, _ = Handler.objects.get_or_create(name="demo.square", queue="io")
        self.worker = Worker.objects.create(
            name=f"w-{slug}", host="here", pid=1, queues=["io"], handler_ids=[self.handler.pk]
        )
        self.workflow = Workflow.objects.create(tenant=self.tenant, name=workflow, newest=1)
        self.version = self._version(self.workflow)

    def _version(self, workflow: Workflow) -> WorkflowVersion:
        version = WorkflowVersion.objects.create(
            tenant=self.tenant, workflow=workflow, version=1, checksum="x", document="{}",
            timeout_ms=3_600_000, step_count=1, leaves=[0],
        )  # fmt: skip
        VersionStep.objects.create(
            version=version, ordinal=0, tenant=self.tenant, name="square", handler_id=self.handler.pk,
            queue="io", rule="all_success", parents=[], children=[], needs=[], needs_input=False,
            control=False, max_attempts=1,
        )  # fmt: skip
        return version

    def submit(self, count: int = 1) -> list[UUID]:
        runs = [NewRun(id=uuids.uuid7(), version_id=self.version.pk) for _ in range(count)]
        submit(self.engine, tenant_id=self.tenant.pk, runs=runs, actor="test")
        return [run.id for run in runs]

    def claim(self, want: int = 100, *, alone: bool = False) -> Sequence[Claimed]:
        wanted = Wanted(
            queues=["io"], handlers=[self.handler.pk], costs=[0.01], want=want, want_cpu=0, alone=alone,
            outputs_bytes=1 << 20,
        )  # fmt: skip
        return exchange(self.engine, self.worker.pk, [], [], wanted)[1]

    def complete(
        self, claimed: Sequence[Claimed], outcome: str = "succeeded", **extra: str
    ) -> None:
        done = [Completion(claimed=one, outcome=outcome, seconds=0.1, **extra) for one in claimed]  # type: ignore[arg-type]
        exchange(self.engine, self.worker.pk, done, [], None)

    def run_row(self, at: datetime) -> UUID:
        """A finished run to hang events on."""
        run = Run.objects.create(
            id=uuids.uuid7(), tenant=self.tenant, workflow=self.workflow, version=self.version,
            state="succeeded", priority=5, input="{}", timeout_ms=1000, fail_fast=False, step_count=1,
            open_count=0, finished_at=at,
        )  # fmt: skip
        return run.pk

    def tell(self, at: datetime, events: Sequence[Event], run_id: UUID | None = None) -> None:
        """Write events of one moment as the engine does: under the mutex, with the next positions."""
        self.tell_all([(at, *event) for event in events], run_id)

    def tell_all(
        self, events: Sequence[tuple[datetime, str, float | None]], run_id: UUID | None = None
    ) -> None:
        """The same of many moments."""
        with transaction.atomic():
            TenantLoad.objects.get_or_create(tenant_id=self.tenant.pk)
            seq = TenantLoad.objects.select_for_update().get(tenant_id=self.tenant.pk).seq
            store.connection().execute(
                "INSERT INTO event (tenant_id, seq, at, type, run_id, value_s)"
                " SELECT %s, %s + nr, at, type, %s, value_s"
                " FROM unnest(%s::timestamptz[], %s::text[], %s::float8[])"
                " WITH ORDINALITY AS e (at, type, value_s, nr)",
                (
                    self.tenant.pk,
                    seq,
                    run_id,
                    [at for at, _, _ in events],
                    [type_ for _, type_, _ in events],
                    [value for _, _, value in events],
                ),
            )
            TenantLoad.objects.filter(tenant_id=self.tenant.pk).update(seq=seq + len(events))


@pytest.fixture
def open_shop(transactional_db: None) -> Iterator[Callable[[str], Shop]]:
    with store.connect(name="test") as engine:
        yield lambda slug: Shop(slug, engine)


@pytest.fixture
def shop(open_shop: Callable[[str], Shop]) -> Shop:
    return open_shop("acme")


@pytest.fixture
def noon() -> datetime:
    """A moment at the beginning of an hour, some hours ago."""
    now = datetime.now().astimezone()
    return now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=3)
