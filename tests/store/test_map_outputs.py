"""Outputs of maps past the inline size: where they lie, what they come to, and when they go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.test.utils import override_settings

from orchestrator import settings, store
from orchestrator.executor.payloads import put_away
from orchestrator.executor.plans import Plans
from orchestrator.handlers import registry
from orchestrator.models import CacheEntry, MapState, Payload, Run, StepRun, StoredObject
from orchestrator.selectors.runs import run_view
from orchestrator.store import clock, payloads
from orchestrator.store.payloads import IN_TABLE, INLINE
from orchestrator.store.work import Completion
from tenants.actors import SYSTEM
from tenants.models import Tenant
from tenants.services import create_tenant, set_quota
from tests.store.test_maps import Mapper

pytestmark = [pytest.mark.django_db, pytest.mark.thorough]
REFERENCE = len("[]") + 1 + 36


@pytest.fixture
def tenant(db: None, tmp_path: Path) -> Any:
    """A tenant, and a storage of this test's own."""
    place = {
        "BACKEND": "orchestrator.store.files.DurableFiles",
        "OPTIONS": {"location": str(tmp_path / "payloads")},
    }
    with override_settings(STORAGES={**settings.STORAGES, "payloads": place}):
        yield create_tenant(slug="t", max_connections=100, actor=SYSTEM)


def finish(mapper: Mapper, results: list[list[Any] | None]) -> list[Any]:
    """End the batches with these results (None: it fails), as a worker does; the map's output."""
    MapState.objects.update(max_bytes=64 * IN_TABLE)
    plans = Plans(registry)
    while MapState.objects.filter(finished_at=None).exists():
        for claim in mapper.engine.claim():
            found = results[claim.batch - 1]
            done = Completion(claim, "failed", 0.1, error='{"code":"error","message":"no"}')
            if found is not None:
                done = Completion(
                    claim, "succeeded", 0.1, output=json.dumps(found, separators=(",", ":"))
                )
            put_away(store.connection(), plans, [done])
            mapper.engine.complete(done)
    return [value for found in results for value in (found or [None])]


def resolved(text: str | None) -> Any:
    (found,) = payloads.resolve(store.connection(), [text])
    return json.loads(found or "null")


def start(tenant: Tenant, count: int, **of: Any) -> tuple[Mapper, Run]:
    mapper = Mapper(tenant)
    return mapper, mapper.start(f"${{{{ range({count}) }}}}", **of)


def test_what_fits_into_the_row_stays_there(tenant: Tenant) -> None:
    mapper, run = start(tenant, 3)
    finish(mapper, [["x" * 100]] * 3)
    run.refresh_from_db()
    assert json.loads(run.output or "") == ["x" * 100] * 3
    assert not Payload.objects.exists()


@pytest.mark.parametrize("ordered", [True, False])
def test_a_larger_output_lies_beside_its_row_in_parts_of_about_a_mebibyte(
    tenant: Tenant, ordered: bool
) -> None:
    mapper, run = start(tenant, 420, max_in_flight=100, ordered=ordered, on_error="continue")
    expected = finish(mapper, [[f"{n}é" + "x" * 8000] if n != 7 else None for n in range(420)])
    row = StepRun.objects.get(batch=0)
    assert len(row.output or "") < 200
    assert resolved(row.output) == expected or not ordered
    assert sorted(map(str, resolved(row.output))) == sorted(map(str, expected))
    sizes = list(Payload.objects.values_list("size", flat=True))
    assert len(sizes) == 4
    assert max(sizes) < IN_TABLE + INLINE
    run.refresh_from_db()
    assert run.output == row.output, "it is kept once"
    shown = run_view(tenant=tenant, run_id=run.pk)["output"]
    assert len(shown.value) == 420  # type: ignore[attr-defined]


def test_large_batches_lie_where_other_payloads_do(tenant: Tenant) -> None:
    mapper, _run = start(tenant, 4)
    results: list[Any] = [["a" * 9_000], ["b" * 2 * IN_TABLE], ["c"], [{"d": "d" * 9_000}]]
    finish(mapper, results)
    rows = StepRun.objects.filter(batch__gt=0).order_by("batch")
    texts = [row.output or "" for row in rows]
    assert [len(text) for text in texts] == [REFERENCE, REFERENCE, len('["c"]'), REFERENCE]
    assert [resolved(text) for text in texts] == results
    assert StoredObject.objects.count() == 1
    own = StepRun.objects.get(batch=0).output
    assert resolved(own) == [value for (value,) in results]
    assert len(own or "") < INLINE
    assert not Payload.objects.filter(body__isnull=False).exists(), (
        "the references fit into the row"
    )


def test_so_many_large_batches_that_their_references_are_large(tenant: Tenant) -> None:
    mapper, _run = start(tenant, 300, max_in_flight=300)
    expected = finish(mapper, [["x" * 9_000]] * 300)
    row = StepRun.objects.get(batch=0)
    assert len(row.output or "") == REFERENCE
    assert resolved(row.output) == expected


@pytest.mark.parametrize(("limit", "each"), [(20_000, 9_000), (1024, 400)])
def test_quota_and_server_limit_hold_for_all_results_together(
    tenant: Tenant, limit: int, each: int
) -> None:
    set_quota(tenant=tenant, actor=SYSTEM, max_payload_bytes=limit)
    mapper, run = start(tenant, 3)
    finish(mapper, [["x" * each]] * 3)
    run.refresh_from_db()
    assert run.state == "failed"
    cause = json.loads(run.error or "")["cause"]
    assert (cause["code"], str(limit) in cause["message"]) == ("invalid_output", True)


def test_a_batch_beyond_the_quota_fails_alone(tenant: Tenant) -> None:
    set_quota(tenant=tenant, actor=SYSTEM, max_payload_bytes=10_000)
    mapper, run = start(tenant, 2, on_error="continue")
    finish(mapper, [["x" * 12_000], ["y"]])
    run.refresh_from_db()
    assert (run.state, json.loads(run.output or "")) == ("succeeded", [None, "y"])
    (told,) = json.loads(MapState.objects.get().errors or "")
    assert (told["item_index"], told["code"]) == (0, "invalid_output")


def test_they_go_when_their_run_has_ended_unless_they_are_its_output(tenant: Tenant) -> None:
    set_quota(tenant=tenant, actor=SYSTEM, keep_outputs=False)
    mapper = Mapper(tenant)
    later = {"name": "z", "handler": "core.echo", "depends_on": ["m"]}
    mapper.start("${{ range(3) }}", [later])
    finish(mapper, [["x" * 9_000]] * 3)
    mapper.engine.run_all()
    assert clock.drop_outputs(store.connection()) == 1
    assert not Payload.objects.exists()

    run = mapper.start("${{ range(300) }}", max_in_flight=300)
    expected = finish(mapper, [["x" * 9_000]] * 300)
    assert clock.drop_outputs(store.connection()) == 1
    run.refresh_from_db()
    assert resolved(run.output) == expected


def test_a_cached_output_outlives_its_run(tenant: Tenant) -> None:
    mapper = Mapper(tenant)
    cached = {"key": "k", "ttl": "1h"}
    for n in range(2):
        run = mapper.start("${{ range(300) }}", max_in_flight=300, step={"cache": cached})
        mapper.engine.decide()
        expected = finish(mapper, [["x" * 9_000]] * 300)
        run.refresh_from_db()
        assert resolved(run.output) == expected
        assert StepRun.objects.filter(run=run, batch__gt=0).count() == (300 if n == 0 else 0)
        Payload.objects.filter(run_id=run.pk).delete()
    assert CacheEntry.objects.count() == 1
