"""What a tenant's quotas take of new runs: exactly so many, whoever asks at once, and no accepted one less."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from uuid_utils.compat import uuid7

from orchestrator import store
from orchestrator.models import IdempotencyKey, Run, Storage, TenantLoad, WorkflowVersion
from orchestrator.services.repairs import retry_run
from orchestrator.store import clock
from orchestrator.store.submit import NewRun, SubmittedRun, submit
from tenants.actors import SYSTEM
from tenants.models import Tenant
from tenants.services import create_tenant, set_quota
from tests.store.waiting import Waiting

ONE = {"name": "a", "handler": "core.echo", "args": {}}


@pytest.fixture
def tenant(db: None) -> Tenant:
    return create_tenant(slug="t", actor=SYSTEM)


@pytest.fixture
def engine(tenant: Tenant) -> Waiting:
    return Waiting(tenant)


def version_of(engine: Waiting, name: str) -> int:
    return WorkflowVersion.objects.get(tenant=engine.tenant, workflow__name=name).pk


def send(engine: Waiting, count: int, name: str = "w", keys: list[str] | None = None) -> list[Any]:
    """Submit so many runs in one statement; what became of each."""
    version = version_of(engine, name)
    runs = [
        NewRun(
            id=uuid7(),
            version_id=version,
            key=keys[nr] if keys else None,
            fingerprint="f" if keys else None,
        )
        for nr in range(count)
    ]
    made = submit(store.connection(), tenant_id=engine.tenant.pk, runs=runs, actor=None)
    return made.results


def over(result: SubmittedRun) -> tuple[str, int, int]:
    """The quota that refused, its value and use."""
    assert result.held == "quota"
    assert result.over is not None
    facts = json.loads(result.over)
    assert facts["retry_after"] >= 1
    return facts["quota"], facts["value"], facts["use"]


def taken(results: list[SubmittedRun]) -> int:
    return sum(not result.refused for result in results)


def active(tenant: Tenant) -> int:
    return TenantLoad.objects.get(tenant_id=tenant.pk).active_runs


def quota(tenant: Tenant, **limits: Any) -> None:
    set_quota(tenant=tenant, actor=SYSTEM, **limits)


def test_without_quotas_everything_is_taken(engine: Waiting) -> None:
    engine.publish("w", ONE)
    assert taken(send(engine, 500)) == 500
    assert active(engine.tenant) == 500


def test_active_runs_are_taken_up_to_the_quota_and_make_room_at_their_end(engine: Waiting) -> None:
    engine.publish("w", ONE)
    quota(engine.tenant, max_active_runs=3)
    first = send(engine, 5)
    assert [result.refused for result in first] == [False, False, False, True, True]
    assert over(first[4]) == ("max_active_runs", 3, 3)
    assert Run.objects.count() == 3
    assert over(send(engine, 1)[0]) == ("max_active_runs", 3, 3)
    engine.succeed(engine.claim(1))
    assert active(engine.tenant) == 2
    assert [result.refused for result in send(engine, 2)] == [False, True]
    quota(engine.tenant, max_active_runs=1)  # what was accepted stays
    assert Run.objects.filter(state="queued").count() == 3
    assert over(send(engine, 1)[0]) == ("max_active_runs", 1, 3)
    quota(engine.tenant, max_active_runs=None)
    assert taken(send(engine, 9)) == 9


def test_children_and_retries_of_accepted_runs_are_taken(engine: Waiting) -> None:
    engine.publish("w", ONE)
    engine.publish("parent", {"name": "c", "workflow": "w", "args": {}})
    quota(engine.tenant, max_active_runs=1)
    send(engine, 1, "parent")
    (step,) = engine.turn()
    assert active(engine.tenant) == 2
    engine.fail(step)
    engine.turn()
    assert active(engine.tenant) == 0
    parent = Run.objects.get(parent_id=None)
    retry_run(tenant=engine.tenant, run_id=parent.pk, body={}, actor=SYSTEM)
    engine.run_all()
    assert Run.objects.get(pk=parent.pk).state == "succeeded"
    assert active(engine.tenant) == 0
    assert clock.reconcile(store.connection()) == 0


def test_a_wrong_count_is_mended(engine: Waiting) -> None:
    engine.publish("w", ONE)
    send(engine, 4)
    TenantLoad.objects.update(active_runs=9)
    assert clock.reconcile(store.connection()) == 1
    assert active(engine.tenant) == 4


def test_waiting_steps(engine: Waiting) -> None:
    engine.publish("w", ONE, {**ONE, "name": "b"})
    quota(engine.tenant, max_waiting_steps=5)
    results = send(engine, 5)  # two of each may start: a run is taken while there is room
    assert taken(results) == 3
    assert over(results[3])[:2] == ("max_waiting_steps", 5)
    assert over(send(engine, 1)[0]) == ("max_waiting_steps", 5, 6)
    engine.claim(2)
    assert taken(send(engine, 2)) == 1
    quota(engine.tenant, max_waiting_steps=0)
    assert over(send(engine, 1)[0])[0] == "max_waiting_steps"


def test_waiting_steps_that_are_set_aside_count_and_held_runs_do_not(engine: Waiting) -> None:
    engine.publish("w", ONE)
    send(engine, 3)
    engine.join("elsewhere")
    clock.unserved(store.connection(), lease_s=15)
    assert TenantLoad.objects.get().ready_count == 0
    quota(engine.tenant, max_waiting_steps=3)
    assert over(send(engine, 1)[0]) == ("max_waiting_steps", 3, 3)
    quota(engine.tenant, max_waiting_steps=4)
    version = version_of(engine, "w")
    later = timezone.now() + timedelta(hours=1)
    runs = [NewRun(id=uuid7(), version_id=version, start_at=later) for _ in range(4)]
    made = submit(store.connection(), tenant_id=engine.tenant.pk, runs=runs, actor=None)
    assert taken(made.results) == 4


def test_submissions_per_minute_come_at_once_and_then_evenly(engine: Waiting) -> None:
    engine.publish("w", ONE)
    quota(engine.tenant, submissions_per_minute=6)
    results = send(engine, 8)
    assert taken(results) == 6
    assert over(results[6]) == ("submissions_per_minute", 6, 6)
    assert json.loads(results[6].over or "")["retry_after"] in (10, 9)
    assert taken(send(engine, 1)) == 0  # what is refused spends nothing
    load = TenantLoad.objects.get()
    assert load.submit_at is not None
    for seconds, expected in ((9, 0), (2, 1), (9, 1), (60, 6)):
        load = TenantLoad.objects.get()
        assert load.submit_at is not None
        TenantLoad.objects.update(submit_at=load.submit_at - timedelta(seconds=seconds))
        assert taken(send(engine, 8)) == expected, seconds
    quota(engine.tenant, submissions_per_minute=600)
    assert taken(send(engine, 1)) <= 1


def test_the_allowance_is_exact_whatever_the_limit(engine: Waiting) -> None:
    """Limits whose share of a minute is no whole number of microseconds, taken at one moment."""
    engine.publish("w", ONE)
    send(engine, 1)
    now = timezone.now()
    for limit in (1, 7, 397, 900, 3600, 18_000, 123_457):
        quota(engine.tenant, submissions_per_minute=limit)
        for chunk in (limit + 1, 1000, 333):
            if limit > 20 * chunk:
                continue
            TenantLoad.objects.update(submit_at=None)
            rooms = [room(engine, chunk, now)[0] for _ in range(limit // chunk + 2)]
            assert sum(rooms) == limit, (limit, chunk)
            retry_s = room(engine, 1, now)[1]
            assert retry_s == max(1, -(-60 // limit))
            assert room(engine, 1, now + timedelta(seconds=60 / limit + 1e-5))[0] == 1


def room(engine: Waiting, count: int, now: datetime) -> tuple[int, int | None]:
    """How many of so many runs the quotas take at a moment, and the seconds until one more is."""
    row = (
        store.connection()
        .execute(
            "SELECT room, retry_s FROM engine_quota(%s::int, array_fill(1, ARRAY[%s::int]),"
            " ARRAY[%s::bigint], ARRAY[NULL::text], %s)",
            (engine.tenant.pk, count, version_of(engine, "w"), now),
        )
        .fetchone()
    )
    assert row is not None
    return row[0], row[1]


def test_storage(engine: Waiting) -> None:
    engine.publish("w", ONE)
    quota(engine.tenant, max_storage_bytes=1000)
    assert taken(send(engine, 1)) == 1
    Storage.objects.create(tenant_id=engine.tenant.pk, bytes=1000)
    assert over(send(engine, 1)[0]) == ("max_storage_bytes", 1000, 1000)
    Storage.objects.update(bytes=999)
    assert taken(send(engine, 1)) == 1


def test_the_narrowest_quota_says_why(engine: Waiting) -> None:
    engine.publish("w", ONE)
    quota(engine.tenant, max_active_runs=4, submissions_per_minute=2, max_waiting_steps=3)
    results = send(engine, 5)
    assert taken(results) == 2
    assert over(results[2])[0] == "submissions_per_minute"
    assert taken(send(engine, 1)) == 0


def test_a_refused_key_is_free_again_and_a_known_one_is_answered(engine: Waiting) -> None:
    engine.publish("w", ONE)
    quota(engine.tenant, max_active_runs=1)
    first, second, again = send(engine, 3, keys=["a", "b", "b"])
    assert (first.refused, second.refused, again.refused) == (False, True, True)
    assert list(IdempotencyKey.objects.values_list("key", flat=True)) == ["a"]
    (replay,) = send(engine, 1, keys=["a"])
    assert (replay.replayed, replay.run_id, replay.refused) == (True, first.run_id, False)
    quota(engine.tenant, max_active_runs=2)
    assert taken(send(engine, 1, keys=["b"])) == 1


def test_a_refused_place_is_not_what_its_key_of_concurrency_refuses(engine: Waiting) -> None:
    concurrency = {"key": "k", "limit": 1, "on_conflict": "reject"}
    engine.publish("w", ONE, concurrency=concurrency)
    quota(engine.tenant, max_active_runs=2)
    runs = [
        NewRun(id=uuid7(), version_id=version_of(engine, "w"), concurrency=key)
        for key in ("k", "k", "l", "m")
    ]
    made = submit(store.connection(), tenant_id=engine.tenant.pk, runs=runs, actor=None)
    assert [result.held for result in made.results] == [None, "reject", None, "quota"]


def test_quotas_are_the_tenants_own(engine: Waiting) -> None:
    other = Waiting(create_tenant(slug="u", actor=SYSTEM))
    for one in (engine, other):
        one.publish("w", ONE)
    quota(engine.tenant, max_active_runs=0)
    assert taken(send(engine, 1)) == 0
    assert taken(send(other, 1)) == 1
