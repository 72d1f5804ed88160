"""Runs that are held back: for their time, or for a place among the runs of their key."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connections
from uuid_utils.compat import uuid7

from orchestrator.domain.errors import ConcurrencyConflict, InvalidInput, InvalidRequest
from orchestrator.models import Event, IdempotencyKey, Run, WorkflowVersion
from orchestrator.selectors.runs import describe_run, view
from orchestrator.selectors.steps import steps_view
from orchestrator.services.repairs import skip_step
from orchestrator.services.runs import cancel_run, submit_run
from orchestrator.store import connect
from orchestrator.store.submit import NewRun, submit
from tenants.actors import SYSTEM
from tenants.models import Tenant
from tenants.services import create_tenant
from tests.store.waiting import Waiting

STEP = {"name": "a", "handler": "core.echo", "args": {}}


def keyed(on_conflict: str = "queue", limit: int = 1) -> dict[str, Any]:
    """A workflow's `concurrency`."""
    return {"concurrency": {"key": "${{ input.k }}", "limit": limit, "on_conflict": on_conflict}}


@pytest.fixture
def tenant(db: None) -> Tenant:
    return create_tenant(slug="t", actor=SYSTEM)


@pytest.fixture
def engine(tenant: Tenant) -> Waiting:
    return Waiting(tenant)


def held(*runs: Run) -> list[str | None]:
    """Why each is held, or the state in which it has ended."""
    for run in runs:
        run.refresh_from_db()
    return [run.state if run.finished_at else run.held for run in runs]


def test_start_at_holds_the_first_steps(engine: Waiting, tenant: Tenant) -> None:
    engine.publish(
        "w", STEP, {**STEP, "name": "b", "if": True}, {**STEP, "name": "c", "depends_on": ["a"]}
    )
    at = datetime.now(UTC) + timedelta(hours=1)
    run = engine.submit("w", start_at=at.isoformat())
    assert (run.state, run.held, run.start_at) == ("queued", "start_at", at)
    assert engine.turn() == []
    shown = view(describe_run(tenant=tenant, run_id=run.pk))
    waiting = shown["waiting"]
    assert isinstance(waiting, dict)
    assert (waiting["reason"], waiting["until"]) == ("start_at", at)
    steps: list[dict[str, Any]] = steps_view(tenant=tenant, run_id=run.pk)
    reasons = [step["waiting"] and step["waiting"]["reason"] for step in steps]
    assert reasons == ["start_at", "start_at", None]
    assert engine.counts_agree()
    engine.pass_time()
    assert len(engine.turn()) == 2
    assert held(run) == [None]
    assert engine.counts_agree()
    assert Event.objects.filter(run_id=run.pk, type="step.ready").count() == 2


def test_a_start_that_has_passed_is_now(engine: Waiting) -> None:
    engine.publish("w", STEP)
    runs = [engine.submit("w", start_at=when) for when in ("2020-01-01T00:00:00Z", 0)]
    assert [(run.held, run.start_at) for run in runs] == [(None, None)] * 2


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"start_at": "soon"}, "/start_at"),
        ({"start_at": None}, "/start_at"),
        ({"start_at": -1}, "/start_at"),
        ({"start_at": "2999-01-01T00:00:00Z"}, "/start_at"),
        ({"start_at": "2h", "deadline": "1h"}, "/deadline"),
    ],
)
def test_a_bad_start_is_refused(engine: Waiting, body: dict[str, Any], path: str) -> None:
    engine.publish("w", STEP)
    with pytest.raises(InvalidRequest) as refused:
        engine.submit("w", **body)
    assert [problem.path for problem in refused.value.problems] == [path]


def test_cancel_of_a_held_run_ends_it_and_its_always_steps(engine: Waiting, tenant: Tenant) -> None:
    engine.publish(
        "w",
        STEP,
        {**STEP, "name": "z", "trigger_rule": "always"},
        {**STEP, "name": "y", "trigger_rule": "always", "depends_on": ["a"]},
    )
    run = engine.submit("w", start_at="1h")
    cancel_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    assert held(run) == ["cancelled"]
    engine.pass_time()
    assert engine.turn() == []
    assert engine.counts_agree()


def test_queue_gives_places_by_priority_then_age(engine: Waiting) -> None:
    engine.publish("w", STEP, **keyed(limit=2))
    runs = [engine.submit("w", {"k": 1}, priority=p) for p in (5, 5, 5, 9, 5)]
    other = engine.submit("w", {"k": 2})
    assert held(*runs, other) == [None, None, "concurrency", "concurrency", "concurrency", None]
    claims = {claim.run_id: claim for claim in engine.turn()}
    assert set(claims) == {runs[0].pk, runs[1].pk, other.pk}
    engine.succeed([claims[runs[1].pk]])
    assert held(*runs[2:]) == ["concurrency", None, "concurrency"]
    engine.succeed([claims[runs[0].pk]])
    assert held(*runs[2:]) == [None, None, "concurrency"]
    engine.succeed([claims[other.pk]])
    engine.run_all()
    assert {run.state for run in Run.objects.all()} == {"succeeded"}
    assert engine.counts_agree()


def test_waiting_for_a_place_is_told(engine: Waiting, tenant: Tenant) -> None:
    engine.publish("w", STEP, **keyed())
    engine.submit("w", {"k": 1})
    run = engine.submit("w", {"k": 1})
    (step,) = steps_view(tenant=tenant, run_id=run.pk)
    assert isinstance(step["waiting"], dict)
    assert step["waiting"]["reason"] == "concurrency"
    cancel_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    assert held(run) == ["cancelled"]


def test_reject_makes_nothing(engine: Waiting, tenant: Tenant) -> None:
    engine.publish("w", STEP, **keyed("reject"))
    first = engine.submit("w", {"k": [1]})
    with pytest.raises(ConcurrencyConflict):
        submit_run(tenant=tenant, workflow="w", body={"input": {"k": [1]}}, key="x", actor=SYSTEM)
    assert (Run.objects.count(), IdempotencyKey.objects.count()) == (1, 0)
    assert engine.submit("w", {"k": [2]}).held is None
    engine.run_all()
    assert held(first) == ["succeeded"]
    made = submit_run(
        tenant=tenant, workflow="w", body={"input": {"k": [1]}}, key="x", actor=SYSTEM
    )
    again = submit_run(
        tenant=tenant, workflow="w", body={"input": {"k": [1]}}, key="x", actor=SYSTEM
    )
    assert (again.run_id, again.replayed) == (made.run_id, True)


def test_reject_within_one_call_refuses_those_without_a_place(
    engine: Waiting, tenant: Tenant
) -> None:
    engine.publish("w", STEP, **keyed("reject"))
    version = WorkflowVersion.objects.get()
    keys = ["k", "k", "x", "x"]
    runs = [
        NewRun(
            id=uuid7(),
            version_id=version.pk,
            key=f"i{n}" if n < 3 else "i2",
            fingerprint="f",
            concurrency=k,
        )
        for n, k in enumerate(keys)
    ]
    with connect_in_test() as connection:
        made = submit(connection, tenant_id=tenant.pk, runs=runs, actor=None)
    assert [one.held for one in made.results] == [None, "reject", None, None]
    assert made.results[3].replayed


def connect_in_test() -> Any:
    """The test's own connection, not to be closed."""
    import contextlib

    from orchestrator import store

    return contextlib.nullcontext(store.connection())


def test_cancel_oldest_keeps_the_newest(engine: Waiting) -> None:
    engine.publish("w", STEP, **keyed("cancel_oldest"))
    first = engine.submit("w", {"k": 1})
    (claimed,) = engine.turn()
    second = engine.submit("w", {"k": 1})
    first.refresh_from_db()
    assert first.closing == "cancel"
    assert held(second) == ["concurrency"], "the first one still runs"
    third = engine.submit("w", {"k": 1})
    assert held(second, third) == ["cancelled", "concurrency"]
    engine.succeed([claimed])
    assert held(first, third) == ["cancelled", None]
    fourth = engine.submit("w", {"k": 1})
    assert held(third, fourth) == ["cancelled", None], "nothing of the third had begun"
    engine.run_all()
    assert held(fourth) == ["succeeded"]
    assert engine.counts_agree()


def test_a_later_start_takes_its_place_then(engine: Waiting) -> None:
    engine.publish("w", STEP, **keyed("reject"))
    later = engine.submit("w", {"k": 1}, start_at="1h")
    now = engine.submit("w", {"k": 1})
    assert held(later, now) == ["start_at", None]
    engine.pass_time()
    assert held(later) == ["concurrency"], "what was accepted is not dropped"
    engine.run_all()
    assert held(later, now) == ["succeeded", "succeeded"]


def test_a_key_that_cannot_be_evaluated_is_a_wrong_input(engine: Waiting) -> None:
    engine.publish("w", STEP, **keyed())
    with pytest.raises(InvalidInput):
        engine.submit("w", {})


def test_long_keys_are_kept_as_fingerprints(engine: Waiting) -> None:
    engine.publish("w", STEP, **keyed())
    runs = [engine.submit("w", {"k": k}) for k in ("x" * 1000, "x" * 1000, {"a": 1}, 1.0, 1)]
    assert held(*runs) == [None, "concurrency", None, None, "concurrency"]
    assert all(len(run.concurrency_key or "") < 100 for run in runs)


def test_children_wait_for_a_place_or_are_refused_or_share_their_parents(engine: Waiting) -> None:
    engine.publish("queued", STEP, **keyed())
    engine.publish("refused", STEP, **keyed("reject"))
    args = {"k": "${{ input.k }}"}
    engine.publish("p1", {"name": "sub", "workflow": "queued", "args": args})
    engine.publish("p2", {"name": "sub", "workflow": "refused", "args": args})
    engine.publish(
        "self",
        {"name": "sub", "workflow": "self", "args": {**args, "n": "${{ input.n - 1 }}"}, "if": "${{ input.n > 0 }}"},
        **keyed(),
    )  # fmt: skip
    engine.submit("queued", {"k": 1})
    engine.submit("refused", {"k": 1})
    one, two = engine.submit("p1", {"k": 1}), engine.submit("p2", {"k": 1})
    claims = engine.turn()
    assert Run.objects.get(parent_id=one.pk).held == "concurrency"
    assert held(two) == ["failed"]
    assert "refused" in (engine.step(two, "sub").error or "")
    engine.succeed(claims)
    engine.run_all()
    assert held(one) == ["succeeded"]
    own = engine.submit("self", {"k": 1, "n": 2})
    engine.turn()
    assert held(own) == ["succeeded"]
    broken = engine.submit("p1", {"k": 1})
    engine.publish("queued", STEP, concurrency={"key": "${{ input.none }}"})
    engine.turn()
    assert "concurrency.key" in (engine.step(broken, "sub").error or "")


@pytest.mark.django_db(transaction=True)
def test_two_submissions_at_once_never_take_one_place(transactional_db: None) -> None:
    tenant = create_tenant(slug="race", actor=SYSTEM)
    engine = Waiting(tenant)
    engine.publish("w", STEP, **keyed())
    version = WorkflowVersion.objects.get(workflow__tenant=tenant)
    barrier = threading.Barrier(8)

    def race() -> None:
        try:
            with connect(name="race") as connection:
                barrier.wait(10)
                new = NewRun(id=uuid7(), version_id=version.pk, concurrency="1")
                submit(connection, tenant_id=tenant.pk, runs=[new], actor=None)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    states = [run.held for run in Run.objects.filter(tenant=tenant)]
    assert sorted(map(str, states)) == ["None", *["concurrency"] * 7]
    engine.run_all()
    assert not Run.objects.filter(tenant=tenant, finished_at=None).exists()


@pytest.mark.parametrize("why", ["start_at", "concurrency"])
def test_a_step_settled_by_hand_does_not_begin_a_held_run(
    engine: Waiting, tenant: Tenant, why: str
) -> None:
    steps = [STEP, *({**STEP, "name": n, "depends_on": ["a"]} for n in "bc")]
    steps[1]["trigger_rule"] = "all_done"
    engine.publish("w", *steps, **keyed())
    first = engine.submit("w", {"k": 1}) if why == "concurrency" else None
    run = engine.submit("w", {"k": 1}, **({} if first else {"start_at": "1h"}))
    claims = engine.turn()
    skip_step(tenant=tenant, run_id=run.pk, name="a", actor=SYSTEM)
    assert held(run) == [why]
    assert engine.turn() == []
    assert [engine.step(run, n).state for n in "abc"] == ["skipped", "blocked", "blocked"]
    assert engine.counts_agree()
    if first is None:
        engine.pass_time()
    else:
        engine.succeed(claims)
        engine.run_all()
    engine.run_all()
    assert held(run) == ["succeeded"]
    assert [engine.step(run, n).state for n in "abc"] == ["skipped", "succeeded", "skipped"]
    assert engine.counts_agree()


def test_a_held_run_whose_steps_were_all_skipped_by_hand_has_ended(
    engine: Waiting, tenant: Tenant
) -> None:
    engine.publish("w", STEP)
    run = engine.submit("w", start_at="1h")
    skip_step(tenant=tenant, run_id=run.pk, name="a", actor=SYSTEM)
    assert held(run) == ["succeeded"]
    engine.pass_time()
    assert engine.turn() == []
    assert engine.counts_agree()
