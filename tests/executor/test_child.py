"""A process that runs steps, without Celery around it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from orchestrator.conf import conf
from orchestrator.executor.child import Child
from orchestrator.handlers import registry
from orchestrator.models import Event, StepRun, Worker
from orchestrator.services.runs import submit_run
from orchestrator.services.workflows import publish_workflow
from tenants.actors import SYSTEM
from tenants.models import Tenant
from tenants.services import create_tenant

pytestmark = pytest.mark.thorough


@pytest.fixture
def tenant(transactional_db: None) -> Tenant:
    return create_tenant(slug="t", actor=SYSTEM)


@pytest.fixture
def child(tenant: Tenant) -> Iterator[Child]:
    registry.load()
    child = Child(
        conf=replace(conf(), renew_s=0.5, grace_s=5.0), queues=["io", "cpu"], registry=registry
    )
    child.start()
    yield child
    child.retire()
    for thread in threading.enumerate():
        if thread.name in ("lease", "fallback"):
            thread.join(10)
    child.drop_connection()


def until(state: str, within_s: float = 10.0) -> StepRun:
    """The only step run, in this state."""
    end = time.monotonic() + within_s
    while (step := StepRun.objects.get()).state != state:
        assert time.monotonic() < end, step.state
        time.sleep(0.01)
    return step


def start(tenant: Tenant, ms: int) -> None:
    """A run of one step that takes so long."""
    step = {"name": "a", "handler": "core.sleep", "args": {"ms": ms}}
    publish_workflow(tenant=tenant, name="w", document={"steps": [step]}, actor=SYSTEM)
    submit_run(tenant=tenant, workflow="w", body={}, actor=SYSTEM)


def test_work_is_found_without_any_message(child: Child, tenant: Tenant) -> None:
    start(tenant, 10)
    assert until("succeeded").attempts == 1


def test_a_process_that_ends_lets_its_own_slice_end_first(child: Child, tenant: Tenant) -> None:
    start(tenant, 1000)
    until("running")
    child.retire()
    step = StepRun.objects.get()
    assert (step.state, step.attempts, step.losses) == ("succeeded", 1, 0)
    assert not Event.objects.filter(run_id=step.run_id, type="step.lost").exists()
    assert Worker.objects.get().state == "gone"
    assert Worker.objects.get().refused_count == 0
