"""Large payloads: each size in its place, exact on the way back, gone with what needed it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.test.utils import override_settings

from orchestrator import settings, store
from orchestrator.conf import Conf
from orchestrator.domain.errors import TooLarge
from orchestrator.domain.maps import SOURCE
from orchestrator.executor.payloads import Unreadable, put_away, verdicts_put_away, whole
from orchestrator.executor.plans import Plans
from orchestrator.handlers import registry
from orchestrator.models import CacheEntry, Payload, Run, StepRun, StoredObject
from orchestrator.selectors.payloads import Payload as Shown
from orchestrator.selectors.payloads import render
from orchestrator.selectors.runs import run_view
from orchestrator.services.bulk import submit_bulk
from orchestrator.services.maintenance import retain
from orchestrator.services.runs import submit_run
from orchestrator.services.workflows import publish_workflow
from orchestrator.store import clock, payloads, work
from orchestrator.store.payloads import IN_TABLE, INLINE, PayloadUnreadable
from orchestrator.store.work import Claimed, Completion, Verdict
from tenants.actors import SYSTEM
from tenants.models import Quota, Tenant
from tenants.services import create_tenant
from tests.engine import Engine
from tests.store.test_retention import age

HEAD = {"big": 2**64, "text": "größer ☃ 𝄞"}


@pytest.fixture
def tenant(db: None, tmp_path: Path) -> Any:
    """A tenant, and a storage of this test's own."""
    place = {
        "BACKEND": "orchestrator.store.files.DurableFiles",
        "OPTIONS": {"location": str(tmp_path / "payloads")},
    }
    with override_settings(STORAGES={**settings.STORAGES, "payloads": place}):
        yield create_tenant(slug="t", actor=SYSTEM)


def sized(size: int) -> dict[str, Any]:
    """A value of exactly so many bytes of JSON."""
    missing = size - len(encoded({**HEAD, "fill": ""}))
    return {**HEAD, "fill": "x" * missing}


def encoded(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def start(tenant: Tenant, value: object = None, **document: Any) -> Run:
    """A run of one step that refers to the input."""
    step = {"name": "a", "handler": "core.echo", "args": {"x": "${{ input }}"}}
    document = {"steps": [step], **document}
    publish_workflow(tenant=tenant, name="w", document=document, actor=SYSTEM)
    body = {} if value is None else {"input": value}
    return Run.objects.get(
        pk=submit_run(tenant=tenant, workflow="w", body=body, actor=SYSTEM).run_id
    )


def resolved(text: str | None) -> str:
    (found,) = payloads.resolve(store.connection(), [text])
    assert found is not None
    return found


def objects() -> list[str]:
    """What lies in the storage, by day and file."""
    root = Path(storages["payloads"].path(""))
    return sorted(str(file.relative_to(root)) for file in root.rglob("*.json"))


def end(claim: Claimed, value: object) -> Completion:
    """A completion as the slice writes it."""
    completion = Completion(claim, "succeeded", 0.1, output=encoded(value).decode())
    put_away(store.connection(), Plans(registry), [completion])
    return completion


@pytest.mark.parametrize(
    ("size", "rows", "files"),
    [(INLINE, 0, 0), (INLINE + 1, 1, 0), (IN_TABLE, 1, 0), (IN_TABLE + 1, 1, 1)],
)
def test_each_size_has_its_place_and_comes_back_exactly(
    tenant: Tenant, size: int, rows: int, files: int
) -> None:
    value = sized(size)
    assert len(encoded(value)) == size
    run = start(tenant, value)
    assert (Payload.objects.count(), len(objects())) == (rows, files)
    assert (payloads.MARK in run.input) == bool(rows)
    assert resolved(run.input).encode() == encoded(value)
    engine = Engine()
    (claim,) = engine.claim()
    taken = whole(store.connection(), claim, [])
    assert taken.input is not None
    assert json.loads(taken.input) == value
    engine.complete(end(claim, value))
    assert (Payload.objects.count(), len(objects())) == (2 * rows, 2 * files)
    row = StepRun.objects.get()
    assert row.output is not None
    assert len(row.output) < INLINE + 1
    view = run_view(tenant=tenant, run_id=run.pk)
    assert json.loads(render(view))["output"] == value
    assert json.loads(render(view))["input"] == value
    assert all(str(one).endswith(f"({size} bytes)") for one in Payload.objects.all())


def test_a_default_output_of_several_leaves_holds_references(tenant: Tenant) -> None:
    steps = [{"name": name, "handler": "core.echo"} for name in ("a", "b", "c")]
    run = start(tenant, steps=steps)
    engine = Engine()
    values = {0: sized(INLINE * 2), 1: 2**70, 2: sized(IN_TABLE * 2)}
    engine.complete(*(end(claim, values[claim.ordinal]) for claim in engine.claim()))
    run.refresh_from_db()
    assert run.output is not None
    assert len(run.output) < 200
    assert json.loads(resolved(run.output)) == {"a": values[0], "b": values[1], "c": values[2]}
    shown = Shown(run.output)
    assert shown == Shown(resolved(run.output))
    assert hash(shown) == hash(Shown(resolved(run.output)))
    assert shown.value == json.loads(shown.text)


def test_arguments_outputs_of_runs_and_values_of_on_error_are_put_away_too(tenant: Tenant) -> None:
    start(tenant, output="${{ steps.a.output }}")
    engine = Engine()
    (claim,) = engine.claim()
    connection = store.connection()
    text = encoded(sized(INLINE * 3)).decode()
    waiting = Completion(claim, "waiting", 0.1, args=text, reason="retry", delay_s=0)
    put_away(connection, Plans(registry), [waiting])
    assert waiting.args is not None
    assert len(waiting.args) < 50
    engine.complete(waiting)
    clock.due(connection)
    (again,) = engine.claim()
    assert again.args == waiting.args
    assert whole(connection, again, []).args == text
    small = Verdict(claim, "ready")
    found = verdicts_put_away(
        connection,
        [small, Verdict(claim, "output", text), Verdict(claim, "failed", "{}", text)],
    )
    assert found[0] is small
    assert (resolved(found[1].value), resolved(found[2].fallback)) == (text, text)
    Quota.objects.update(max_payload_bytes=INLINE * 2)
    (refused,) = verdicts_put_away(connection, [Verdict(claim, "output", text)])
    assert refused.verdict == "error"
    assert "invalid_output" in str(refused.value)


def test_a_chunk_of_a_source_stays_in_its_row(tenant: Tenant) -> None:
    start(tenant)
    (claim,) = Engine().claim()
    text = encoded(sized(INLINE * 3)).decode()
    part = Completion(claim._replace(batch=SOURCE), "succeeded", 0.1, output=text)
    put_away(store.connection(), Plans(registry), [part])
    assert part.output == text


@pytest.mark.parametrize("known", [True, False])
def test_more_than_the_tenant_may_keep(tenant: Tenant, known: bool) -> None:
    Quota.objects.update(max_payload_bytes=INLINE * 2)
    tenant.refresh_from_db()
    step = {"name": "a", "handler": "core.echo", "on_error": {"value": 7}}
    run = start(tenant, sized(INLINE * 2), steps=[step])
    plans = Plans(registry)
    if known:
        plans.need(store.connection(), [run.version_id])
    (claim,) = Engine().claim()
    completion = Completion(claim, "succeeded", 0.1, output=encoded(sized(INLINE * 2 + 1)).decode())
    put_away(store.connection(), plans, [completion])
    assert "invalid_output" in str(completion.error)
    assert "16,385" in str(completion.error)
    handled = ("succeeded", "7", True) if known else ("failed", None, False)
    assert (completion.outcome, completion.output, completion.handled) == handled
    with pytest.raises(TooLarge):
        start(tenant, sized(INLINE * 2 + 1))
    line = encoded({"workflow": "w", "input": sized(INLINE * 2 + 1)})
    (refused,) = submit_bulk(tenant=tenant, lines=[(1, line)], actor=SYSTEM)
    assert isinstance(refused.error, TooLarge)


def test_a_limit_beneath_what_stays_in_its_row(tenant: Tenant) -> None:
    Quota.objects.update(max_payload_bytes=1024)
    start(tenant, output="${{ steps.a.output }}")
    (claim,) = Engine().claim()
    connection = store.connection()
    assert end(claim, sized(1024)).outcome == "succeeded"
    for value in (sized(1025), "€" * 400):
        refused = end(claim, value)
        assert refused.outcome == "failed"
        assert "invalid_output" in str(refused.error)
        assert "more than the tenant's 1,024" in str(refused.error)
    batch = Completion(
        claim._replace(batch=1), "succeeded", 0.1, output=encoded([sized(1025)]).decode()
    )
    put_away(connection, Plans(registry), [batch])
    assert batch.outcome == "failed"
    given = [Verdict(claim, "output", encoded(sized(size)).decode()) for size in (1024, 1025)]
    kept, refused_output = verdicts_put_away(connection, given)
    assert kept is given[0]
    assert refused_output.verdict == "error"
    args = Completion(claim, "waiting", 0.1, args=encoded(sized(5000)).decode(), reason="retry")
    put_away(connection, Plans(registry), [args])
    assert args.outcome == "waiting"


def test_in_bulk_and_with_a_known_key_nothing_is_left_over(tenant: Tenant) -> None:
    start(tenant)
    value = sized(IN_TABLE + 5)
    lines = [
        (number, encoded({"workflow": "w", "input": given}))
        for number, given in enumerate([value, {}, sized(INLINE + 1)], start=1)
    ]
    made = submit_bulk(tenant=tenant, lines=lines, actor=SYSTEM)
    assert [one.error for one in made] == [None] * 3
    assert Payload.objects.count() == 2
    for _ in range(2):
        submit_run(tenant=tenant, workflow="w", body={"input": value}, key="k", actor=SYSTEM)
    assert Payload.objects.count() == 3
    owners = set(Payload.objects.values_list("run_id", flat=True))
    assert owners <= set(Run.objects.values_list("pk", flat=True))


def test_payloads_and_their_objects_go_with_their_run(tenant: Tenant) -> None:
    run = start(tenant, sized(IN_TABLE + 1))
    engine = Engine()
    engine.complete(end(engine.claim()[0], sized(INLINE + 1)))
    run.refresh_from_db()
    kept = start(tenant, sized(IN_TABLE + 2))
    storages["payloads"].save("left/over.json", ContentFile(b"1"))
    StoredObject.objects.create(key="left/over.json")
    age(run, 40)
    connection = store.connection()
    assert clock.forget_runs(connection, days=30, limit=10) == 1
    assert list(Payload.objects.values_list("run_id", flat=True)) == [kept.pk]
    assert payloads.sweep(connection, limit=10) == 0
    StoredObject.objects.update(created_at="2020-01-01T00:00Z")
    assert payloads.sweep(connection, limit=10) == 0, "seen once only"
    assert StoredObject.objects.filter(orphaned_at__isnull=False).count() == 2
    StoredObject.objects.filter(orphaned_at__isnull=False).update(orphaned_at="2020-01-01T00:00Z")
    assert retain(connection, Conf()) >= 2
    (left,) = StoredObject.objects.all()
    assert objects() == [str(left)]
    assert resolved(kept.input)


def test_a_cached_output_outlives_its_run(tenant: Tenant) -> None:
    cached = {"name": "a", "handler": "core.echo", "cache": {"key": 1, "ttl": "90d"}}
    value = sized(IN_TABLE + 1)
    engine = Engine()

    def decide() -> None:
        (asked,) = engine.claim(0)
        assert engine.worker is not None
        verdict = Verdict(asked, "cache", '{"key":"k","ttl_ms":60000}')
        work.exchange(store.connection(), engine.worker.pk, [], [verdict], None)

    first = start(tenant, steps=[cached])
    decide()
    second = start(tenant, steps=[cached])
    decide()
    (claim,) = [one for one in engine.claim() if one.run_id == first.pk]
    engine.complete(end(claim, value))
    third = start(tenant, steps=[cached])
    decide()
    assert (Payload.objects.count(), len(objects())) == (4, 1), "copies share the object"
    first.refresh_from_db()
    age(first, 40)
    assert clock.forget_runs(store.connection(), days=30, limit=10) == 1
    for run in (second, third):
        run.refresh_from_db()
        assert json.loads(resolved(run.output)) == value
    CacheEntry.objects.update(expires_at="2020-01-01T00:00Z")
    assert clock.tend_caches(store.connection()) == 1
    assert not Payload.objects.filter(run_id=None).exists()
    assert Payload.objects.count() == 2


def test_a_trimmed_or_replaced_output_leaves_no_payload(tenant: Tenant) -> None:
    start(tenant)
    (claim,) = Engine().claim()
    connection = store.connection()
    text = encoded(sized(INLINE + 1)).decode()
    reference = payloads.keep(connection, tenant_id=tenant.pk, run_id=claim.run_id, text=text)
    kept = connection.execute(
        "SELECT engine_adopt(%s, %s, NULL, 'k')", (reference, tenant.pk)
    ).fetchone()
    assert kept is not None
    CacheEntry.objects.create(
        tenant_id=tenant.pk, key="k", output=kept[0], expires_at="2999-01-01T00:00Z"
    )
    assert clock.trim_caches(connection, most=0) == 1
    assert Payload.objects.get().run_id == claim.run_id


def test_what_is_not_there_cannot_be_read(tenant: Tenant) -> None:
    start(tenant, sized(IN_TABLE + 1))
    (claim,) = Engine().claim()
    connection = store.connection()
    with pytest.raises(PayloadUnreadable, match="not there"):
        payloads.resolve(connection, [f"{payloads.MARK}{uuid4()}"])
    storages["payloads"].delete(Payload.objects.get().object_key or "")
    with pytest.raises(Unreadable, match="could not be read"):
        whole(connection, claim, [])
    assert payloads.resolve(connection, [None, "1"]) == [None, "1"]


def test_what_the_storage_does_not_take_stays_in_its_row(tenant: Tenant, tmp_path: Path) -> None:
    (tmp_path / "payloads").write_text("a file where a folder should be")
    value = sized(IN_TABLE + 1)
    run = start(tenant, value)
    assert json.loads(run.input) == value
    (claim,) = Engine().claim()
    assert end(claim, value).output == encoded(value).decode()
    assert not Payload.objects.exists()
    assert StoredObject.objects.count() == 2, "announced, and swept later"


def test_where_the_storage_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PAYLOAD_STORAGE", str(tmp_path))
    options = settings._payload_storage()["OPTIONS"]
    assert isinstance(options, dict)
    assert options["location"] == str(tmp_path)
    monkeypatch.setenv("PAYLOAD_STORAGE", "s3://bucket/some/where/")
    monkeypatch.setattr(settings, "find_spec", lambda name: None)
    with pytest.raises(ImproperlyConfigured, match="requirements/install s3"):
        settings._payload_storage()
    monkeypatch.setattr(settings, "find_spec", lambda name: name)
    assert settings._payload_storage() == {
        "BACKEND": "orchestrator.store.buckets.Bucket",
        "OPTIONS": {"bucket_name": "bucket", "location": "some/where", "file_overwrite": True},
    }
    monkeypatch.setenv("PAYLOAD_STORAGE", "s3:///folder")
    with pytest.raises(ImproperlyConfigured, match="names no bucket"):
        settings._payload_storage()
