"""The state machine over the database: one open alert, its timeline, its events, and races."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.db import IntegrityError

from orchestrator import store
from orchestrator.domain.observations import Sight
from orchestrator.models import Alert, AlertChange, Event, TenantLoad
from orchestrator.services import alerting
from orchestrator.store import connect
from tenants.models import Tenant
from tests.alerts.planted import Planted

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def only() -> Alert:
    return Alert.objects.get()


def events(tenant: Tenant) -> list[str]:
    rows = Event.objects.filter(tenant_id=tenant.pk).order_by("seq")
    return [row.type for row in rows]


def test_an_alert_pends_fires_and_resolves(planted: Planted, tenant: Tenant) -> None:
    planted.for_s, planted.clear_for_s = 60, 30
    planted.labels = {"workflow": "orders"}
    assert planted.good(at(0)) == 0
    assert not Alert.objects.exists()
    run = uuid4()
    assert planted.bad(at(10), run_ids=(run,)) == 1
    assert only().state == "pending"
    assert planted.bad(at(40), value=9.0) == 0
    assert only().value == 9.0, "what was seen last is kept"
    assert planted.bad(at(70)) == 1
    alert = only()
    assert (alert.state, alert.started_at, alert.fired_at) == ("firing", at(10), at(70))
    assert (alert.workflow, alert.threshold, alert.unit) == ("orders", 2.0, "s")
    assert planted.good(at(80)) == 0
    assert planted.look(Sight.INSUFFICIENT, at(100)) == 0
    assert planted.good(at(110)) == 1
    alert = only()
    assert (alert.state, alert.resolved_at, alert.resolved_by) == ("resolved", at(110), None)
    assert alert.summary == "It is bad.", "what it was about stays"
    kinds = list(AlertChange.objects.order_by("pk").values_list("kind", "detail"))
    assert kinds == [
        ("pending", "It is bad."), ("firing", "It is bad."), ("resolved", "It is good."),
    ]  # fmt: skip
    assert events(tenant) == ["alert.pending", "alert.firing", "alert.resolved"]
    event = Event.objects.filter(tenant_id=tenant.pk).order_by("seq").first()
    assert event is not None
    assert (event.run_id, event.seq) == (None, 1)
    assert f'"alert":"{alert.pk}"' in (event.data or "")
    assert TenantLoad.objects.get(pk=tenant.pk).seq == 3


def test_without_a_delay_it_fires_at_once_and_comes_back_as_another(planted: Planted) -> None:
    assert planted.bad(at(0)) == 1
    assert planted.good(at(1)) == 1
    assert planted.bad(at(2)) == 1
    assert sorted(Alert.objects.values_list("state", flat=True)) == ["firing", "resolved"]


def test_what_never_fired_ends_as_ok(planted: Planted, tenant: Tenant) -> None:
    planted.for_s = 60
    planted.bad(at(0))
    planted.good(at(10))
    alert = only()
    assert (alert.state, alert.fired_at) == ("ok", None)
    assert events(tenant) == ["alert.pending", "alert.ok"]


def test_labels_tell_alerts_of_one_rule_apart(planted: Planted) -> None:
    planted.labels = {"queue": "io", "host": "a"}
    planted.bad(at(0))
    planted.labels = {"host": "a", "queue": "io"}
    assert planted.bad(at(1)) == 0, "the same labels in another order"
    planted.labels = {"queue": "cpu", "host": "a"}
    assert planted.bad(at(2)) == 1
    assert Alert.objects.count() == 2


def test_the_servers_alerts_have_no_tenant_and_no_events(db: None) -> None:
    server = Planted(None, "health:disk")
    assert server.bad(at(0)) == 1
    assert server.bad(at(1)) == 0
    assert only().tenant_id is None
    assert not Event.objects.filter(type__startswith="alert").exists()
    assert server.good(at(2)) == 1


def test_settling_a_rule_ends_what_is_open_of_it(planted: Planted, tenant: Tenant) -> None:
    planted.bad(at(0))
    planted.labels, planted.for_s = {"queue": "io"}, 60
    planted.bad(at(0))
    Planted(tenant.pk, "sla:other").bad(at(0))
    Planted(None, "sla:planted").bad(at(0))
    link = store.connection()
    assert alerting.settle(
        planted.rule, tenant_id=tenant.pk, connection=link, reason="The SLA was deleted."
    ) == 2  # fmt: skip
    states = Alert.objects.filter(rule=planted.rule, tenant=tenant).values_list("state", flat=True)
    assert sorted(states) == ["ok", "resolved"]
    assert Alert.objects.filter(state="firing").count() == 2, "others are not touched"
    assert AlertChange.objects.filter(detail="The SLA was deleted.").count() == 2
    again = alerting.settle(planted.rule, tenant_id=tenant.pk, connection=link, reason="again")
    assert again == 0
    assert alerting.settle("sla:planted", tenant_id=None, connection=link, reason="gone") == 1


def test_many_observations_are_taken_in_parts(tenant: Tenant, planted: Planted) -> None:
    seen = [
        Planted(tenant.pk, f"sla:{number}").sight(Sight.BAD)
        for number in range(alerting.AT_ONCE + 20)
    ]
    assert alerting.observe(seen, connection=store.connection(), now=at(0)) == len(seen)
    assert alerting.observe(seen, connection=store.connection(), now=at(1)) == 0
    twice = [planted.sight(Sight.BAD), planted.sight(Sight.GOOD)]
    assert alerting.observe(twice, connection=store.connection(), now=at(2)) == 0, "the last counts"
    assert alerting.observe([], connection=store.connection()) == 0


def test_odd_texts_and_numbers_are_kept_out(planted: Planted) -> None:
    planted.bad(at(0), summary="a\0b" + "x" * 5000, value=float("nan"), name="n\0")
    alert = only()
    assert alert.summary.startswith("a\ufffdb")
    assert len(alert.summary) == 1000
    assert alert.value is None
    assert planted.bad(at(1), summary="a\0b" + "x" * 5000, value=float("inf"), name="n\0") == 0


def test_the_database_holds_one_open_alert(planted: Planted) -> None:
    planted.bad(at(0))
    copy = only()
    copy.pk = uuid4()
    with pytest.raises(IntegrityError, match="alert_open"):
        copy.save(force_insert=True)


def test_two_clocks_that_see_the_same_make_one_alert(tenant: Tenant) -> None:
    """Both look before either writes; then both write: one after the other."""
    rounds, rules = 5, 4
    barrier = threading.Barrier(2)
    moved: list[int] = []
    faults: list[BaseException] = []

    def clock() -> None:
        try:
            with connect(name="test clock") as connection:
                for number in range(rounds):
                    sight = Sight.BAD if number % 2 == 0 else Sight.GOOD
                    seen = [
                        Planted(owner, f"sla:{rule}").sight(sight)
                        for rule in range(rules)
                        for owner in (tenant.pk, None)
                    ]
                    barrier.wait(30)
                    moved.append(alerting.observe(seen, connection=connection))
        except BaseException as fault:
            barrier.abort()
            faults.append(fault)

    threads = [threading.Thread(target=clock) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not faults
    assert sum(moved) == rounds * rules * 2
    assert Alert.objects.count() == 3 * rules * 2
    assert Alert.objects.filter(state="firing").count() == rules * 2
    expected = ["alert.pending", "alert.firing", "alert.resolved"] * 2 + [
        "alert.pending",
        "alert.firing",
    ]
    assert sorted(events(tenant)) == sorted(expected * rules)
    seqs = list(
        Event.objects.filter(tenant_id=tenant.pk).order_by("seq").values_list("seq", flat=True)
    )
    assert seqs == list(range(1, len(seqs) + 1))
