"""Undoing, statement by statement: whom it takes, what it keeps, and how it ends."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from orchestrator import store
from orchestrator.domain.errors import StateConflict
from orchestrator.domain.undo import UNDO
from orchestrator.models import Event, Hold, Run, StepRun, TenantLoad
from orchestrator.services.repairs import retry_step, skip_step
from orchestrator.services.runs import cancel_run, submit_run
from orchestrator.services.undoing import undo_run
from orchestrator.services.workflows import publish_workflow
from orchestrator.store import clock, work, workers
from orchestrator.store.work import Claimed, Completion
from tenants.actors import SYSTEM
from tenants.models import AuditEntry, Tenant
from tenants.services import create_tenant
from tests.engine import Engine

UNDO_CALL = {"handler": "core.echo", "args": {"was": "${{ output }}"}}
LOST = '{"code":"lost","message":"gone","type":null}'


@pytest.fixture
def tenant(db: None) -> Tenant:
    return create_tenant(slug="t", max_connections=100, actor=SYSTEM)


def step(name: str, *parents: str, **more: Any) -> dict[str, Any]:
    """A step that can be undone unless `undo` is None."""
    found = {"name": name, "handler": "core.echo", "depends_on": list(parents), "undo": UNDO_CALL}
    return {key: value for key, value in {**found, **more}.items() if value is not None}


def start(tenant: Tenant, steps: list[dict[str, Any]], **more: Any) -> Run:
    """A run of these steps."""
    name = f"w{random.randrange(10**9)}"
    publish_workflow(tenant=tenant, name=name, document={"steps": steps, **more}, actor=SYSTEM)
    made = submit_run(tenant=tenant, workflow=name, body={}, actor=SYSTEM)
    return Run.objects.get(pk=made.run_id)


def consistent(tenant: Tenant) -> None:
    """Every count is what the rows say."""
    assert clock.reconcile(store.connection()) == 0


def ends(engine: Engine, *, fail: str = "") -> list[Claimed]:
    """Claim once and succeed (or fail) what was claimed."""
    claims = engine.claim()
    for claim in claims:
        if claim.ordinal == int(fail or -1):
            engine.fail(claim)
        else:
            engine.succeed([claim], {"of": claim.ordinal})
    return claims


def test_an_undo_gets_its_step_s_output_and_the_run_fails_only_then(tenant: Tenant) -> None:
    run = start(tenant, [step("a"), step("b", "a"), step("c", "b")])
    engine = Engine()
    ends(engine)
    ends(engine)
    ends(engine, fail="2")
    run.refresh_from_db()
    assert (run.state, run.undo_state, run.finished_at) == ("running", "running", None)
    assert run.error is not None
    (undo,) = engine.claim()
    assert (undo.ordinal, undo.batch, undo.states) == (1, UNDO, ["succeeded"])
    assert undo.outputs == ['{"of": 1}']
    engine.succeed([undo])
    (undo,) = engine.claim()
    assert undo.ordinal == 0
    engine.succeed([undo])
    run.refresh_from_db()
    assert (run.state, run.undo_state, run.undo_error) == ("failed", "succeeded", None)
    assert json.loads(run.error or "")["step"] == "c"
    assert run.undo_finished_at == run.finished_at
    consistent(tenant)


def test_an_undo_that_fails_for_good_is_reported_and_the_others_go_on(tenant: Tenant) -> None:
    run = start(tenant, [step("a"), step("b", "a"), step("c", "b", undo=None)])
    engine = Engine()
    ends(engine)
    ends(engine)
    ends(engine, fail="2")
    (undo,) = engine.claim()
    engine.fail(undo, retry_in_s=0)
    assert engine.claim() == []
    assert clock.due(store.connection()) == ["io"]
    (undo,) = engine.claim()
    assert (undo.ordinal, undo.attempts) == (1, 1)
    engine.fail(undo)
    (undo,) = engine.claim()
    assert undo.ordinal == 0
    engine.succeed([undo])
    run.refresh_from_db()
    assert (run.state, run.undo_state) == ("failed", "failed")
    error = json.loads(run.undo_error or "")
    assert (error["step"], error["cause"]["message"]) == ("b", "no")
    assert json.loads(run.error or "")["step"] == "c", "the run's own error stays"
    consistent(tenant)


def test_on_request_a_succeeded_run_is_undone_once_and_stays_so(tenant: Tenant) -> None:
    run = start(tenant, [step("a"), step("b", "a", undo=None), step("c", "b")])
    engine = Engine()
    engine.run_all()
    undo_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    (undo,) = engine.claim()
    assert (undo.ordinal, undo.batch) == (2, UNDO)
    engine.succeed([undo])
    (undo,) = engine.claim()
    assert undo.ordinal == 0, "what lies between passes the order on"
    engine.succeed([undo])
    run.refresh_from_db()
    assert (run.state, run.undo_state, run.error) == ("succeeded", "succeeded", None)
    assert run.finished_at is not None
    assert run.undo_finished_at is not None
    assert run.undo_finished_at > run.finished_at
    assert Event.objects.filter(run_id=run.pk, type="run.succeeded").count() == 1
    consistent(tenant)


def test_an_output_that_came_from_the_cache_is_not_undone(tenant: Tenant) -> None:
    run = start(tenant, [step("a"), step("b", "a")])
    Engine().run_all()
    steps = StepRun.objects.filter(run_id=run.pk)
    steps.filter(ordinal=1).update(reason="cached")
    undo_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    assert [row.ordinal for row in steps.filter(batch=UNDO, handler_id__isnull=False)] == [0]
    other = start(tenant, [step("a")])
    Engine().run_all()
    StepRun.objects.filter(run_id=other.pk).update(reason="cached")
    with pytest.raises(StateConflict):
        undo_run(tenant=tenant, run_id=other.pk, actor=SYSTEM)
    consistent(tenant)


def test_a_run_that_was_taken_up_again_can_be_undone_anew(tenant: Tenant) -> None:
    run = start(tenant, [step("a"), step("b", "a", undo=None), step("c", "b")])
    engine = Engine()
    engine.run_all()
    for _ in range(2):
        Run.objects.filter(pk=run.pk).update(undo_state=None)
        undo_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
        for ordinal in (2, 0):
            (undo,) = engine.claim()
            assert (undo.ordinal, undo.attempts) == (ordinal, 0)
            engine.succeed([undo])
    run.refresh_from_db()
    assert run.undo_state == "succeeded"
    consistent(tenant)


def test_a_run_whose_output_fails_is_undone_and_keeps_that_error(tenant: Tenant) -> None:
    run = start(tenant, [step("a")], output="${{ steps.a.output.missing }}")
    engine = Engine()
    engine.succeed(engine.claim(), 1)
    (asked,) = engine.claim()
    assert engine.worker is not None
    error = json.dumps({"code": "step_failed", "message": "output", "step": None, "cause": None})
    verdict = work.Verdict(asked, "error", error)
    work.exchange(store.connection(), engine.worker.pk, [], [verdict], None)
    (undo,) = engine.claim()
    assert (undo.kind, undo.batch) == ("step", UNDO)
    engine.succeed([undo])
    run.refresh_from_db()
    assert (run.state, run.error, run.undo_state) == ("failed", error, "succeeded")
    consistent(tenant)


def test_a_handled_failure_is_not_undone_and_neither_is_a_plain_one(tenant: Tenant) -> None:
    run = start(
        tenant,
        [
            step("valued", on_error={"value": 1}),
            step("answered"),
            step("fallback", "answered", trigger_rule="one_failed"),
            step("bad", "fallback"),
        ],
    )
    engine = Engine()
    by = {claim.ordinal: claim for claim in engine.claim()}
    error = '{"code":"error","message":"no","type":null}'
    engine.complete(
        Completion(by[0], "succeeded", 0, output="1", error=error, handled=True),
        Completion(by[1], "failed", 0, error=error),
    )
    ends(engine)
    ends(engine, fail="3")
    (undo,) = engine.claim()
    assert undo.ordinal == 2
    engine.succeed([undo])
    run.refresh_from_db()
    assert run.state == "failed"


def test_timeout_undoes_what_was_cut_off_as_uncertain_and_cancel_undoes_nothing(
    tenant: Tenant,
) -> None:
    for kind in ("timeout", "deadline", "cancel"):
        run = start(tenant, [step("a"), step("b")])
        engine = Engine()
        a, b = engine.claim()
        engine.succeed([a], 1)
        store.connection().execute(
            "SELECT engine_cancel(%s::int, %s::uuid[], %s::text, NULL)", (tenant.pk, [run.pk], kind)
        )
        engine.complete(Completion(b, "cancelled", 0, error='{"code":"cancelled"}'))
        run.refresh_from_db()
        claims = engine.claim()
        if kind == "cancel":
            assert (run.state, run.undo_state, claims) == ("cancelled", None, [])
            undo_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
            claims = engine.claim()
        assert {(c.ordinal, (c.states or [""])[0]) for c in claims} == {
            (0, "succeeded"),
            (1, "cancelled"),
        }
        engine.succeed(claims)
        run.refresh_from_db()
        assert run.state == ("cancelled" if kind == "cancel" else "failed")
        assert run.undo_state == "succeeded"
        consistent(tenant)


def test_an_undo_is_neither_cancelled_nor_timed_out_with_its_run(tenant: Tenant) -> None:
    run = start(tenant, [step("a"), step("b", "a")], timeout="1m")
    engine = Engine()
    ends(engine)
    ends(engine, fail="1")
    run.refresh_from_db()
    assert run.expires_at is None
    with pytest.raises(StateConflict, match="being undone"):
        cancel_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    # five minutes after a timeout what waits is cut off; undos are not
    Run.objects.filter(pk=run.pk).update(closing="timeout", closing_at="2020-01-01T00:00:00Z")
    assert clock.expire(store.connection()) == 0
    (undo,) = engine.claim()
    engine.fail(undo, retry_in_s=0)
    assert StepRun.objects.get(run=run, batch=UNDO).state == "waiting", "closing or not"
    clock.due(store.connection())
    (undo,) = engine.claim()
    engine.complete(Completion(undo, "lost", 0, error=LOST, counts=False))
    assert StepRun.objects.get(run=run, batch=UNDO).state == "ready"
    consistent(tenant)


def test_a_dead_worker_s_undos_run_again_three_times_and_then_fail(tenant: Tenant) -> None:
    run = start(
        tenant, [step("a", on_error={"value": 1}), step("b", "a", undo=None, on_error="fail")]
    )
    engine = Engine()
    ends(engine)
    ends(engine, fail="1")
    for losses in range(1, 4):
        (undo,) = engine.claim()
        assert undo.ordinal == 0
        assert engine.worker is not None
        workers.reap(store.connection(), engine.worker.pk)
        assert StepRun.objects.get(run=run, batch=UNDO).losses == losses
        engine.worker = None
    run.refresh_from_db()
    assert (run.state, run.undo_state) == ("failed", "failed")
    assert json.loads(run.undo_error or "")["cause"]["code"] == "lost"
    row = StepRun.objects.get(run=run, batch=UNDO)
    assert (row.state, row.output, row.handled) == ("failed", None, False), (
        "no fallback of its step"
    )
    consistent(tenant)


def test_code_that_still_runs_is_awaited(tenant: Tenant) -> None:
    run = start(tenant, [step("a"), step("b", "a")])
    engine = Engine()
    ends(engine)
    (b,) = engine.claim()
    timeout = '{"code":"timeout","message":"late","type":null}'
    engine.complete(Completion(b, "failed", 0.1, error=timeout, held=True))
    run.refresh_from_db()
    assert (run.state, run.undo_state, run.undo_open) == ("running", "running", 0)
    assert Hold.objects.count() == 1
    assert engine.claim() == []
    assert engine.worker is not None
    work.unhold(store.connection(), engine.worker.pk, [b])
    (undo,) = engine.claim()
    assert (undo.ordinal, undo.states) == (1, ["failed"]), "it was cut off"
    engine.succeed([undo])
    (undo,) = engine.claim()
    engine.succeed([undo])
    run.refresh_from_db()
    assert (run.state, run.undo_state) == ("failed", "succeeded")
    consistent(tenant)


def test_undos_stay_within_the_run_s_max_parallel(tenant: Tenant) -> None:
    names = ["a", "b", "c"]
    run = start(tenant, [*(step(n) for n in names), step("d", *names)], max_parallel=1)
    engine = Engine()
    for _ in names:
        ends(engine)
    ends(engine, fail="3")
    for _ in names:
        (undo,) = engine.claim()
        consistent(tenant)
        engine.succeed([undo])
    run.refresh_from_db()
    assert (run.state, run.active_count) == ("failed", 0)
    assert TenantLoad.objects.get(pk=tenant.pk).in_use == 0


def test_a_long_chain_between_two_undos_is_passed_at_once(tenant: Tenant) -> None:
    chain = [step("s0")]
    chain += [step(f"s{n}", f"s{n - 1}", undo=None) for n in range(1, 150)]
    chain += [step("s150", "s149"), step("s151", "s150", undo=None)]
    run = start(tenant, chain)
    engine = Engine()
    for _ in range(151):
        engine.succeed(engine.claim())
    engine.fail(engine.claim()[0])
    ordinals = []
    while undos := engine.claim():
        ordinals += [undo.ordinal for undo in undos]
        engine.succeed(undos)
    assert ordinals == [150, 0]
    run.refresh_from_db()
    assert run.state == "failed"


def test_an_undo_that_cannot_run_is_given_up_by_hand(tenant: Tenant) -> None:
    run = start(tenant, [step("a"), step("b", "a"), step("c", "b"), step("d", "c", undo=None)])
    engine = Engine()
    for _ in range(3):
        engine.succeed(engine.claim(), 1)
    engine.fail(engine.claim()[0])
    with pytest.raises(StateConflict, match="given up by skipping its step"):
        cancel_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    with pytest.raises(StateConflict, match="its turn has not come"):
        skip_step(tenant=tenant, run_id=run.pk, name="a", actor=SYSTEM)
    with pytest.raises(StateConflict, match="cannot be repaired until that is over"):
        retry_step(tenant=tenant, run_id=run.pk, name="c", actor=SYSTEM)
    skip_step(tenant=tenant, run_id=run.pk, name="c", actor=SYSTEM)
    consistent(tenant)
    (claim,) = engine.claim()
    assert (claim.ordinal, claim.batch) == (1, -2)
    with pytest.raises(StateConflict, match="it runs"):
        skip_step(tenant=tenant, run_id=run.pk, name="b", actor=SYSTEM)
    engine.fail(claim, retry_in_s=60)
    skip_step(tenant=tenant, run_id=run.pk, name="b", actor=SYSTEM)
    consistent(tenant)
    engine.run_all()
    run.refresh_from_db()
    assert (run.state, run.undo_state) == ("failed", "failed")
    assert json.loads(run.undo_error or "{}")["step"] == "c"
    assert "failed: It was skipped by hand." in (run.undo_error or "")
    undos = StepRun.objects.filter(run=run, batch=-2).order_by("ordinal")
    assert [undo.state for undo in undos] == ["succeeded", "cancelled", "cancelled"]
    told = Event.objects.filter(run_id=run.pk, batch=-2, type="step.cancelled")
    assert [(event.ordinal, event.actor) for event in told.order_by("seq")] == [(2, "system"), (1, "system")]  # fmt: skip
    assert AuditEntry.objects.filter(action="step.skip").count() == 2
    consistent(tenant)
