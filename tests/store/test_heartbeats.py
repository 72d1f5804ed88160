"""The doors to heartbeats: fenced, kept by key, gone with their run."""

from __future__ import annotations

import pytest
from django.db import connection as django_connection

from orchestrator import store
from orchestrator.models import Heartbeat, Run
from orchestrator.services.runs import submit_run
from orchestrator.services.workflows import publish_workflow
from orchestrator.store import clock, heartbeats
from orchestrator.store.heartbeats import Beat
from orchestrator.store.work import Claimed
from tenants.actors import SYSTEM
from tenants.models import Tenant
from tenants.services import create_tenant
from tests.engine import Engine


@pytest.fixture
def tenant(db: None) -> Tenant:
    return create_tenant(slug="t", actor=SYSTEM)


def claimed(tenant: Tenant, engine: Engine) -> Claimed:
    """A running step of a new run."""
    steps = [{"name": "a", "handler": "core.echo", "heartbeat": "1s", "retry": {"max_attempts": 9}}]
    publish_workflow(tenant=tenant, name="w", document={"steps": steps}, actor=SYSTEM)
    submit_run(tenant=tenant, workflow="w", body={}, actor=SYSTEM)
    (claim,) = engine.claim()
    return claim


def told(claim: Claimed) -> str | None:
    """What the next attempt would read."""
    return heartbeats.progress(store.connection(), [claim]).get(claim.key)


def beat(engine: Engine, claim: Claimed, text: str | None) -> None:
    assert engine.worker is not None
    heartbeats.write(store.connection(), engine.worker.pk, [Beat(claim, text)])


def test_a_beat_without_news_keeps_the_progress(tenant: Tenant) -> None:
    engine = Engine()
    claim = claimed(tenant, engine)
    assert told(claim) is None
    beat(engine, claim, None)
    assert told(claim) is None
    assert Heartbeat.objects.count() == 1
    beat(engine, claim, '{"n":18446744073709551616}')
    before = Heartbeat.objects.get().at
    beat(engine, claim, None)
    assert told(claim) == '{"n":18446744073709551616}'
    assert Heartbeat.objects.get().at > before
    stranger = claim._replace(tenant_id=tenant.pk + 1)
    assert told(stranger) is None
    assert str(Heartbeat.objects.get()).startswith(str(claim.run_id))


def test_a_late_beat_is_passed_over(tenant: Tenant) -> None:
    engine = Engine()
    first = claimed(tenant, engine)
    beat(engine, first, "1")
    beat(engine, first._replace(epoch=first.epoch + 1), "2")
    engine.fail(first, retry_in_s=0)
    beat(engine, first, "3")
    assert told(first) == "1", "it had ended"
    clock.due(store.connection())
    (second,) = engine.claim()
    beat(engine, second, "4")
    beat(engine, first, "5")
    assert told(second) == "4"


def test_heartbeats_go_with_their_run(tenant: Tenant) -> None:
    engine = Engine()
    claim = claimed(tenant, engine)
    beat(engine, claim, "1")
    engine.succeed([claim])
    with django_connection.cursor() as cursor:
        cursor.execute(
            "UPDATE run SET created_at = created_at - interval '40 days',"
            " finished_at = finished_at - interval '40 days', started_at = started_at - interval '40 days'"
        )
    assert clock.forget_runs(store.connection(), days=30, limit=10) == 1
    assert not Heartbeat.objects.exists()
    assert not Run.objects.exists()
