"""Pauses: nothing new of a run starts, what runs ends, and every count stays right."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection as django_connection
from django.db.models import F

from orchestrator import store
from orchestrator.domain.errors import StateConflict
from orchestrator.models import Control, Event, Run, StepRun, TenantLoad, Workflow
from orchestrator.selectors.runs import run_view
from orchestrator.selectors.steps import steps_view
from orchestrator.services import pauses
from orchestrator.services.runs import cancel_run, submit_run
from orchestrator.services.workflows import publish_workflow
from orchestrator.store import clock, connect
from tenants.actors import SYSTEM
from tenants.models import AuditEntry, Tenant
from tenants.services import create_tenant
from tests.engine import Engine

pytestmark = pytest.mark.thorough


@pytest.fixture
def tenant(db: None) -> Tenant:
    return create_tenant(slug="t", max_connections=100, actor=SYSTEM)


@pytest.fixture
def engine(db: None) -> Engine:
    return Engine()


def step(name: str, *parents: str, **more: object) -> dict[str, object]:
    """A step that echoes."""
    return {
        "name": name, "handler": "core.echo", "args": {}, "depends_on": list(parents), **more,
    }  # fmt: skip


def start(tenant: Tenant, *steps: dict[str, object], name: str = "w", **more: object) -> Run:
    """A run of these steps."""
    publish_workflow(
        tenant=tenant, name=name, document={"steps": list(steps), **more}, actor=SYSTEM
    )
    made = submit_run(tenant=tenant, workflow=name, body={}, actor=SYSTEM)
    return Run.objects.get(pk=made.run_id)


def states(run: Run) -> str:
    """The steps' states, one after the other."""
    rows = StepRun.objects.filter(run=run).order_by("ordinal", "batch")
    return " ".join(rows.values_list("state", flat=True))


def in_order(tenant: Tenant) -> None:
    """Nothing was miscounted."""
    assert clock.reconcile(store.connection()) == 0


def types(run: Run) -> list[str]:
    """The run's own events."""
    rows = Event.objects.filter(run_id=run.pk, ordinal__isnull=True).order_by("seq")
    return list(rows.values_list("type", flat=True))


def test_a_paused_run_starts_nothing_and_resumes_where_it_was(
    tenant: Tenant, engine: Engine
) -> None:
    run = start(tenant, step("a"), step("b"), step("c", "a"))
    engine.join()
    pauses.pause_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    in_order(tenant)
    assert engine.claim() == []
    run.refresh_from_db()
    assert (run.state, run.paused_at is not None) == ("paused", True)
    waiting = [row["waiting"] for row in steps_view(tenant=tenant, run_id=run.pk)]
    assert [w and w["reason"] for w in waiting] == ["paused", "paused", None]  # type: ignore[index]
    view = run_view(tenant=tenant, run_id=run.pk)
    assert (view["state"], view["paused_at"]) == ("paused", run.paused_at)
    pauses.resume_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    run.refresh_from_db()
    assert (run.state, run.paused_at) == ("queued", None)
    in_order(tenant)
    engine.run_all(1)
    run.refresh_from_db()
    assert run.state == "succeeded"
    assert types(run) == ["run.queued", "run.paused", "run.queued", "run.running", "run.succeeded"]
    actions = set(AuditEntry.objects.values_list("action", flat=True))
    assert {"run.pause", "run.resume"} <= actions
    in_order(tenant)


def test_what_runs_ends_and_what_follows_waits(tenant: Tenant, engine: Engine) -> None:
    run = start(tenant, step("a"), step("b", "a"))
    (claim,) = engine.claim()
    pauses.pause_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    engine.succeed([claim])
    assert engine.claim() == []
    assert states(run) == "succeeded ready"
    assert StepRun.objects.get(run=run, ordinal=1).parked == "paused"
    in_order(tenant)
    pauses.resume_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    engine.run_all(1)
    run.refresh_from_db()
    assert run.state == "succeeded"


def test_a_run_whose_last_step_ended_while_it_was_paused_ends_when_it_is_resumed(
    tenant: Tenant, engine: Engine
) -> None:
    run = start(tenant, step("a"), output="${{ steps.a.output }}")
    (claim,) = engine.claim()
    pauses.pause_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    engine.succeed([claim], 1)
    run.refresh_from_db()
    assert (run.state, run.open_count) == ("paused", 0)
    assert engine.claim() == []
    pauses.resume_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    (asked,) = engine.claim()
    assert asked.kind == "output"
    in_order(tenant)


def test_a_timer_that_fires_meanwhile_leaves_its_step_parked(
    tenant: Tenant, engine: Engine
) -> None:
    run = start(tenant, step("a", retry={"max_attempts": 2}))
    (claim,) = engine.claim()
    engine.fail(claim, retry_in_s=0)
    pauses.pause_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    clock.due(store.connection())
    assert engine.claim() == []
    row = StepRun.objects.get(run=run)
    assert (row.state, row.parked) == ("ready", "paused")
    in_order(tenant)
    pauses.resume_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    (claim,) = engine.claim()
    assert claim.attempts == 1


def test_conditions_of_a_paused_run_are_not_asked(tenant: Tenant, engine: Engine) -> None:
    run = start(
        tenant, step("a", **{"if": "${{ 1 > 0 }}"}), step("b", "a", **{"if": "${{ 2 > 1 }}"})
    )
    engine.join()
    pauses.pause_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    assert engine.claim() == []
    assert Control.objects.get().held
    in_order(tenant)
    assert clock.eligible(store.connection(), lease_s=15) == []
    pauses.resume_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    (asked,) = engine.claim()
    pauses.pause_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    # taken before the pause: decided, but the step does not start
    engine.verdict(asked, "ready")
    assert engine.claim() == []
    in_order(tenant)
    pauses.resume_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    (claim,) = engine.claim()
    pauses.pause_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    engine.succeed([claim])
    # asked while it was paused: the next claim holds it
    assert engine.claim() == []
    assert Control.objects.get().held
    in_order(tenant)
    cancel_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    assert not Control.objects.exists()
    in_order(tenant)


def test_the_timeout_stands_still_and_the_deadline_does_not(tenant: Tenant, engine: Engine) -> None:
    run = start(tenant, step("a"), step("b", "a"), timeout="1h")
    engine.claim()
    run.refresh_from_db()
    assert run.expires_at is not None
    expires_at = run.expires_at
    pauses.pause_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    assert Run.objects.get(pk=run.pk).expires_at is None
    assert clock.expire(store.connection()) == 0
    Run.objects.filter(pk=run.pk).update(resume_ms=F("resume_ms") + 7_200_000)  # two hours later
    pauses.resume_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    run.refresh_from_db()
    assert run.expires_at is not None
    assert timedelta(hours=2) <= run.expires_at - expires_at < timedelta(hours=2, seconds=30)
    deadline = expires_at - timedelta(days=1)
    Run.objects.filter(pk=run.pk).update(deadline_at=deadline, expires_at=deadline)
    pauses.pause_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    assert clock.expire(store.connection()) == 1
    run.refresh_from_db()
    assert (run.state, run.closing, run.paused_at) == ("running", "deadline", None)
    in_order(tenant)


@pytest.mark.parametrize("before", [True, False])
def test_a_run_that_is_being_undone_has_no_deadline_whatever_is_paused(
    tenant: Tenant, engine: Engine, before: bool
) -> None:
    """It is looked at by the clock no more, whether its workflow was paused before its end or after."""
    undo = {"handler": "core.echo", "args": {}}
    publish_workflow(
        tenant=tenant,
        name="w",
        document={"steps": [step("a", undo=undo), step("b", "a")]},
        actor=SYSTEM,
    )
    body = {"deadline": "1h"}
    made = submit_run(tenant=tenant, workflow="w", body=body, actor=SYSTEM)
    run = Run.objects.get(pk=made.run_id)
    engine.succeed(engine.claim())
    (b,) = engine.claim()
    if before:
        pauses.pause_workflow(tenant=tenant, name="w", actor=SYSTEM)
    engine.fail(b)
    if not before:
        pauses.pause_workflow(tenant=tenant, name="w", actor=SYSTEM)
    run.refresh_from_db()
    assert (run.undo_state, run.expires_at) == ("running", None)
    pauses.resume_workflow(tenant=tenant, name="w", actor=SYSTEM)
    run.refresh_from_db()
    assert (run.undo_state, run.expires_at, run.resume_ms) == ("running", None, None)
    in_order(tenant)


def test_a_paused_run_can_be_cancelled_and_its_always_steps_run(
    tenant: Tenant, engine: Engine
) -> None:
    run = start(tenant, step("a"), step("clean", "a", trigger_rule="always"))
    engine.join()
    pauses.pause_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    cancel_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    in_order(tenant)
    engine.run_all(1)
    run.refresh_from_db()
    assert (run.state, states(run)) == ("cancelled", "cancelled succeeded")
    in_order(tenant)


def test_what_cannot_be_paused_or_resumed_is_refused(tenant: Tenant, engine: Engine) -> None:
    run = start(tenant, step("a"))
    with pytest.raises(StateConflict, match="queued does not allow resume"):
        pauses.resume_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    (claim,) = engine.claim()
    pauses.pause_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    with pytest.raises(StateConflict, match="paused does not allow pause"):
        pauses.pause_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    cancel_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    with pytest.raises(StateConflict, match="coming to its end"):
        pauses.pause_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    engine.succeed([claim])
    with pytest.raises(StateConflict, match="cancelled does not allow pause"):
        pauses.pause_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)


def test_a_paused_workflow_takes_runs_that_wait_and_leaves_others_alone(
    tenant: Tenant, engine: Engine
) -> None:
    first = start(tenant, step("a"), step("b", "a", **{"if": "${{ 1 > 0 }}"}), timeout="1h")
    other = start(tenant, step("a"), name="other")
    claims = engine.claim()
    assert len(claims) == 2
    pauses.pause_workflow(tenant=tenant, name="w", actor=SYSTEM)
    with pytest.raises(StateConflict, match="paused already"):
        pauses.pause_workflow(tenant=tenant, name="w", actor=SYSTEM)
    engine.succeed(claims)
    many = [
        submit_run(tenant=tenant, workflow="w", body={}, actor=SYSTEM).run_id for _ in range(150)
    ]
    assert engine.claim(20) == []
    other.refresh_from_db()
    first.refresh_from_db()
    assert (first.state, first.expires_at, other.state) == ("running", None, "succeeded")
    assert Control.objects.get().held
    assert StepRun.objects.filter(parked="paused").count() == 150
    in_order(tenant)
    (row,) = steps_view(tenant=tenant, run_id=many[0])[:1]
    assert isinstance(row["waiting"], dict)
    assert row["waiting"]["reason"] == "paused"
    assert "workflow is paused" in row["waiting"]["detail"]
    # a run's own pause outlasts its workflow's, and a cancel ends both
    pauses.pause_run(tenant=tenant, run_id=many[0], actor=SYSTEM)
    pauses.pause_run(tenant=tenant, run_id=many[1], actor=SYSTEM)
    pauses.resume_run(tenant=tenant, run_id=many[1], actor=SYSTEM)
    cancel_run(tenant=tenant, run_id=many[2], actor=SYSTEM)
    assert engine.claim() == []
    in_order(tenant)
    pauses.resume_workflow(tenant=tenant, name="w", actor=SYSTEM)
    with pytest.raises(StateConflict, match="not paused"):
        pauses.resume_workflow(tenant=tenant, name="w", actor=SYSTEM)
    in_order(tenant)
    first.refresh_from_db()
    assert first.expires_at is not None
    assert first.resume_ms is None
    engine.run_conditions()
    engine.run_all(1)
    found = dict(Run.objects.filter(workflow__name="w").values_list("pk", "state"))
    assert found.pop(many[0]) == "paused"
    assert found.pop(many[2]) == "cancelled"
    assert set(found.values()) == {"succeeded"}
    assert Workflow.objects.get(name="w").paused_at is None
    in_order(tenant)


def test_a_lost_step_of_a_paused_run_is_not_claimed_alone(tenant: Tenant, engine: Engine) -> None:
    run = start(tenant, step("a"))
    engine.claim()
    pauses.pause_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    assert engine.worker is not None
    store.connection().execute("SELECT engine_reap(%s)", (engine.worker.pk,))
    engine.worker = None
    assert engine.claim() == []
    assert StepRun.objects.get().suspect
    in_order(tenant)
    pauses.resume_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    assert len(engine.claim()) == 1


def test_the_reconciler_mends_the_count_of_pauses(tenant: Tenant) -> None:
    start(tenant, step("a"))
    TenantLoad.objects.update(paused_count=3)
    assert clock.reconcile(store.connection()) == 1
    assert TenantLoad.objects.get().paused_count == 0


@pytest.mark.django_db(transaction=True)
def test_a_pause_against_a_claim() -> None:
    """Whoever takes the mutex first: a step is claimed, or waits; never both, never neither."""
    tenant = create_tenant(slug="race", max_connections=100, actor=SYSTEM)
    engine = Engine()
    for _ in range(10):
        run = start(tenant, *(step(f"s{n}") for n in range(5)))
        if engine.worker is None:
            engine.join()
        barrier = threading.Barrier(2)
        claimed: list[int] = []

        def pause(run: Run = run, barrier: threading.Barrier = barrier) -> None:
            with connect(name="pause") as connection:
                barrier.wait()
                store_pause(connection, tenant, run)

        thread = threading.Thread(target=pause)
        thread.start()
        barrier.wait()
        claims = engine.claim(3)
        claimed.append(len(claims))
        thread.join()
        assert engine.claim() == []
        assert StepRun.objects.filter(run=run, state="running").count() == len(claims)
        in_order(tenant)
        engine.succeed(claims)
        pauses.resume_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
        engine.run_all(1)
        run.refresh_from_db()
        assert run.state == "succeeded"
        in_order(tenant)


def store_pause(connection: store.Connection, tenant: Tenant, run: Run) -> None:
    """Pause on a connection of its own."""
    connection.execute("SELECT engine_pause(%s, ARRAY[%s]::uuid[], 'x')", (tenant.pk, run.pk))


@pytest.mark.django_db(transaction=True)
def test_a_resume_against_timers() -> None:
    """A timer and a resume at once: the step is claimed exactly once afterwards."""
    tenant = create_tenant(slug="race", max_connections=100, actor=SYSTEM)
    engine = Engine()
    for _ in range(10):
        run = start(tenant, step("a", retry={"max_attempts": 2}))
        (claim,) = engine.claim()
        engine.fail(claim, retry_in_s=0)
        pauses.pause_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
        barrier = threading.Barrier(2)

        def fire(barrier: threading.Barrier = barrier) -> None:
            with connect(name="clock") as connection:
                barrier.wait()
                clock.due(connection)

        thread = threading.Thread(target=fire)
        thread.start()
        barrier.wait()
        pauses.resume_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
        thread.join()
        (claim,) = engine.claim()
        engine.succeed([claim])
        run.refresh_from_db()
        assert run.state == "succeeded"
        in_order(tenant)
    django_connection.close()
