"""The alert of the evaluator's own failure, the watchdog, and what metrics say."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.utils import timezone
from prometheus_client.samples import Sample

from orchestrator import store
from orchestrator.models import (
    Alert,
    Channel,
    Duty,
    Notification,
    NotificationTotal,
    RollupCursor,
)
from orchestrator.selectors.metrics import MillraceCollector
from orchestrator.services import watching
from orchestrator.services.watching import Watch
from tenants.models import Tenant
from tests.alerts.conftest import Make, Post, due_now
from tests.alerts.planted import Planted
from tests.alerts.receiving import Place, receiver
from tests.dashboard.mailbox import mailbox

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "FOR_S", 0.0)


def duty(name: str, *, silent_s: float = 0.0, interval_s: float = 5.0, error: str = "") -> None:
    """Let a duty of the clock have fared so."""
    Duty.objects.update_or_create(
        name=name,
        defaults={
            "ticked_at": timezone.now() - timedelta(seconds=silent_s),
            "interval_ms": round(interval_s * 1000),
            "error": error,
        },
    )


def firing() -> set[str]:
    rows = Alert.objects.filter(tenant=None, rule="evaluator", state="firing")
    return set(rows.values_list("labels", flat=True))


@pytest.fixture
def beats() -> Iterator[Place]:
    with receiver() as found:
        yield found


def test_an_evaluator_that_is_silent_or_fails_is_an_alert_itself() -> None:
    link = store.connection()
    assert watching.watch(link) == 0, "there is none yet"
    for name in watching.DUTIES:
        duty(name, interval_s=0.5)
    duty("evaluate")
    duty("reap", silent_s=9999)
    assert watching.watch(link) == 0
    duty("evaluate", silent_s=31)
    assert watching.watch(link) == 1
    assert firing() == {'{"duty":"evaluate"}'}
    alert = Alert.objects.get()
    assert (alert.severity, alert.name) == ("critical", "Alerts are not evaluated.")
    assert alert.summary.startswith("The clock's duty evaluate was last done 31 s ago")
    duty("evaluate", silent_s=40, interval_s=10)
    assert watching.watch(link) == 1, "five intervals, 30 s at least"
    assert firing() == set()
    for name in ("notify", "route"):
        duty(name, error="OSError: no")
        assert watching.watch(link) == 1
        alert = Alert.objects.get(state="firing")
        assert (alert.name, alert.summary) == (
            "People are not told of alerts.",
            f"The clock's duty {name} fails: OSError: no",
        )
        duty(name)
        assert watching.watch(link) == 1


def test_messages_that_nobody_takes_are_an_alert_and_stop_the_beat(
    tenant: Tenant, beats: Place
) -> None:
    link = store.connection()
    for name in watching.DUTIES:
        duty(name)
    hook = Channel.objects.create(
        tenant=tenant, name="hook", kind="webhook", sealed=b"x", group_wait=timedelta()
    )
    letters = Channel.objects.create(
        tenant=tenant, name="mail", kind="email", group_wait=timedelta()
    )
    ended = {"tenant_id": tenant.pk, "notice": "firing", "ended_at": timezone.now()}
    Notification.objects.create(channel=hook, state="failed", **ended)
    assert watching.watch(link) == 0, "a tenant's own receiver"
    Notification.objects.create(channel=letters, state="failed", **ended)
    assert watching.watch(link) == 1
    assert firing() == {'{"part":"messages"}'}
    watch = Watch(beats.url)
    assert watch.beat(link) == 0
    Notification.objects.create(channel=letters, state="sent", **ended)
    assert watching.watch(link) == 1
    assert watch.beat(link) == 1


def test_the_watchdog_is_called_each_minute_while_all_is_well(
    beats: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    link = store.connection()
    watch = Watch(beats.url)
    assert watch.beat(link) == 0, "nobody is told of anything"
    duty("notify", silent_s=100)
    assert watch.beat(link) == 0
    for name in watching.DUTIES[1:]:
        duty(name)
    assert watch.beat(link) == 0, "evaluate was never done"
    duty("evaluate", error="x")
    assert watch.beat(link) == 0
    duty("evaluate")
    beats.answers = [500]
    assert watch.beat(link) == 0
    assert "the watchdog was not reached: 500" in caplog.text
    assert watch(link) == 1
    assert watch(link) == 0, "not before a minute is over"
    monkeypatch.setattr(watch, "_next", 0.0)
    assert watch(link) == 1
    assert beats.count == 3
    assert Watch("").beat(link) == 0


def samples(name: str) -> list[Sample]:
    return [
        one
        for family in MillraceCollector().collect()
        for one in family.samples
        if one.name == name
    ]


def test_metrics_count_alerts_and_messages(tenant: Tenant) -> None:
    RollupCursor.objects.create(tenant_id=tenant.pk, own=True)  # it has a label of its own
    Planted(tenant.pk).bad()
    Planted(tenant.pk, "sla:2", for_s=60).bad()
    Planted(None, "health:disk").bad()
    Alert.objects.filter(rule="sla:planted").update(muted_by="silence:x")
    found = {
        (one.labels["tenant"], one.labels["state"]): one.value for one in samples("millrace_alerts")
    }
    assert found == {(tenant.slug, "silenced"): 1, (tenant.slug, "pending"): 1, ("-", "firing"): 1}
    NotificationTotal.objects.create(kind="email", outcome="failed", count=3)
    (total,) = samples("millrace_notifications_total")
    assert (total.labels, total.value) == ({"kind": "email", "outcome": "failed"}, 3)
    assert [one.value for one in samples("millrace_notifications_due")] == [0]
    assert [one.value for one in samples("millrace_notifications_late_seconds")] == [0]
    assert not Notification.objects.exists()


def test_addresses_that_nobody_has_are_their_owners_trouble(
    planted: Planted, channel: Make, post: Post
) -> None:
    """Else a tenant whose colleague has left would call the server's people, and still the watchdog."""
    link = store.connection()
    channel(kind="email", url=None, to=["gone@example.org"])
    channel(owner=None, name="staff", kind="email", url=None, to=["gone@example.org"])
    with mailbox() as box:
        box.unknown = {"gone@example.org"}
        for rule, expected in (
            (planted, set()),
            (Planted(None, "health:disk"), {'{"part":"messages"}'}),
        ):
            rule.bad()
            post.settle()
            Notification.objects.filter(state="sending").update(attempt_count=9)
            due_now()
            post.settle()
            assert Notification.objects.filter(state="failed").exists()
            watching.watch(link)
            assert firing() == expected
    assert "refuses" in Notification.objects.filter(state="failed")[0].answer
