"""Runs moved on in this process, with what Python decides of waits, and the clock's ticks."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import connection as django_connection

from orchestrator import store
from orchestrator.executor import control
from orchestrator.executor.plans import Plans
from orchestrator.executor.waits import Means
from orchestrator.handlers import registry
from orchestrator.models import Run, StepRun
from orchestrator.services.runs import submit_run
from orchestrator.services.signals import send_signal
from orchestrator.services.workflows import publish_workflow
from orchestrator.store import clock, work
from orchestrator.store.work import Claimed
from tenants.actors import SYSTEM
from tenants.models import Tenant
from tests.engine import Engine


class Waiting(Engine):
    """An engine of one tenant that decides control work as workers do."""

    def __init__(self, tenant: Tenant) -> None:
        super().__init__()
        self.tenant = tenant
        self.plans = Plans(registry)
        self.means = Means(store.connection, self.plans, 1_000_000)

    def publish(self, name: str, *steps: dict[str, Any], **more: Any) -> None:
        """Publish a workflow of these steps."""
        document = {"steps": list(steps), **more}
        publish_workflow(tenant=self.tenant, name=name, document=document, actor=SYSTEM)

    def submit(self, name: str, value: object = None, **more: Any) -> Run:
        """Submit a run."""
        body = {"input": {} if value is None else value, **more}
        made = submit_run(tenant=self.tenant, workflow=name, body=body, actor=SYSTEM)
        return Run.objects.get(pk=made.run_id)

    def turn(self) -> list[Claimed]:
        """Decide what there is to decide, until nothing is left of that; the steps to run."""
        steps: list[Claimed] = []
        while claims := self.claim():
            asked = [claim for claim in claims if claim.kind != "step"]
            steps += [claim for claim in claims if claim.kind == "step"]
            self.settle(asked)
            if not asked:
                break
        return steps

    def run_all(self, output: object = None) -> None:
        """Decide, claim and succeed until nothing is left."""
        while claims := self.turn():
            self.succeed(claims, output)

    def settle(self, asked: list[Claimed]) -> None:
        """Decide these and write it."""
        assert self.worker is not None
        connection = store.connection()
        self.plans.need(connection, [claim.version_id for claim in asked])
        decided = [
            control.decide(self.plans.get(claim.version_id), claim, self.means) for claim in asked
        ]
        work.exchange(connection, self.worker.pk, [], decided, None)

    def pass_time(self) -> None:
        """Let whatever waits for a moment find that it has come, and let the clock tick."""
        with django_connection.cursor() as cursor:
            cursor.execute(
                "UPDATE step_run SET due_at = clock_timestamp() WHERE due_at IS NOT NULL"
            )
            cursor.execute("UPDATE run SET start_at = clock_timestamp() WHERE held = 'start_at'")
        clock.due(store.connection())

    def signal(self, run: Run, name: str, payload: object = None, key: str | None = None) -> None:
        """Send a signal."""
        body = {"payload": payload} if key is None else {"payload": payload, "dedup_key": key}
        send_signal(tenant=self.tenant, run_id=run.pk, name=name, body=body, actor=SYSTEM)

    def step(self, run: Run | UUID, name: str) -> StepRun:
        """A step run, by its place in the alphabet's or the definition's order."""
        run_id = run if isinstance(run, UUID) else run.pk
        return StepRun.objects.get(run_id=run_id, ordinal=self.ordinal(run_id, name))

    def ordinal(self, run_id: UUID, name: str) -> int:
        """The ordinal of a step."""
        from orchestrator.selectors.versions import version_graph

        return version_graph(Run.objects.get(pk=run_id).version_id).ordinals[name]

    def counts_agree(self) -> bool:
        """Whether every count is that of the rows."""
        return clock.reconcile(store.connection()) == 0
