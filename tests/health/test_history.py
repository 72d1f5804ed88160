"""States are written down by the clock, with since when; gaps are seen; alerting is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import store
from orchestrator.domain import health as domain
from orchestrator.domain.health import Check, Span, State, share_ok, spans
from orchestrator.domain.observations import Observation, Severity, Sight
from orchestrator.models import CanaryRun, DatabaseSize, HealthChange, HealthState
from orchestrator.selectors import health as selector
from orchestrator.services import alerting
from orchestrator.services import health as service
from orchestrator.store import health
from tenants.models import Tenant

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Observation]:
    """What alerting was told."""
    heard: list[Observation] = []

    def observe(observations: Any, *, connection: Any, now: Any = None) -> int:
        heard.extend(observations)
        return 0

    monkeypatch.setattr(alerting, "observe", observe)
    return heard


def write(connection: store.Connection, **states: State) -> int:
    checks = [Check(name, state, f"{name} is {state}", "mend it") for name, state in states.items()]
    return service.write(connection, checks, deep=False)


def test_changes_are_written_once(clockwork: store.Connection, told: list[Observation]) -> None:
    assert write(clockwork, database=State.OK, broker=State.OK) == 2
    assert write(clockwork, database=State.OK, broker=State.DOWN) == 1
    first = HealthState.objects.get(name="database")
    assert write(clockwork, database=State.OK, broker=State.DOWN) == 0
    again = HealthState.objects.get(name="database")
    assert again.since == first.since
    assert again.seen_at > first.seen_at
    broker = list(HealthChange.objects.filter(name="broker").order_by("at").values_list("state"))
    assert broker == [("ok",), ("down",)]
    assert HealthState.objects.get(name="broker").mend == "mend it"


def test_a_part_that_tells_since_when_is_believed(clockwork: store.Connection) -> None:
    since = timezone.now() - timedelta(minutes=5)
    health.record(clockwork, [Check("clock", State.DOWN, "", "", since)], deep=False)
    assert HealthState.objects.get().since == since
    assert HealthChange.objects.get().at == since


def test_what_nobody_looked_at_is_unknown(
    clockwork: store.Connection, told: list[Observation]
) -> None:
    write(clockwork, database=State.OK, clock=State.OK)
    away = timezone.now() - timedelta(minutes=10)
    HealthState.objects.update(seen_at=away)
    assert write(clockwork, database=State.OK, clock=State.OK) == 2
    found = {
        name: [row.state for row in HealthChange.objects.filter(name=name).order_by("id")]
        for name in ("database", "clock")
    }
    assert found == {"database": ["ok", "unknown", "ok"], "clock": ["ok", "down", "ok"]}
    assert HealthChange.objects.filter(state="unknown").get().at == away
    assert HealthState.objects.get(name="database").since > away


def test_alerting_is_told_of_every_part(clockwork: store.Connection, told: Any) -> None:
    write(
        clockwork,
        database=State.DOWN,
        canary=State.DEGRADED,
        channel_layer=State.DEGRADED,
        breakers=State.DOWN,
        disk=State.OK,
    )
    found = {one.rule: one for one in told}
    down = found["health:database"]
    assert (down.tenant_id, down.sight, down.severity) == (None, Sight.BAD, Severity.CRITICAL)
    assert down.summary == "database is down mend it"
    assert found["health:canary"].severity is Severity.WARNING
    good = {rule for rule, one in found.items() if one.sight is Sight.GOOD}
    assert good == {"health:channel_layer", "health:breakers", "health:disk"}


def test_the_duty_looks_writes_and_forgets(
    working: Tenant, clockwork: store.Connection, told: list[Observation]
) -> None:
    old = timezone.now() - timedelta(days=31)
    HealthChange.objects.create(name="disk", state="ok", at=old)
    CanaryRun.objects.create(run_id=working_id(), outcome="ok", ended_at=old, sent_at=old)
    DatabaseSize.objects.create(at=old, bytes=1)
    assert service.Sampler()(clockwork) == 0  # a start is no outage
    sampler = service.Sampler(start_s=0)
    assert sampler(clockwork) == len(domain.CHECKS)
    sampler(clockwork)
    assert {one.rule for one in told} == {f"health:{name}" for name in domain.CHECKS}
    assert not HealthChange.objects.filter(at=old).exists()
    assert not CanaryRun.objects.exists()
    assert not DatabaseSize.objects.exists()


def working_id() -> str:
    return "00000000-0000-7000-8000-000000000001"


def test_a_part_that_flaps_does_not_fill_the_table(clockwork: store.Connection) -> None:
    HealthChange.objects.bulk_create(
        HealthChange(name="disk", state="ok", at=timezone.now()) for _ in range(9)
    )
    assert health.forget(clockwork, days=30, most=4) == 5


def test_since_is_the_clocks_across_processes(
    working: Tenant, clockwork: store.Connection, look: Any
) -> None:
    first = look()["workers"]
    since = timezone.now() - timedelta(hours=3)
    health.record(clockwork, list(look().values()), deep=False)
    HealthState.objects.update(since=since)
    selector.refresh()
    selector.board._board._checks = []  # as in a process that has just begun
    seen = look()
    assert seen["workers"].since == since
    assert first.since is not None
    HealthState.objects.filter(name="workers").update(state="down")
    assert look()["workers"].since == since  # this process has seen it before
    HealthState.objects.update(seen_at=since)
    selector.board._board._checks = []
    assert look()["database"].since > since  # nobody has looked for long


def test_a_clock_that_stopped_is_down_since_its_last_tick(working: Tenant, look: Any) -> None:
    from orchestrator.models import Duty

    at = timezone.now() - timedelta(minutes=5)
    Duty.objects.update(ticked_at=at)
    since = look()["clock"].since
    assert abs((since - at).total_seconds()) < 5


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def test_spans_without_holes() -> None:
    changes = [(at(-90), "ok"), (at(10), "down"), (at(20), "ok"), (at(30), "ok")]
    assert spans(changes, since=at(0), until=at(60)) == [
        Span("ok", at(0), at(10)),
        Span("down", at(10), at(20)),
        Span("ok", at(20), at(60)),
    ]
    assert spans([], since=at(0), until=at(1)) == [Span("unknown", at(0), at(1))]
    assert share_ok(spans(changes, since=at(0), until=at(60))) == pytest.approx(50 / 60)
    assert share_ok([Span("unknown", at(0), at(1))]) is None


@given(st.lists(st.tuples(st.integers(-100, 200), st.sampled_from(["ok", "down", "unknown"]))))
def test_spans_cover_the_window_whatever_changed(changes: list[tuple[int, str]]) -> None:
    told = [(at(minute), state) for minute, state in sorted(changes, key=lambda one: one[0])]
    found = spans(told, since=at(0), until=at(100))
    assert found[0].since == at(0)
    assert found[-1].until == at(100)
    for one, other in pairwise(found):
        assert one.until == other.since
        assert one.state != other.state


def test_every_part_has_words() -> None:
    for about in (*domain.CHECKS.values(), *domain.DEEP.values()):
        assert about.words("ok") == about.ok
        assert about.words("down") == about.ill
        assert about.words("unknown") == "Nobody has looked."
    assert domain.overall([]) is State.OK
    assert domain.overall([Check("a", State.OK, ""), Check("b", State.DEGRADED, "")]) == "degraded"
