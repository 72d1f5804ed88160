"""Maps that a compensation lets try again: what succeeded stays, what failed runs once more."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator import store
from orchestrator.domain.maps import SOURCE
from orchestrator.domain.undo import COMPENSATION
from orchestrator.models import Event, MapPack, MapState, Run, StepRun
from orchestrator.services.runs import cancel_run
from orchestrator.store import clock, work
from orchestrator.store.work import Claimed
from tenants.actors import SYSTEM
from tenants.models import Tenant
from tests.store.test_maps import ERROR, Mapper, chunk, tenant

__all__ = ["tenant"]
pytestmark = pytest.mark.django_db
CALL = {"compensate": {"handler": "core.echo", "args": {}}}


def start(tenant: Tenant, over: Any = "${{ range(10) }}", **of: Any) -> tuple[Mapper, Run]:
    """A map with a compensation, a batch for each item, two in flight."""
    mapper = Mapper(tenant)
    return mapper, mapper.start(over, step=CALL, **{"max_in_flight": 2, **of})


def fail(mapper: Mapper, claimed: Claimed, **more: Any) -> None:
    mapper.end(claimed, "failed", error=ERROR, **more)


def succeed(mapper: Mapper, claimed: Claimed) -> None:
    mapper.end(claimed, "succeeded", output=json.dumps(json.loads(claimed.args or "")["items"]))


def answer(mapper: Mapper, reason: str | None = "retry", **more: Any) -> None:
    """The compensation ends."""
    (claimed,) = mapper.engine.claim()
    assert claimed.batch == COMPENSATION
    mapper.end(claimed, "succeeded", reason=reason, **more)


def own(run: Run) -> StepRun:
    return StepRun.objects.get(run=run, batch=0)


def test_what_failed_and_what_had_not_begun_runs_and_no_more(tenant: Tenant) -> None:
    mapper, run = start(tenant)
    first, second = mapper.engine.claim(2)
    succeed(mapper, first)
    fail(mapper, second)
    assert MapPack.objects.count() == 1, "kept, for it may go on"
    assert (own(run).wait_reason, Event.objects.filter(type="run.failed").count()) == (
        "compensate",
        0,
    )
    answer(mapper)
    row = own(run)
    assert (row.state, row.wait_reason, row.attempts, row.extra_attempts) == (
        "waiting",
        "map",
        1,
        1,
    )
    mapper.sound()
    done: list[int] = []
    while claims := mapper.engine.claim():
        assert len(claims) <= 2, "the window holds"
        for claimed in claims:
            assert (claimed.epoch, claimed.attempts) == ((2, 1) if claimed.batch == 2 else (1, 0))
            done += json.loads(claimed.args or "")["items"]
            succeed(mapper, claimed)
            mapper.sound()
    assert done == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    run.refresh_from_db()
    assert (run.state, json.loads(run.output or "")) == ("succeeded", list(range(10)))
    row = own(run)
    assert (row.attempts, row.error, row.handled) == (2, None, False)
    state = MapState.objects.get()
    assert (state.done, state.failed, state.again, state.in_flight) == (10, 0, 0, 0)
    assert not MapPack.objects.exists()
    told = Event.objects.filter(run_id=run.pk, ordinal=0, batch=0).order_by("seq")
    kinds = [event.type.removeprefix("step.") for event in told]
    assert kinds[-5:] == ["running", "retrying", "waiting", "running", "succeeded"]


def test_nothing_of_a_map_runs_beside_batches_whose_code_has_not_ended(tenant: Tenant) -> None:
    """Two batches are given up while their blocking code runs on: the compensation, and with it the
    next attempt, waits for the end of both."""
    mapper, run = start(tenant, "${{ range(2) }}")
    first, second = mapper.engine.claim()
    late = '{"code":"timeout","message":"late","type":null}'
    for claimed in (first, second):
        mapper.end(claimed, "failed", error=late, held=True)
    assert own(run).wait_reason == "compensate"
    for claimed in (first, second):
        assert mapper.engine.claim() == []
        assert mapper.engine.worker is not None
        work.unhold(store.connection(), mapper.engine.worker.pk, [claimed])
        clock.due(store.connection())
    answer(mapper)
    assert sorted(claimed.batch for claimed in mapper.engine.claim()) == [1, 2]


def test_the_ends_of_stuck_batches_may_come_together(tenant: Tenant) -> None:
    mapper, _ = start(tenant, "${{ range(2) }}")
    claims = mapper.engine.claim()
    for claimed in claims:
        mapper.end(claimed, "failed", error=ERROR, held=True)
    assert mapper.engine.worker is not None
    work.unhold(store.connection(), mapper.engine.worker.pk, claims)
    clock.due(store.connection())
    answer(mapper)
    assert len(mapper.engine.claim()) == 2


def test_it_is_tried_three_times_more_at_most(tenant: Tenant) -> None:
    mapper, run = start(tenant, "${{ range(3) }}", max_in_flight=1)
    for granted in range(4):
        (claimed,) = mapper.engine.claim()
        assert (claimed.batch, claimed.attempts) == (1, granted)
        fail(mapper, claimed)
        answer(mapper)
    run.refresh_from_db()
    assert (run.state, own(run).state, own(run).extra_attempts) == ("failed", "failed", 3)
    assert not MapPack.objects.exists()
    mapper.sound()


@pytest.mark.parametrize("reason", ["continue", None])
def test_what_was_kept_goes_when_it_is_not_tried_again(tenant: Tenant, reason: str | None) -> None:
    mapper, run = start(tenant)
    fail(mapper, mapper.engine.claim(1)[0])
    answer(mapper, reason, output="42")
    run.refresh_from_db()
    assert run.state == ("succeeded" if reason else "failed")
    assert not MapPack.objects.exists()
    assert not StepRun.objects.filter(batch__gt=0, args__isnull=False).exists()


@pytest.mark.parametrize("ended", [True, False])
def test_cancel_instead(tenant: Tenant, ended: bool) -> None:
    mapper, run = start(tenant)
    fail(mapper, mapper.engine.claim(1)[0])
    if ended:
        answer(mapper)
    cancel_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    run.refresh_from_db()
    assert run.state == "cancelled"
    assert not MapPack.objects.exists()
    mapper.sound()


def test_a_delay_is_kept(tenant: Tenant) -> None:
    mapper, run = start(tenant, "${{ range(2) }}")
    fail(mapper, mapper.engine.claim(1)[0])
    answer(mapper, delay_s=3600)
    assert (own(run).state, own(run).wait_reason) == ("waiting", "retry")
    assert mapper.engine.claim() == []
    StepRun.objects.filter(batch=0).update(due_at="2026-01-01T00:00:00Z")
    clock.due(store.connection())
    assert own(run).wait_reason == "map"
    mapper.sound()
    for claimed in mapper.engine.claim():
        succeed(mapper, claimed)
    run.refresh_from_db()
    assert (run.state, json.loads(run.output or "")) == ("succeeded", [0, 1])


def test_a_map_that_could_not_begin_is_asked_about_again_after_a_delay(tenant: Tenant) -> None:
    mapper, _run = start(tenant, "${{ 1 }}")
    answer(mapper, delay_s=3600)
    StepRun.objects.filter(batch=0).update(due_at="2026-01-01T00:00:00Z")
    clock.due(store.connection())
    (claimed,) = mapper.engine.claim()
    assert (claimed.kind, claimed.batch) == ("condition", 0)
    mapper.sound()


def test_items_that_failed_among_others_run_alone(tenant: Tenant) -> None:
    mapper, run = start(tenant, max_in_flight=1, batch_size=4, on_error={"max_failures": 3})
    error = '{"code":"error","message":"no","failed":2,"items":[]}'
    kept = '{"items":[0,1,2,3],"done":{"0":0}}'
    for _ in range(2):
        (claimed,) = mapper.engine.claim()
        mapper.end(claimed, "succeeded", output="[]", error=error, handled=True, args=kept)
    answer(mapper)
    state = MapState.objects.get()
    assert (state.done, state.failed, state.again, state.in_flight) == (0, 0, 1, 1)
    while claims := mapper.engine.claim():
        (claimed,) = claims
        assert claimed.args == (kept if claimed.batch < 3 else '{"items":[8,9]}')
        mapper.end(claimed, "succeeded", output="[1,1,1,1]" if claimed.batch < 3 else "[1,1]")
    run.refresh_from_db()
    assert (run.state, json.loads(run.output or "")) == ("succeeded", [1] * 10)
    state.refresh_from_db()
    assert (state.done, state.failed) == (10, 0)


@pytest.mark.parametrize("cause", ["source", "batch"])
def test_a_source_reads_on_behind_its_cursor(tenant: Tenant, cause: str) -> None:
    over = {"handler": "core.echo", "args": {}}
    mapper, run = start(tenant, over)
    (read,) = mapper.engine.claim()
    mapper.end(read, "succeeded", output=chunk(0, 3, 1, ended=False))
    claims = mapper.engine.claim()
    for claimed in claims:
        if (claimed.batch == SOURCE and cause == "source") or (
            claimed.batch == 2 and cause == "batch"
        ):
            fail(mapper, claimed)
        elif claimed.batch > 0:
            succeed(mapper, claimed)
    for claimed in claims:
        if claimed.batch == SOURCE and cause == "batch":
            mapper.end(claimed, "cancelled", error=ERROR)
    answer(mapper)
    mapper.sound()
    seen: list[int] = []
    while claims := mapper.engine.claim():
        for claimed in claims:
            if claimed.batch == SOURCE:
                position = json.loads(claimed.args or "")
                assert position["total"] == 3
                mapper.end(claimed, "succeeded", output=chunk(3, 2, 1, ended=True))
            else:
                seen.append(claimed.batch)
                succeed(mapper, claimed)
            mapper.sound()
    run.refresh_from_db()
    assert (run.state, len(json.loads(run.output or ""))) == ("succeeded", 5)
    assert sorted(seen) == ([2, 3, 4, 5] if cause == "batch" else [3, 4, 5])


def test_lost_batches_are_tried_too(tenant: Tenant) -> None:
    mapper, run = start(tenant, "${{ range(1) }}")
    for _ in range(3):
        (claimed,) = mapper.engine.claim()
        mapper.end(claimed, "lost", error=ERROR, counts=False)
    answer(mapper)
    (claimed,) = mapper.engine.claim()
    assert json.loads(claimed.args or "") == {"items": [0]}
    succeed(mapper, claimed)
    run.refresh_from_db()
    assert run.state == "succeeded"
