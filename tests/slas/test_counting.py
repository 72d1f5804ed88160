"""What is counted for rules: by kind, scope and label, each event once, and runs that are awaited."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db.models import F, Sum
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator import store
from orchestrator.domain.observations import Sight
from orchestrator.models import (
    Run,
    Sla,
    SlaDeadline,
    SlaSample,
    SlaState,
    StepRun,
    Worker,
    Workflow,
)
from orchestrator.services import sla_counting
from orchestrator.store import clock as store_clock
from orchestrator.store import predictions
from orchestrator.store.work import Completion
from tests.api.client import Api
from tests.engine import Engine
from tests.slas.conftest import Clock, Past

Make = Callable[..., dict[str, Any]]


def counted(name: str, width_s: int = 60) -> tuple[int, int, int]:
    sums = SlaSample.objects.filter(sla__name=name, width_s=width_s).aggregate(
        total=Sum("total", default=0), good=Sum("good", default=0), clear=Sum("clear", default=0)
    )
    return sums["total"], sums["good"], sums["clear"]


def test_each_kind_counts_its_own(make: Make, past: Past, clock: Clock, now: datetime) -> None:
    make("ratio", "success_ratio")
    make("errors", "error_rate_ceiling", threshold=0.1)
    make("duration", "run_duration", threshold="10s")
    make("p95", "p95_threshold", threshold="10s", clear_threshold="5s")
    make("fresh", "freshness", threshold="60s")
    make("floor", "throughput_floor", threshold="1/1h")
    make("queue", "queue_latency", threshold="1s")
    make("ready", "readiness_p95", threshold="100ms", clear_threshold="50ms")
    past.run(now, 7.0)
    past.run(now, 11.0)
    past.run(now, 1.0, waited_s=70.0)
    past.run(now, 1.0, state="failed")
    past.run(now, 1.0, state="cancelled")
    past.tell(
        now,
        [("step.running", 0.5, None), ("step.running", 1.5, None), ("step.running", None, None),
         ("step.succeeded", 1.0, 0.07), ("step.failed", 1.0, 0.2), ("step.skipped", None, None)],
    )  # fmt: skip
    assert clock.count() == 11
    assert counted("ratio") == counted("errors") == (4, 3, 3)
    assert counted("duration") == (4, 3, 3)
    assert counted("p95") == (4, 3, 2)
    assert counted("fresh") == (4, 2, 2), "one waited too long, one failed"
    assert counted("floor") == (3, 3, 3)
    assert counted("queue") == (2, 1, 1)
    assert counted("ready") == (2, 1, 0)
    for name in ("ratio", "p95", "ready"):
        assert counted(name) == counted(name, 3600), "the hours are the minutes' sums"
    assert clock.count() == 0


def test_only_the_runs_of_the_scope_count(
    make: Make, api: Api, past: Past, clock: Clock, now: datetime
) -> None:
    api.put("/workflows/other", {"steps": [{"name": "a", "handler": "core.echo", "args": {}}]})
    other = Workflow.objects.get(name="other")
    make("all", "success_ratio")
    make("one", "success_ratio", workflows=["echo"])
    make("both", "success_ratio", workflows=["echo", "other"])
    make("eu", "success_ratio", labels={"region": "eu"})
    make("eu-gold", "success_ratio", labels={"region": "eu", "plan": "gold"})
    make("one-eu", "success_ratio", workflows=["other"], labels={"region": "eu"})
    past.run(now)
    past.run(now, labels={"region": "eu"})
    past.run(now, labels={"region": "eu", "plan": "gold", "more": "x"})
    past.run(now, workflow=other, labels={"region": "us", "plan": "gold"})
    past.run(now, workflow=other, labels={"region": "eu"})
    clock.count()
    totals = {name: counted(name)[0] for name in ("all", "one", "both", "eu", "eu-gold", "one-eu")}
    assert totals == {"all": 5, "one": 3, "both": 5, "eu": 3, "eu-gold": 1, "one-eu": 1}


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(limits=st.lists(st.integers(1, 7), min_size=1, max_size=6))
def test_however_it_is_cut_each_event_counts_once(
    limits: list[int], make: Make, past: Past, now: datetime
) -> None:
    Sla.objects.all().delete()
    make("ratio", "success_ratio")  # what earlier examples did, it counts at once
    before = counted("ratio")
    for nr in range(12):
        past.run(now - timedelta(minutes=nr), state="failed" if nr % 3 == 0 else "succeeded")
    moved = 0
    for limit in [*limits, 100]:
        moved += sla_counting.count(store.connection(), limit)
    assert moved == 12
    assert counted("ratio") == (before[0] + 12, before[1] + 8, before[2] + 8)


def test_a_new_rule_counts_what_was_before_it_and_nothing_twice(
    make: Make, past: Past, clock: Clock, now: datetime
) -> None:
    past.run(now - timedelta(hours=30))
    past.run(now)
    make("first", "success_ratio", window="7d")
    clock.count()
    past.run(now, state="failed")
    make("second", "success_ratio", labels={})
    clock.count()
    assert counted("first") == counted("second") == (3, 2, 2)


def test_an_edit_counts_anew_only_when_something_else_is_counted(
    make: Make, api: Api, past: Past, clock: Clock, now: datetime
) -> None:
    body = {"kind": "run_duration", "threshold": "10s", "target": 0.5}
    make("a", **body)
    past.run(now, 20.0)
    assert clock.look()["a"].sight is Sight.BAD
    assert api.put("/slas/a", {**body, "target": 0.4, "window": "2h"}).status == 200
    assert SlaState.objects.exists()
    assert api.put("/slas/a", {**body, "threshold": "30s"}).status == 200
    assert not SlaState.objects.exists(), "it is another question now"
    assert counted("a") == (1, 1, 1)
    assert clock.look()["a"].sight is Sight.GOOD
    assert api.put("/slas/a", {**body, "enabled": False}).status == 200
    assert counted("a") == (0, 0, 0)
    past.run(now, 20.0)
    assert clock.look().keys() == {"SLA evaluation"}
    assert api.put("/slas/a", body).status == 200
    assert counted("a") == (2, 0, 0), "what went by meanwhile is found again"


# -- runs that go on ---------------------------------------------------------------------------


def begin(api: Api, engine: Engine, *, ago: timedelta, **more: Any) -> str:
    """A run that was started so long ago and goes on."""
    run_id = str(api.post("/workflows/echo/runs", {"input": {"text": "x"}, **more}).body["id"])
    engine.begun = engine.claim()  # type: ignore[attr-defined]
    moved = {"created_at": Run.objects.get(pk=run_id).created_at - ago}
    Run.objects.filter(pk=run_id).update(**moved, started_at=moved["created_at"])
    return run_id


def test_a_run_that_hangs_fires_and_is_awaited_no_more_when_it_has_ended(
    make: Make, api: Api, echo: str, engine: Engine, clock: Clock
) -> None:
    make("slow", "run_duration", threshold="10m", target=0.9, min_samples=5)
    make("fresh", "freshness", threshold="10m", target=0.9)
    make("p95", "p95_threshold", threshold="2h")
    make("p95-short", "p95_threshold", threshold="10m")
    run_id = begin(api, engine, ago=timedelta(hours=1))
    seen = clock.look()
    assert seen["slow"].sight is seen["fresh"].sight is Sight.BAD
    assert [str(one) for one in seen["slow"].run_ids] == [run_id]
    assert "1 late and not ended" in seen["slow"].summary
    assert seen["p95"].sight is Sight.GOOD
    assert seen["p95-short"].sight is Sight.BAD
    assert seen["p95-short"].value == pytest.approx(3600, abs=120), "its age"
    view = api.get("/slas/slow").body
    assert [one["run_id"] for one in view["late"]] == [run_id]
    assert (view["status"]["state"], view["status"]["late"]) == ("bad", 1)
    assert api.post(f"/runs/{run_id}/cancel").status == 200
    engine.complete(*(Completion(one, "cancelled", 1.0) for one in engine.begun))  # type: ignore[attr-defined]
    assert SlaDeadline.objects.count() == 4
    clock.count()
    assert not SlaDeadline.objects.exists()
    assert clock.look()["fresh"].sight is Sight.GOOD, "a cancelled run is nobody's failure"


def test_an_edit_gives_runs_that_go_on_their_new_time(
    make: Make, api: Api, echo: str, engine: Engine, clock: Clock
) -> None:
    body = {"kind": "run_duration", "threshold": "10m", "labels": {"region": "eu"}}
    run_id = begin(api, engine, ago=timedelta(hours=1), labels={"region": "eu"})
    begin(api, engine, ago=timedelta(hours=1))
    make("slow", **body)
    row = SlaDeadline.objects.get()
    assert str(row.run_id) == run_id
    clock.look()
    assert api.get("/slas/slow").body["late"]
    assert api.put("/slas/slow", {**body, "threshold": "3h"}).status == 200
    assert SlaDeadline.objects.get().due_at - row.due_at == timedelta(hours=2, minutes=50)
    assert clock.look()["slow"].sight is Sight.GOOD
    assert api.put("/slas/slow", {**body, "labels": {}}).status == 200
    assert SlaDeadline.objects.count() == 2
    assert api.put("/slas/slow", {"kind": "success_ratio"}).status == 200
    assert not SlaDeadline.objects.exists()
    assert api.delete("/slas/slow").status == 204


def test_short_runs_are_never_awaited(
    make: Make, api: Api, echo: str, engine: Engine, clock: Clock
) -> None:
    make("slow", "run_duration", threshold="10m")
    api.post("/workflows/echo/runs", {"input": {"text": "x"}})
    engine.run_all()
    clock.count()
    assert not SlaDeadline.objects.exists()
    assert counted("slow") == (1, 1, 1)


def test_runs_that_are_gone_are_swept_away(
    make: Make, api: Api, echo: str, engine: Engine, clock: Clock
) -> None:
    make("slow", "run_duration", threshold="10m")
    begin(api, engine, ago=timedelta(0))
    clock.count()
    assert predictions.sweep(store.connection(), limit=10) == 0
    begin(api, engine, ago=timedelta(0))
    clock.count()
    store.connection().execute("DELETE FROM step_run")
    store.connection().execute("DELETE FROM run")
    long_ago = timezone.now() - timedelta(days=70)
    for minute in range(3):
        SlaSample.objects.create(
            tenant_id=Sla.objects.get().tenant_id, sla=Sla.objects.get(), width_s=60,
            at=long_ago + timedelta(minutes=minute), total=1, good=1, clear=1,
        )  # fmt: skip
    assert sla_counting.prune(store.connection(), limit=1) == 5, "in portions, until all are gone"


def test_steps_that_wait_too_long_count_before_they_start(
    make: Make, api: Api, echo: str, clock: Clock
) -> None:
    make("queue", "queue_latency", threshold="5s")
    make("elsewhere", "queue_latency", threshold="5s", labels={"a": "b"})
    for _ in range(3):
        api.post("/workflows/echo/runs", {"input": {"text": "x"}})
    apart, fresh, _ = StepRun.objects.order_by("run_id")
    StepRun.objects.filter(run_id=apart.run_id).update(pool="apart")
    late = StepRun.objects.exclude(run_id=fresh.run_id)
    late.update(ready_at=F("ready_at") - timedelta(minutes=1))
    seen = clock.look()
    assert (seen["queue"].sight, seen["elsewhere"].sight) == (Sight.BAD, Sight.GOOD)
    assert api.get("/slas/queue").body["status"]["late"] == 2, "of each lane"
    Worker.objects.update(state="gone")
    store_clock.unserved(store.connection(), lease_s=20.0)
    assert StepRun.objects.filter(parked="no_worker").count() == 3
    seen = clock.look()
    assert (seen["queue"].sight, seen["elsewhere"].sight) == (Sight.BAD, Sight.GOOD)
    assert api.get("/slas/queue").body["status"]["late"] == 2, "without any worker most of all"


def test_time_that_a_run_was_asked_to_wait_is_not_held_against_it(
    make: Make, api: Api, past: Past, clock: Clock, now: datetime
) -> None:
    make("fresh", "freshness", threshold="1h")
    tomorrow = now + timedelta(days=1)
    body = {"input": {"text": "x"}, "start_at": tomorrow.isoformat()}
    assert api.post("/workflows/echo/runs", body).status == 202
    clock.count()
    make("later", "freshness", threshold="1h")
    due = set(SlaDeadline.objects.values_list("sla__name", "due_at"))
    assert due == {(name, tomorrow + timedelta(hours=1)) for name in ("fresh", "later")}
    run_id = past.run(now, 1.0, waited_s=7200.0)
    Run.objects.filter(pk=run_id).update(start_at=now - timedelta(minutes=1))
    clock.count()
    assert counted("fresh") == (1, 1, 1)
