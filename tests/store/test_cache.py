"""Cached outputs: made once, awaited by the others, kept until they expire."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator import store
from orchestrator.domain import jsonvalue
from orchestrator.models import CacheEntry, CacheFlight, Event, Run, StepRun, TenantLoad
from orchestrator.services.pauses import pause_run, pause_workflow, resume_workflow
from orchestrator.services.repairs import retry_step
from orchestrator.services.runs import cancel_run, submit_run
from orchestrator.services.workflows import publish_workflow
from orchestrator.store import clock, work
from orchestrator.store.work import Claimed, Verdict
from tenants.actors import SYSTEM
from tenants.models import Tenant
from tenants.services import create_tenant
from tests.engine import Engine
from tests.store.test_retention import age

CACHE = {"key": "${{ input.k }}", "ttl": "10m"}


@pytest.fixture
def tenant(db: None) -> Tenant:
    return create_tenant(slug="t", max_connections=100, actor=SYSTEM)


def submit(tenant: Tenant, count: int = 1, **step: Any) -> list[Run]:
    """Runs of a step with a cache, and of one after it."""
    first = {"name": "a", "handler": "core.echo", "cache": CACHE, **step}
    after = {"name": "b", "handler": "core.echo", "args": {"x": "${{ steps.a.output }}"}}
    publish_workflow(tenant=tenant, name="w", document={"steps": [first, after]}, actor=SYSTEM)
    made = [
        submit_run(tenant=tenant, workflow="w", body={"input": {"k": 1}}, actor=SYSTEM)
        for _ in range(count)
    ]
    return [Run.objects.get(pk=one.run_id) for one in made]


def decide(engine: Engine, claims: list[Claimed], key: str = "k", ttl_ms: int = 60_000) -> None:
    """Say that the key of all these is known."""
    assert engine.worker is not None
    value = jsonvalue.encode({"key": key, "ttl_ms": ttl_ms})
    verdicts = [Verdict(claim, "cache", value) for claim in claims if claim.kind == "condition"]
    work.exchange(store.connection(), engine.worker.pk, [], verdicts, None)


def asked(engine: Engine) -> list[Claimed]:
    return [claim for claim in engine.claim(0) if claim.kind == "condition"]


def states() -> list[str]:
    """The states of the steps with a cache, oldest run first."""
    rows = StepRun.objects.filter(ordinal=0).order_by("run__created_at", "run_id")
    return list(rows.values_list("state", flat=True))


def steps_to_run(engine: Engine) -> list[Claimed]:
    return [claim for claim in engine.claim() if claim.kind == "step"]


def assert_counts_are_right(tenant: Tenant) -> None:
    """The reconciler has nothing to mend, and events have no gaps."""
    assert clock.reconcile(store.connection()) == 0
    events = list(
        Event.objects.filter(tenant_id=tenant.pk).order_by("seq").values_list("seq", flat=True)
    )
    assert events == list(range(1, len(events) + 1))
    assert TenantLoad.objects.get(pk=tenant.pk).seq == len(events)


def test_one_makes_it_and_all_others_take_it(tenant: Tenant) -> None:
    engine = Engine()
    runs = submit(tenant, 20)
    decide(engine, asked(engine))
    assert sorted(states()) == ["ready"] + ["waiting"] * 19
    assert set(StepRun.objects.filter(state="waiting").values_list("wait_reason", "due_at")) == {
        ("cache", None)
    }
    (maker,) = steps_to_run(engine)
    engine.succeed([maker], output={"n": 2**64})
    assert states() == ["succeeded"] * 20
    assert set(StepRun.objects.filter(ordinal=0).values_list("output", flat=True)) == {
        '{"n": 18446744073709551616}'
    }
    assert StepRun.objects.filter(ordinal=0, attempts=0, reason="cached").count() == 19
    assert not CacheFlight.objects.exists()
    followers = steps_to_run(engine)
    assert len(followers) == 20, "what follows goes on"
    engine.succeed(followers)
    assert {run.pk for run in Run.objects.filter(state="succeeded")} == {run.pk for run in runs}
    cached = Event.objects.filter(type="step.succeeded", data='{"cached":true}')
    assert cached.count() == 19
    assert_counts_are_right(tenant)


def test_a_hit_takes_no_attempt_and_an_expired_output_is_made_again(tenant: Tenant) -> None:
    engine = Engine()
    submit(tenant)
    decide(engine, asked(engine))
    engine.succeed(steps_to_run(engine), output=1)
    assert str(CacheEntry.objects.get()) == "k"
    submit(tenant)
    decide(engine, asked(engine))
    second = StepRun.objects.filter(ordinal=0).order_by("run__created_at").last()
    assert second is not None
    assert (second.state, second.output, second.attempts, second.started_at) == (
        "succeeded", "1", 0, None
    )  # fmt: skip
    CacheEntry.objects.update(expires_at="2020-01-01T00:00Z")
    submit(tenant)
    decide(engine, asked(engine))
    assert states()[-1] == "ready"
    assert clock.tend_caches(store.connection()) == 1
    assert not CacheEntry.objects.exists()
    assert_counts_are_right(tenant)


@pytest.mark.parametrize("end", ["failed", "handled", "cancelled", "skipped"])
def test_when_the_maker_ends_without_an_output_the_next_one_makes_it(
    tenant: Tenant, end: str
) -> None:
    engine = Engine()
    submit(tenant, 3)
    decide(engine, asked(engine))
    (maker,) = steps_to_run(engine)
    if end == "cancelled":
        cancel_run(tenant=tenant, run_id=maker.run_id, actor=SYSTEM)
    outcome = {"handled": "succeeded"}.get(end, end)
    engine.complete(
        work.Completion(maker, outcome, 0.1, output="0" if end == "handled" else None,
                        error=json.dumps({"code": "error", "message": "no", "type": None}),
                        reason="no", handled=end == "handled")
    )  # fmt: skip
    assert not CacheEntry.objects.exists()
    assert sorted(states()) == sorted([outcome, "ready", "waiting"])
    assert CacheFlight.objects.filter(flying=True).count() == 1
    (next_one,) = [claim for claim in steps_to_run(engine) if claim.ordinal == 0]
    engine.succeed([next_one], output=5)
    assert sorted(states()) == sorted([outcome, "succeeded", "succeeded"])
    assert_counts_are_right(tenant)


def test_who_waits_can_be_cancelled_and_a_late_verdict_is_passed_over(tenant: Tenant) -> None:
    engine = Engine()
    first, second = submit(tenant, 2)
    claims = asked(engine)
    decide(engine, claims)
    decide(engine, claims)
    assert CacheFlight.objects.count() == 2
    assert "awaits k" in str(CacheFlight.objects.get(flying=False))
    waiting = CacheFlight.objects.get(flying=False).run_id
    cancel_run(tenant=tenant, run_id=waiting, actor=SYSTEM)
    assert CacheFlight.objects.count() == 1
    assert {first.pk, second.pk} >= {waiting}
    engine.succeed(steps_to_run(engine), output=1)
    assert sorted(states()) == ["cancelled", "succeeded"]
    assert_counts_are_right(tenant)


def test_other_keys_and_other_tenants_do_not_wait(tenant: Tenant) -> None:
    engine = Engine()
    other = create_tenant(slug="o", actor=SYSTEM)
    submit(tenant)
    submit(other)
    decide(engine, asked(engine))
    assert states() == ["ready", "ready"]
    submit(tenant)
    decide(engine, asked(engine), key="another")
    assert states() == ["ready"] * 3


def test_the_clock_settles_whom_nobody_serves(tenant: Tenant) -> None:
    engine = Engine()
    submit(tenant, 3)
    decide(engine, asked(engine))
    CacheFlight.objects.filter(flying=True).delete()
    assert clock.tend_caches(store.connection()) == 0
    assert sorted(states()) == ["ready", "ready", "waiting"]
    CacheFlight.objects.filter(flying=True).delete()
    CacheEntry.objects.create(
        tenant_id=tenant.pk, key="k", output="7", expires_at="2999-01-01T00:00Z"
    )
    assert clock.tend_caches(store.connection()) == 1
    assert sorted(states()) == ["ready", "ready", "succeeded"]
    assert_counts_are_right(tenant)


def test_a_paused_run_lets_others_go_ahead(tenant: Tenant) -> None:
    engine = Engine()
    submit(tenant, 2)
    decide(engine, asked(engine))
    maker = CacheFlight.objects.get(flying=True)
    pause_run(tenant=tenant, run_id=maker.run_id, actor=SYSTEM)
    assert clock.tend_caches(store.connection()) == 1
    assert CacheFlight.objects.get(flying=True).run_id != maker.run_id
    paused = StepRun.objects.get(run_id=maker.run_id, ordinal=0)
    assert (paused.state, paused.wait_reason) == ("waiting", "cache")
    assert clock.tend_caches(store.connection()) == 0
    assert_counts_are_right(tenant)
    (claim,) = steps_to_run(engine)
    engine.succeed([claim], output=1)
    assert states() == ["succeeded", "succeeded"]


def test_a_run_of_a_paused_workflow_lets_others_go_ahead(tenant: Tenant) -> None:
    """A workflow's pause leaves the states of its runs alone."""
    engine = Engine()
    (held,) = submit(tenant)
    decide(engine, asked(engine), key="k")
    assert CacheFlight.objects.get(flying=True).run_id == held.pk
    pause_workflow(tenant=tenant, name="w", actor=SYSTEM)
    step = {"name": "a", "handler": "core.echo", "cache": CACHE}
    publish_workflow(tenant=tenant, name="v", document={"steps": [step]}, actor=SYSTEM)
    made = submit_run(tenant=tenant, workflow="v", body={"input": {"k": 1}}, actor=SYSTEM)
    decide(engine, asked(engine), key="k")
    assert states() == ["ready", "waiting"]
    assert clock.tend_caches(store.connection()) == 1
    assert CacheFlight.objects.get(flying=True).run_id == made.run_id
    assert states() == ["waiting", "ready"]
    assert clock.tend_caches(store.connection()) == 0
    assert_counts_are_right(tenant)
    (maker,) = steps_to_run(engine)
    engine.succeed([maker], output=1)
    assert states() == ["succeeded", "succeeded"]
    resume_workflow(tenant=tenant, name="w", actor=SYSTEM)
    assert_counts_are_right(tenant)


def test_those_of_a_paused_workflow_make_it_last(tenant: Tenant) -> None:
    engine = Engine()
    step = {"name": "a", "handler": "core.echo", "cache": CACHE}
    publish_workflow(tenant=tenant, name="v", document={"steps": [step]}, actor=SYSTEM)
    body = {"input": {"k": 1}}
    maker = submit_run(tenant=tenant, workflow="v", body=body, actor=SYSTEM)
    decide(engine, asked(engine))
    submit(tenant)  # of w: the first in the line
    decide(engine, asked(engine))
    last = submit_run(tenant=tenant, workflow="v", body=body, actor=SYSTEM)
    decide(engine, asked(engine))
    pause_workflow(tenant=tenant, name="w", actor=SYSTEM)
    (claim,) = steps_to_run(engine)
    assert claim.run_id == maker.run_id
    engine.fail(claim)
    assert states() == ["failed", "waiting", "ready"]
    assert CacheFlight.objects.get(flying=True).run_id == last.run_id
    assert_counts_are_right(tenant)


def test_a_tenant_keeps_so_many(tenant: Tenant) -> None:
    for number in range(5):
        CacheEntry.objects.create(
            tenant_id=tenant.pk,
            key=f"k{number}",
            output="1",
            expires_at=f"2999-01-0{number + 1}T00:00Z",
        )
    assert clock.trim_caches(store.connection(), most=3) == 2
    assert set(CacheEntry.objects.values_list("key", flat=True)) == {"k2", "k3", "k4"}


def test_what_makes_the_output_may_be_control_work_itself(tenant: Tenant) -> None:
    engine = Engine()
    submit(tenant, 3)
    claims = asked(engine)
    assert engine.worker is not None
    value = '{"key":"k","ttl_ms":60000,"control":true}'
    verdicts = [Verdict(claim, "cache", value) for claim in claims]
    work.exchange(store.connection(), engine.worker.pk, [], verdicts, None)
    assert sorted(states()) == ["ready", "waiting", "waiting"]
    assert_counts_are_right(tenant)
    (begun,) = engine.claim()
    assert (begun.kind, begun.run_id) == ("begin", CacheFlight.objects.get(flying=True).run_id)
    cancel_run(tenant=tenant, run_id=begun.run_id, actor=SYSTEM)
    assert_counts_are_right(tenant)
    (next_one,) = engine.claim()
    assert next_one.kind == "begin"
    ready = Verdict(next_one, "ready")
    work.exchange(store.connection(), engine.worker.pk, [], [ready], None)
    (maker,) = engine.claim()
    engine.succeed([maker], output=3)
    assert sorted(states()) == ["cancelled", "succeeded", "succeeded"]
    assert_counts_are_right(tenant)


@pytest.mark.parametrize("waits", [False, True])
def test_a_step_that_is_decided_anew_neither_makes_nor_awaits_an_output(
    tenant: Tenant, waits: bool
) -> None:
    engine = Engine()
    if waits:
        submit(tenant)
        decide(engine, asked(engine))
    first = {"name": "f", "handler": "core.echo"}
    made = {
        "name": "s", "handler": "core.echo", "depends_on": ["f"], "trigger_rule": "one_failed",
        "cache": CACHE, "retry": {"max_attempts": 2, "delay": "1h"},
    }  # fmt: skip
    publish_workflow(tenant=tenant, name="v", document={"steps": [first, made]}, actor=SYSTEM)
    body = {"input": {"k": 1}}
    run_id = submit_run(tenant=tenant, workflow="v", body=body, actor=SYSTEM).run_id
    claims = steps_to_run(engine)
    engine.fail(next(one for one in claims if one.run_id == run_id))
    makers = [one for one in claims if one.run_id != run_id]
    decide(engine, asked(engine))
    if not waits:
        (maker,) = steps_to_run(engine)
        submit(tenant)
        decide(engine, asked(engine))
        engine.fail(maker, retry_in_s=3600)
    assert CacheFlight.objects.get(run_id=run_id).flying is not waits
    retry_step(tenant=tenant, run_id=run_id, name="f", actor=SYSTEM)
    assert not CacheFlight.objects.filter(run_id=run_id).exists()
    clock.tend_caches(store.connection())
    assert_counts_are_right(tenant)
    engine.succeed(makers, output=1)
    for _ in range(3):
        engine.succeed(steps_to_run(engine), output=1)
    assert set(Run.objects.values_list("state", flat=True)) == {"succeeded"}
    assert not CacheFlight.objects.exists()
    age(Run.objects.get(pk=run_id), 40)
    assert clock.forget_runs(store.connection(), days=30, limit=10) == 1


def test_what_an_output_s_maker_left_behind_goes_with_its_run(tenant: Tenant) -> None:
    (run,) = submit(tenant)
    cancel_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    CacheFlight.objects.create(
        run_id=run.pk, ordinal=0, batch=0, tenant_id=tenant.pk, key="k", ttl_ms=1, flying=True
    )
    age(run, 40)
    assert clock.forget_runs(store.connection(), days=30, limit=10) == 1
    assert not CacheFlight.objects.exists()
