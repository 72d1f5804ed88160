"""Maps in the engine's statements: driven by hand, with random ends, against a plain model."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from orchestrator import store
from orchestrator.domain.maps import SOURCE, batch_items, make_packs, packs_text, texts_array
from orchestrator.models import MapPack, MapState, Run, StepRun, TenantLoad
from orchestrator.services import repairs
from orchestrator.services.runs import cancel_run, submit_run
from orchestrator.services.workflows import publish_workflow
from orchestrator.store import clock, closing, workers
from orchestrator.store.work import Claimed, Completion
from tenants.actors import SYSTEM
from tenants.models import Tenant
from tenants.services import create_tenant
from tests.engine import Engine

pytestmark = [pytest.mark.django_db, pytest.mark.thorough]
ERROR = '{"code":"error","message":"no","type":"ValueError"}'


@pytest.fixture
def tenant(db: None) -> Tenant:
    return create_tenant(slug="t", max_connections=100, actor=SYSTEM)


@dataclass
class Mapper:
    """A worker whose handlers are decided by the test, and who decides what maps go over."""

    tenant: Tenant
    engine: Engine = field(default_factory=Engine)

    def start(
        self,
        over: Any,
        steps: list[dict[str, Any]] | None = None,
        step: dict[str, Any] | None = None,
        **of: Any,
    ) -> Run:
        """A run of one map step, begun; `step`: more of it."""
        mapped = {"name": "m", "handler": "core.echo", "map": {"over": over, **of}, **(step or {})}
        document = {"steps": [mapped, *(steps or [])]}
        publish_workflow(tenant=self.tenant, name="w", document=document, actor=SYSTEM)
        made = submit_run(tenant=self.tenant, workflow="w", body={}, actor=SYSTEM)
        self.engine.join()
        self.engine.decide()
        return Run.objects.get(pk=made.run_id)

    def end(self, claimed: Claimed, outcome: str, **more: Any) -> None:
        """End an attempt."""
        self.engine.complete(Completion(claimed, outcome, 0.1, **more))

    def sound(self) -> None:
        """Every count agrees with the rows."""
        assert clock.reconcile(store.connection()) == 0


def succeed(mapper: Mapper, claimed: Claimed) -> None:
    """A batch's items as its results."""
    items = json.loads(claimed.args or "")["items"]
    mapper.end(claimed, "succeeded", output=json.dumps(items))


@pytest.mark.parametrize("seed", range(8))
def test_random_ends_of_batches(tenant: Tenant, seed: int) -> None:
    rng = random.Random(seed)
    total, size, window = rng.randrange(1, 60), rng.randrange(1, 5), rng.randrange(1, 6)
    mapper = Mapper(tenant)
    run = mapper.start(
        f"${{{{ range({total}) }}}}",
        batch_size=size, max_in_flight=window, on_error="continue",
    )  # fmt: skip
    failed: set[int] = set()
    flying: list[Claimed] = []
    while not Run.objects.get(pk=run.pk).finished_at:
        flying += mapper.engine.claim(rng.randrange(1, 8))
        state = MapState.objects.get()
        batches = StepRun.objects.filter(batch__gt=0, finished_at__isnull=True).count()
        assert batches == state.in_flight <= window
        if not flying:
            StepRun.objects.filter(state="waiting", batch__gt=0).update(due_at=run.created_at)
            clock.due(store.connection())
            continue
        claimed = flying.pop(rng.randrange(len(flying)))
        match rng.randrange(6):
            case 0:
                mapper.end(claimed, "failed", error=ERROR)
                failed.add(claimed.batch)
            case 1:
                kept = json.dumps({"items": json.loads(claimed.args or "")["items"]})
                mapper.end(claimed, "waiting", error=ERROR, reason="retry", args=kept, delay_s=9.0)
            case 2:
                mapper.end(claimed, "ready", counts=False)
            case _:
                succeed(mapper, claimed)
        mapper.sound()
    run.refresh_from_db()
    expected = [None if at // size + 1 in failed else at for at in range(total)]
    assert (run.state, json.loads(run.output or "")) == ("succeeded", expected)
    state = MapState.objects.get()
    items_failed = sum(batch_items(batch, total, size) for batch in failed)
    assert (state.total, state.done, state.failed, state.in_flight) == (
        total,
        total,
        items_failed,
        0,
    )
    told = json.loads(state.errors or "[]")
    assert [error["item_index"] for error in told] == [
        at for at, x in enumerate(expected) if x is None
    ]
    assert not MapPack.objects.exists()
    assert not StepRun.objects.filter(batch__gt=0, args__isnull=False).exists()


def test_a_failed_batch_cancels_what_waits_and_the_step_ends_with_what_runs(tenant: Tenant) -> None:
    mapper = Mapper(tenant)
    run = mapper.start("${{ range(9) }}", max_in_flight=4)
    one, two, three = mapper.engine.claim(3)
    mapper.end(two, "waiting", error=ERROR, reason="retry", delay_s=60.0)
    mapper.end(one, "failed", error=ERROR)
    mapper.sound()
    states = dict(StepRun.objects.values_list("batch", "state"))
    assert states == {0: "waiting", 1: "failed", 2: "cancelled", 3: "running", 4: "cancelled"}
    key = (run.pk, 0)
    assert closing.failed_maps(store.connection(), [key]) == {key}
    assert closing.failed_maps(store.connection(), []) == set()
    mapper.end(three, "lost", error=ERROR, counts=False)
    mapper.sound()
    run.refresh_from_db()
    assert (run.state, StepRun.objects.get(batch=3).state) == ("failed", "cancelled")
    assert json.loads(run.error or "")["cause"]["message"] == "no"


def test_cancel_while_batches_run_ends_the_step_with_the_last_of_them(tenant: Tenant) -> None:
    mapper = Mapper(tenant)
    after = {"name": "z", "handler": "core.echo", "depends_on": ["m"]}
    run = mapper.start("${{ range(9) }}", [after], max_in_flight=3)
    (one,) = mapper.engine.claim(1)
    cancel_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    mapper.sound()
    run.refresh_from_db()
    assert (run.state, run.open_count) == ("running", 1)
    assert MapState.objects.get().in_flight == 1
    mapper.end(one, "cancelled", error=ERROR)
    mapper.sound()
    run.refresh_from_db()
    assert (run.state, run.cancelled_count, run.open_count) == ("cancelled", 2, 0)


def test_cancel_while_nothing_runs_ends_the_step_at_once(tenant: Tenant) -> None:
    mapper = Mapper(tenant)
    run = mapper.start("${{ range(9) }}")
    cancel_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    mapper.sound()
    run.refresh_from_db()
    assert (run.state, run.cancelled_count) == ("cancelled", 1)
    assert not MapPack.objects.exists()


def test_dead_workers_batches_run_again_and_are_given_up_after_three(tenant: Tenant) -> None:
    mapper = Mapper(tenant)
    run = mapper.start("${{ range(3) }}", on_error="continue")
    for _ in range(3):
        lost = mapper.engine.claim(10)
        for claimed in lost:
            if claimed.batch != 2:
                succeed(mapper, claimed)
        assert mapper.engine.worker is not None
        workers.reap(store.connection(), mapper.engine.worker.pk)
        mapper.engine.join()
        mapper.sound()
    run.refresh_from_db()
    assert (run.state, json.loads(run.output or "")) == ("succeeded", [0, None, 2])
    assert json.loads(MapState.objects.get().errors or "")[0]["code"] == "lost"


def test_results_that_are_too_large_together_fail_the_step(tenant: Tenant) -> None:
    mapper = Mapper(tenant)
    run = mapper.start("${{ range(3) }}")
    for claimed in mapper.engine.claim(3):
        mapper.end(claimed, "succeeded", output=json.dumps(["x" * 40_000]))
    run.refresh_from_db()
    assert run.state == "failed"
    assert json.loads(run.error or "")["cause"]["code"] == "invalid_output"


def test_a_map_that_was_completed_by_hand_keeps_its_fence(tenant: Tenant) -> None:
    mapper = Mapper(tenant)
    run = mapper.start("${{ [1, 2] }}")
    before = mapper.engine.claim()
    assert mapper.engine.worker is not None
    workers.reap(store.connection(), mapper.engine.worker.pk)
    mapper.engine.worker = None
    repairs.complete_step(tenant=tenant, run_id=run.pk, name="m", body={}, actor=SYSTEM)
    mapper.sound()
    repairs.retry_run(tenant=tenant, run_id=run.pk, body={"from_step": "m"}, actor=SYSTEM)
    mapper.engine.join()
    mapper.engine.decide()
    again = mapper.engine.claim()
    assert [claimed.batch for claimed in again] == [1, 2]
    assert min(claimed.epoch for claimed in again) > max(claimed.epoch for claimed in before)
    mapper.sound()


def test_a_map_that_begins_again_starts_from_nothing_behind_its_fence(tenant: Tenant) -> None:
    mapper = Mapper(tenant)
    run = mapper.start("${{ range(4) }}", max_in_flight=2)
    first = mapper.engine.claim(2)
    for claimed in first:
        mapper.end(claimed, "failed", error=ERROR)
    assert Run.objects.get(pk=run.pk).state == "failed"
    # as a retry of the step leaves it: ready, with control work
    store.connection().execute(
        "UPDATE run SET state = 'running', finished_at = NULL, open_count = 1, failed_count = 0;"
        "UPDATE step_run SET state = 'ready', parked = 'control', finished_at = NULL, error = NULL WHERE batch = 0;"
        "INSERT INTO control (tenant_id, run_id, ordinal, batch, kind) SELECT tenant_id, id, 0, 0, 'condition' FROM run;"
        "UPDATE tenant_load SET control_count = 1, active_runs = 1"
    )
    mapper.engine.decide()
    mapper.sound()
    again = mapper.engine.claim(2)
    assert [claimed.batch for claimed in again] == [1, 2]
    assert all(claimed.epoch > first[0].epoch for claimed in again)
    mapper.end(first[0], "succeeded", output="[7]")
    assert StepRun.objects.get(batch=1).state == "running", "a late result is refused"
    while again:
        for claimed in again:
            succeed(mapper, claimed)
        again = mapper.engine.claim(2)
    run.refresh_from_db()
    assert (run.state, json.loads(run.output or "")) == ("succeeded", [0, 1, 2, 3])


def chunk(stored: int, count: int, size: int, *, ended: bool) -> str:
    """What a source's attempt answers."""
    texts = [str(number) for number in range(stored, stored + count)]
    packs = packs_text(make_packs(texts, batch_size=size, array=texts_array, stored=stored))
    last = stored + count - 1
    return f'{{"count":{count},"cursor":{last},"ended":{str(ended).lower()},"packs":{packs}}}'


@pytest.mark.parametrize("seed", range(6))
def test_random_chunks_of_a_source(tenant: Tenant, seed: int) -> None:
    rng = random.Random(seed)
    size, window = rng.randrange(1, 5), rng.randrange(1, 4)
    mapper = Mapper(tenant)
    run = mapper.start({"handler": "core.echo"}, batch_size=size, max_in_flight=window)
    stored = chunks = 0
    while not Run.objects.get(pk=run.pk).finished_at:
        for claimed in mapper.engine.claim(rng.randrange(1, 5)):
            if claimed.batch != SOURCE:
                succeed(mapper, claimed)
            elif rng.random() < 0.3:
                mapper.end(claimed, rng.choice(["ready", "lost"]), error=ERROR, counts=False)
                StepRun.objects.filter(batch=SOURCE).update(losses=0, suspect=False)
            else:
                kept = json.loads(claimed.args or "")
                assert kept == {"total": stored, "cursor": stored - 1 if stored else None}
                chunks += 1
                count = rng.randrange(0, 9)
                mapper.end(
                    claimed, "succeeded", output=chunk(stored, count, size, ended=chunks > 4)
                )
                stored += count
            mapper.sound()
            state = MapState.objects.get()
            assert state.in_flight <= window
    run.refresh_from_db()
    assert (run.state, json.loads(run.output or "")) == ("succeeded", list(range(stored)))
    assert TenantLoad.objects.get().ready_count == 0


def test_reconcile_mends_what_a_map_says_is_in_flight(tenant: Tenant) -> None:
    mapper = Mapper(tenant)
    mapper.start("${{ range(9) }}", max_in_flight=3)
    MapState.objects.update(in_flight=1)
    assert clock.reconcile(store.connection()) == 1
    assert MapState.objects.get().in_flight == 3


def test_no_items_is_the_end_at_once(tenant: Tenant) -> None:
    run = Mapper(tenant).start("${{ [] }}")
    run.refresh_from_db()
    assert (run.state, run.output) == ("succeeded", "[]")
