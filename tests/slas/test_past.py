"""Rules on the past: exact on planted history, from the events and from the rollups; predictions and
proposals."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db.models import Sum
from django.utils import timezone

from orchestrator import store
from orchestrator.models import (
    Event,
    Rollup,
    Run,
    SlaDeadline,
    SlaProposal,
    SlaSample,
    StepNorm,
    StepRun,
    Workflow,
)
from orchestrator.selectors import slo_history
from orchestrator.services import predicting, rollups, slas
from orchestrator.services.sla_learning import Learner
from orchestrator.store import slas as store_slas
from tenants.models import AuditEntry, Tenant
from tests.api.client import Api
from tests.engine import Engine
from tests.slas.conftest import Clock, Past

Make = Callable[..., dict[str, Any]]
RULE = {"kind": "success_ratio", "target": 0.9, "window": "30m"}


@pytest.fixture
def noon(now: datetime) -> datetime:
    """A whole hour, three days ago."""
    return now.replace(minute=0, second=0, microsecond=0) - timedelta(days=3)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_one_question_of_a_tenant_at_a_time(api: Api, stranger: Api, tenant: Tenant) -> None:
    with store.connect(name="test") as other, other.transaction():
        assert store.try_turn(other, "sla_previews", tenant.pk)
        answer = api.post("/slas/preview", RULE)
        assert (answer.status, answer.code, answer.headers["Retry-After"]) == (
            429,
            "over_quota",
            "5",
        )
        assert (answer.body["quota"], answer.body["value"]) == ("sla_previews", 1)
        assert api.post("/slas/preview", {}).status == 422
        assert stranger.post("/slas/preview", RULE).status == 200
    assert api.post("/slas/preview", RULE).status == 200


def test_a_back_test_finds_exactly_what_was_planted(api: Api, past: Past, noon: datetime) -> None:
    """Two of ten runs fail in one half hour, one of twenty in another: the first alone fires."""
    failed = []
    for nr in range(60):
        when = noon + timedelta(minutes=nr, seconds=30)
        if nr in (20, 21):
            failed.append(past.run(when, state="failed"))
        elif nr % 3 == 0:
            past.run(when)
    found = api.post("/slas/preview", {**RULE, "min_samples": 5}).body
    assert (found["complete"], found["firings"]) == (True, 1)
    ((since, until),) = [(at(one["since"]), at(one["until"])) for one in found["intervals"]]
    # good by minute 20: 0 3 6 9 12 15 18; with the first failure 7 of 8 are good, which is too few
    assert since == noon + timedelta(minutes=21)
    # with one of the two among the last 30 minutes nine of ten are good, which is enough
    assert until == noon + timedelta(minutes=51)
    assert found["firing_s"] == found["bad_s"] == 30 * 60
    assert found["run_ids"] == [str(one) for one in reversed(failed)]
    assert found["intervals"][0]["run_ids"] == found["run_ids"]
    assert (found["samples"], found["good"]) == (21, 19)
    patient = api.post("/slas/preview", {**RULE, "min_samples": 5, "for": "30m"}).body
    assert (patient["firings"], patient["bad_s"]) == (0, 30 * 60)
    elsewhere = api.post("/slas/preview", {**RULE, "labels": {"a": "b"}}).body
    assert (elsewhere["firings"], elsewhere["samples"]) == (0, 0)


def test_what_goes_wrong_just_now_is_seen_at_once(api: Api, past: Past, now: datetime) -> None:
    past.run(now, state="failed")
    (one,) = api.post("/slas/preview", RULE).body["intervals"]
    assert one["until"] is None


def test_a_hung_run_of_the_past_counts_from_when_it_was_late(
    api: Api, past: Past, noon: datetime
) -> None:
    body = {"kind": "run_duration", "threshold": "10m", "window": "5m", "workflows": ["echo"]}
    run_id = past.run(noon, 3600.0)
    found = api.post("/slas/preview", body).body
    ((since, until),) = [(at(one["since"]), at(one["until"])) for one in found["intervals"]]
    assert since == noon - timedelta(minutes=50), "ten minutes after its start"
    assert noon < until <= noon + timedelta(minutes=6)
    assert found["run_ids"] == [str(run_id)]
    past.run(noon + timedelta(hours=5), 3600.0, state="cancelled")
    assert api.post("/slas/preview", body).body["firings"] == 2, (
        "it was late until it was cancelled"
    )


def test_a_run_that_hangs_now_fires_still(api: Api, past: Past, engine: Engine) -> None:
    run_id = api.post("/workflows/echo/runs", {"input": {"text": "x"}}).body["id"]
    engine.claim()
    Run.objects.filter(pk=run_id).update(started_at=timezone.now() - timedelta(hours=2))
    body = {"kind": "run_duration", "threshold": "1h", "window": "10m"}
    (one,) = api.post("/slas/preview", body).body["intervals"]
    assert one["until"] is None
    assert timedelta(minutes=55) < timezone.now() - at(one["since"]) < timedelta(minutes=65)


def test_history_is_the_same_from_events_and_from_rollups(
    api: Api, past: Past, noon: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies = [
        {"kind": "success_ratio", "target": 0.9},
        {"kind": "error_rate_ceiling", "threshold": 0.2},
        {"kind": "run_duration", "threshold": "10s", "target": 0.8, "workflows": ["echo"]},
        {"kind": "p95_threshold", "threshold": "10s"},
        {"kind": "throughput_floor", "threshold": "5/10m", "window": "10m"},
        {"kind": "queue_latency", "threshold": "1s", "target": 0.8},
        {"kind": "readiness_p95", "threshold": "100ms"},
    ]
    for nr in range(40):
        when = noon + timedelta(minutes=nr, seconds=5)
        past.run(when, 1.0 + nr % 13, state="failed" if nr % 7 == 0 else "succeeded")
        past.tell(when, [("step.running", nr % 5 / 2, None), ("step.succeeded", 1.0, nr % 4 / 20)])
    while rollups.roll():
        pass
    moment = timezone.now()
    monkeypatch.setattr(timezone, "now", lambda: moment)  # no minute ends between the two
    seen = [api.post("/slas/preview", body).body for body in bodies]
    monkeypatch.setattr(
        slo_history, "_events", lambda *_: int(timezone.now().timestamp()) // 60 * 60
    )
    monkeypatch.setattr(slo_history, "_hanging", lambda *_: [])
    rolled = [api.post("/slas/preview", body).body for body in bodies]
    for one, other in zip(seen, rolled, strict=True):
        assert one.pop("exact_since") < other.pop("exact_since")
        one.pop("until"), other.pop("until"), one.pop("since"), other.pop("since")
        assert one == other
    assert [one["samples"] for one in seen] == [40, 40, 40, 40, 34, 40, 40]
    fresh = api.post("/slas/preview", {"kind": "freshness", "threshold": "1s"}).body
    assert fresh["complete"] is False, "no rollup knows it"


def test_older_events_that_are_gone_are_found_in_the_rollups(
    api: Api, make: Make, past: Past, clock: Clock, noon: datetime
) -> None:
    for nr in range(10):
        past.run(noon + timedelta(hours=nr))
    while rollups.roll():
        pass
    Event.objects.filter(tenant_id=past.tenant.pk, at__lt=noon + timedelta(hours=5)).delete()
    assert api.post("/slas/preview", RULE).body["samples"] == 10
    Event.objects.filter(tenant_id=past.tenant.pk).delete()
    found = api.post("/slas/preview", RULE).body
    assert (found["samples"], found["complete"]) == (10, True), "of a tenant that was idle since"
    unknown = api.post("/slas/preview", {**RULE, "labels": {"a": "b"}}).body
    assert (unknown["samples"], unknown["complete"]) == (0, False)
    make("at-once", **RULE)
    past.run(timezone.now())
    make("behind", **RULE)  # the cursor is before the first event that is kept
    clock.count()
    totals = SlaSample.objects.filter(width_s=3600).values_list("sla__name").annotate(Sum("total"))
    assert dict(totals) == {"at-once": 11, "behind": 11}


def test_a_floor_is_not_held_against_a_time_that_is_not_known(
    api: Api, past: Past, noon: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    floor = {"kind": "throughput_floor", "threshold": "1/1h", "window": "1h"}
    found = api.post("/slas/preview", floor).body
    assert found["complete"] is True
    assert found["firing_s"] <= 300, "before there was a tenant nothing could run"
    past.run(noon)
    since = api.post("/slas/preview", floor).body["since"]
    assert at(since) == noon
    Tenant.objects.update(created_at=noon - timedelta(days=1))
    monkeypatch.setattr(slo_history, "_events", lambda *_: int(noon.timestamp()))
    marked = {"labels": {"a": "b"}}
    found = api.post("/slas/preview", {**floor, **marked}).body
    assert (at(found["since"]), found["complete"]) == (noon + timedelta(hours=1), False)
    for no_data, begin in (("bad", noon + timedelta(minutes=30)), ("ok", noon)):
        found = api.post("/slas/preview", {**RULE, **marked, "no_data": no_data}).body
        assert at(found["since"]) == begin


def test_what_takes_too_long_is_given_up(
    api: Api, past: Past, tenant: Tenant, noon: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    past.run(noon)
    past.run(timezone.now(), labels={"a": "b"})
    monkeypatch.setattr(slo_history, "CHUNK", 1)
    found = slas.preview_sla(tenant=tenant, body={**RULE, "labels": {"a": "b"}}, budget_s=0.0)
    assert found.complete is False
    monkeypatch.setattr(
        store_slas, "count", lambda *_: store.connection().execute("SELECT pg_sleep(9)")
    )
    found = slas.preview_sla(tenant=tenant, body={**RULE, "labels": {"a": "b"}}, budget_s=0.1)
    assert found.complete is False
    assert api.get("/slas").status == 200, "the transaction goes on"


# -- predictions ---------------------------------------------------------------------------------

CHAIN = {
    "steps": [
        {"name": "a", "handler": "core.echo", "args": {}},
        {"name": "b", "handler": "core.echo", "args": {}, "depends_on": ["a"]},
        {"name": "side", "handler": "core.echo", "args": {}, "depends_on": ["a"]},
        {"name": "c", "handler": "core.echo", "args": {}, "depends_on": ["b", "side"]},
    ]
}


def usual(name: str, **seconds: float) -> None:
    """The workflow's steps usually take so long."""
    workflow = Workflow.objects.get(name=name)
    for step, took in {"": None, **seconds}.items():
        StepNorm.objects.create(
            workflow=workflow, tenant_id=workflow.tenant_id, step=step, p50_s=took,
            sample_count=20, measured_at=timezone.now(),
        )  # fmt: skip


def test_a_miss_is_predicted_from_the_critical_path(
    api: Api, make: Make, engine: Engine, clock: Clock, tenant: Tenant
) -> None:
    assert api.put("/workflows/chain", CHAIN).status == 201
    make("in-time", "run_duration", threshold="5m", workflows=["chain"])
    make("roomy", "run_duration", threshold="30m", workflows=["chain"])
    usual("chain", a=60.0, b=400.0, side=30.0, c=100.0)
    run_id = api.post("/workflows/chain/runs", {"input": {}}).body["id"]
    engine.claim()
    seen = clock.look()
    assert seen["in-time"].sight.value == "good", "it is not late yet"
    (one,) = api.get("/slas/in-time").body["predicted"]
    assert one["run_id"] == run_id
    assert one["path"] == ["a", "b", "c"]
    left = at(one["expected_at"]) - timezone.now()
    assert timedelta(seconds=500) < left <= timedelta(seconds=560)
    assert api.get("/slas/roomy").body["predicted"] == []
    assert predicting.predict(store.connection()) == 0, "it was just done"


def test_what_is_not_known_is_not_predicted(
    api: Api, make: Make, engine: Engine, clock: Clock
) -> None:
    assert api.put("/workflows/chain", CHAIN).status == 201
    make("in-time", "run_duration", threshold="5m")
    usual("chain", a=1000.0)
    api.post("/workflows/chain/runs", {"input": {}})
    engine.claim()
    clock.look()
    assert SlaDeadline.objects.get().expected_at is None
    assert SlaDeadline.objects.get().predicted_at is not None


def test_what_steps_usually_take_is_their_median(
    api: Api, make: Make, engine: Engine, clock: Clock
) -> None:
    assert api.put("/workflows/chain", CHAIN).status == 201
    make("in-time", "run_duration", threshold="5m")
    for took in (10, 20, 90):
        run_id = api.post("/workflows/chain/runs", {"input": {}}).body["id"]
        engine.run_all()
        for step in StepRun.objects.filter(run_id=run_id):
            assert step.finished_at is not None
            StepRun.objects.filter(run_id=run_id, ordinal=step.ordinal).update(
                ready_at=step.finished_at - timedelta(seconds=took)
            )
    api.post("/workflows/chain/runs", {"input": {}})
    engine.claim()
    clock.look()
    norms = {row.step: row.p50_s for row in StepNorm.objects.all()}
    assert norms.pop("") is None
    assert norms == pytest.approx({"a": 20.0, "b": 20.0, "side": 20.0, "c": 20.0})
    assert SlaDeadline.objects.get().expected_at is not None


# -- proposals -----------------------------------------------------------------------------------


def learnt(past: Past, *, runs: int = 120) -> None:
    """The workflow has been there for a week, and its runs took about four seconds."""
    Workflow.objects.filter(pk=past.workflow.pk).update(
        created_at=timezone.now() - timedelta(days=8)
    )
    hour = timezone.now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=5)
    past.tell(
        hour, [("run.succeeded", 4.0, None)] * runs,
        Run.objects.create(
            id="01a1ff2e-94de-731d-acfd-095b6130f46e", tenant=past.tenant, workflow=past.workflow,
            version=past.version, state="succeeded", priority=5, input="{}", timeout_ms=1,
            fail_fast=False, step_count=1, open_count=0, finished_at=hour,
        ).pk,
    )  # fmt: skip
    while rollups.roll():
        pass
    assert Rollup.objects.exists()


def test_a_threshold_is_learnt_and_proposed_and_not_set(
    api: Api, past: Past, tenant: Tenant
) -> None:
    learnt(past)
    learner = Learner()
    assert learner(store.connection()) == 1
    assert learner(store.connection()) == 0
    assert api.get("/slas").body["items"] == []
    (one,) = api.get("/sla-proposals").body["items"]
    assert (one["workflow"], one["kind"], one["threshold"], one["runs"]) == (
        "echo", "p95_threshold", "7500ms", 120,
    )  # fmt: skip
    made = api.post("/sla-proposals/echo/accept")
    assert (made.status, made.body["name"], made.body["threshold"]) == (201, "p95-echo", "7500ms")
    assert made.body["workflows"] == ["echo"]
    assert api.get("/sla-proposals").body["items"] == []
    assert api.post("/sla-proposals/echo/accept").code == "proposal_not_found"
    assert api.post("/sla-proposals/ec%00ho/accept").code == "proposal_not_found"
    assert AuditEntry.objects.filter(
        tenant=tenant, action="sla.created", target="p95-echo"
    ).exists()


def test_workflows_with_long_names_have_rules_of_their_own(api: Api, tenant: Tenant) -> None:
    steps = {"steps": [{"name": "a", "handler": "core.echo", "args": {}}]}
    made = set()
    for end in "ab":
        name = "w" * 60 + end
        assert api.put(f"/workflows/{name}", steps).status == 201
        workflow = Workflow.objects.get(tenant=tenant, name=name)
        SlaProposal.objects.create(
            tenant_id=tenant.pk, workflow=workflow, p95_s=4.0, threshold_s=7.5, run_count=100
        )
        answer = api.post(f"/sla-proposals/{name}/accept")
        assert answer.status == 201, answer.text
        made.add(answer.body["name"])
    assert len(made) == 2
    assert {len(one) for one in made} == {63}


def test_a_proposal_that_is_dismissed_does_not_come_back(
    api: Api, past: Past, stranger: Api
) -> None:
    learnt(past)
    learner = Learner()
    learner(store.connection())
    assert stranger.get("/sla-proposals").body["items"] == []
    assert stranger.post("/sla-proposals/echo/dismiss").code == "proposal_not_found"
    assert api.post("/sla-proposals/echo/dismiss").status == 204
    assert learner(store.connection()) == 0
    assert SlaProposal.objects.get().decision == "dismissed"


def test_nothing_is_proposed_from_little_or_where_there_is_a_rule(
    api: Api, past: Past, make: Make
) -> None:
    learnt(past, runs=50)
    assert Learner()(store.connection()) == 0
    make("mine", "run_duration", threshold="1m", workflows=["echo"])
    past.tell(
        timezone.now() - timedelta(hours=5),
        [("run.succeeded", 4.0, None)] * 100,
        Run.objects.get().pk,
    )
    while rollups.roll():
        pass
    assert Learner()(store.connection()) == 0
