"""Canary runs: sent, judged, late, hindered; and nobody else notices."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from unittest.mock import Mock

import pytest
from django.contrib.auth import get_user_model
from django.utils import timezone

from orchestrator import store
from orchestrator.conf import Conf
from orchestrator.domain.health import Canaries, State, judge_canary
from orchestrator.models import CanaryRun, Run
from orchestrator.selectors.load import list_tenants_load
from orchestrator.services import demo, rollups
from orchestrator.services.canary import SLUG, Canary
from orchestrator.services.usage import Sampler
from orchestrator.store import gauges, health
from tenants import services
from tenants.access import tenants_of
from tenants.actors import COMMAND
from tenants.models import AuditEntry, Tenant
from tests.engine import Engine

Passing = Callable[[float], None]


@pytest.fixture
def passing(monkeypatch: pytest.MonkeyPatch) -> Passing:
    """Let seconds pass, for the duty and for what is awaited."""
    clock = [1000.0]
    monkeypatch.setattr("orchestrator.services.canary.time.monotonic", lambda: clock[0])

    def wait(seconds: float) -> None:
        clock[0] += seconds
        for row in CanaryRun.objects.all():
            CanaryRun.objects.filter(pk=row.pk).update(
                sent_at=row.sent_at - timedelta(seconds=seconds)
            )

    return wait


@pytest.fixture
def canary(clockwork: store.Connection, passing: Passing) -> Canary:
    """One that has been sent."""
    made = Canary(Conf())
    assert made(clockwork) == 0
    assert not CanaryRun.objects.exists()  # on a new database the workers come first
    passing(6)
    assert made(clockwork) == 0
    return made


def state(clockwork: store.Connection, every_s: float = 60.0) -> tuple[State, str]:
    check = judge_canary(health.canaries(clockwork), every_s=every_s)
    return check.state, check.detail


def test_it_goes_through_the_whole_engine(
    canary: Canary, clockwork: store.Connection, passing: Passing
) -> None:
    assert state(clockwork) == (State.OK, "The first one is on its way.")
    assert canary(clockwork) == 0
    engine = Engine()
    for _ in range(3):
        claimed = engine.claim()
        for one in claimed:
            if one.kind == "step":
                token = Run.objects.get(pk=one.run_id).id
                engine.succeed([one], {"token": str(token)})
        engine.decide()
    assert canary(clockwork) == 1
    row = CanaryRun.objects.get()
    assert (row.outcome, row.detail) == ("ok", "")
    assert row.seconds is not None
    kind, said = state(clockwork)
    assert kind is State.OK
    assert "1 of 1 in 24 h" in said
    assert canary(clockwork) == 0
    passing(61)
    canary(clockwork)
    assert CanaryRun.objects.filter(outcome=None).count() == 1
    again = Canary(Conf())  # another clock takes over: it awaits the same one, and sends none
    again(clockwork)
    assert CanaryRun.objects.count() == 2


def test_without_a_worker_it_is_late_and_says_so(
    canary: Canary, clockwork: store.Connection, passing: Passing
) -> None:
    expected = [State.DEGRADED, State.DEGRADED, State.DOWN]
    for worst in expected:
        passing(31)
        assert canary(clockwork) == 1
        assert state(clockwork)[0] is worst
        passing(30)
        canary(clockwork)
    assert "no live worker serves the queue io" in state(clockwork)[1]
    assert "in a row" in state(clockwork)[1]
    assert Run.objects.filter(state="cancelled").count() == 3
    assert Run.objects.exclude(state="cancelled").count() == 1


def test_why_it_is_late(canary: Canary, clockwork: store.Connection, passing: Passing) -> None:
    engine = Engine()
    worker = engine.join()
    passing(31)
    canary(clockwork)
    assert "1 workers could have started it" in CanaryRun.objects.get().detail
    passing(30)
    canary(clockwork)
    engine.worker = worker
    assert engine.claim()
    passing(31)
    canary(clockwork)
    assert "it was started" in CanaryRun.objects.latest("pk").detail
    passing(30)
    canary(clockwork)
    from orchestrator.models import ServerLoad

    ServerLoad.objects.filter(slot=-1).update(max_connections=0)
    passing(31)
    canary(clockwork)
    assert "connections of the server were in use" in CanaryRun.objects.latest("pk").detail


def test_a_wrong_answer_a_failure_and_a_run_that_is_gone(
    canary: Canary, clockwork: store.Connection, passing: Passing
) -> None:
    run = Run.objects.get()
    Run.objects.update(
        state="succeeded", output='"other"', finished_at=timezone.now(), started_at=run.created_at,
        open_count=0,
    )  # fmt: skip
    assert canary(clockwork) == 1
    assert 'answered "other"' in CanaryRun.objects.get().detail
    passing(61)
    canary(clockwork)
    run_id = CanaryRun.objects.get(outcome=None).run_id
    engine = Engine()
    engine.fail(next(one for one in engine.claim() if one.run_id == run_id), message="burnt")
    while engine.claim():
        pass
    assert canary(clockwork) == 1
    assert "burnt" in CanaryRun.objects.latest("pk").detail or "step_failed" in (
        CanaryRun.objects.latest("pk").detail
    )
    passing(61)
    canary(clockwork)
    CanaryRun.objects.filter(outcome=None).update(run_id="00000000-0000-7000-8000-000000000000")
    assert canary(clockwork) == 1
    assert CanaryRun.objects.latest("pk").detail == "Its run is gone."
    passing(61)
    canary(clockwork)
    assert state(clockwork)[0] is State.DOWN


def test_one_that_cannot_be_sent_is_a_miss(clockwork: store.Connection, passing: Passing) -> None:
    services.create_tenant(slug=SLUG, actor=COMMAND)
    canary = Canary(Conf())
    canary(clockwork)
    passing(6)
    assert canary(clockwork) == 1
    assert f"The tenant {SLUG} is there already" in state(clockwork)[1]
    assert canary(clockwork) == 0  # not again at once


def test_turned_off(clockwork: store.Connection, passing: Passing) -> None:
    canary = Canary(Conf(canary_every_s=0))
    canary(clockwork)
    passing(100)
    assert canary(clockwork) == 0
    assert not CanaryRun.objects.exists()
    assert "Turned off" in state(clockwork, 0.0)[1]


def test_verdicts_of_what_is_known() -> None:
    assert judge_canary(Canaries(), every_s=60).detail == "None was sent yet."
    silent = judge_canary(Canaries(silent_s=500, seconds=0.1), every_s=60)
    assert (silent.state, silent.detail) == (State.DEGRADED, "None was sent for 500 s.")
    missed = judge_canary(Canaries(silent_s=5, misses=1, detail="x"), every_s=60)
    assert missed.detail == "The last one did not go well: x"
    slow = Canaries(silent_s=5, seconds=0.02, done=9, good=8, p95_s=0.03)
    assert judge_canary(slow, every_s=60).detail == (
        "The last one took 20 ms; 8 of 9 in 24 h, 95 % within 30 ms."
    )


def test_nobody_else_notices(
    canary: Canary, clockwork: store.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = Tenant.objects.get(is_system=True)
    assert tenant.slug == SLUG
    assert tenant.quota.retention_days == 1
    staff = get_user_model().objects.create(username="sam", is_staff=True)
    assert tenants_of(staff) == []
    assert list_tenants_load() == ([], None)
    assert rollups.roll() > 0
    rollups.label(clockwork)
    (others,) = gauges.totals(clockwork)
    assert (others.slug, others.counts["events"]) == (None, 0)
    assert gauges.backlog(clockwork) == []
    sampler = Sampler()
    assert sampler(clockwork) == sampler(clockwork) == 0
    assert not AuditEntry.objects.filter(action="run.submitted").exists()
    get_user_model().objects.all().delete()
    monkeypatch.setattr(demo, "create_tenant", Mock(side_effect=Interrupted))
    with pytest.raises(Interrupted):  # the demo is made as on an empty database
        demo.install_demo()


class Interrupted(Exception):
    """Far enough."""
