"""Messages that are tried again, given up, held up or kept, over real receivers."""

from __future__ import annotations

import threading
from datetime import timedelta
from uuid import uuid4

from django.utils import timezone

from orchestrator import store
from orchestrator.models import (
    Alert,
    AlertChange,
    AlertDelivery,
    Channel,
    MaintenanceWindow,
    Notification,
    NotificationTotal,
    Silence,
)
from orchestrator.services import channels, silences
from orchestrator.services.notifying import Notifier, prune, route
from tenants.actors import COMMAND
from tenants.models import Tenant
from tenants.services import create_tenant
from tests.alerts.conftest import Make, Post, due_now, states
from tests.alerts.planted import Planted
from tests.alerts.receiving import Place, receiver


def test_a_failing_receiver_is_tried_again_under_the_same_key(
    planted: Planted, place: Place, channel: Make, post: Post
) -> None:
    channel(place.url)
    place.answers = [503, 500]
    planted.bad()
    post.settle()
    waiting = Notification.objects.get()
    assert (waiting.state, waiting.attempt_count, waiting.answer) == (
        "sending",
        1,
        "503 Service Unavailable",
    )
    assert waiting.next_at is not None
    assert waiting.next_at > timezone.now()
    for _ in range(2):
        due_now()
        post.settle()
    assert len({place.next().key for _ in range(3)}) == 1
    assert states() == ["firing sent"]


def test_it_is_given_up_at_last_and_that_is_seen(
    planted: Planted, place: Place, channel: Make, post: Post
) -> None:
    channel(place.url)
    place.answers = [410]
    planted.bad()
    Notification.objects.update(state="sending", attempt_count=9)
    post.settle()
    gone = Notification.objects.get()
    assert (gone.state, gone.attempt_count, gone.answer) == ("failed", 10, "410 Gone")
    line = AlertChange.objects.get(kind="not_notified")
    assert line.detail == "ops (webhook), firing: 410 Gone"
    planted.good()
    post.settle()
    assert states() == ["firing failed"], "who did not get the alarm does not get its end"


def test_a_channel_that_was_away_is_told_when_it_is_back(
    planted: Planted, place: Place, channel: Make, post: Post, tenant: Tenant
) -> None:
    """What was given up, or dropped while the channel was off, is told anew while the alert fires."""
    row = channel(place.url, repeat=None)
    place.answers = [503]
    planted.bad()
    Notification.objects.update(state="sending", attempt_count=9)
    post.settle()
    place.next()
    owed = AlertDelivery.objects.get()
    assert owed.told_at is None
    assert owed.repeat_at is not None
    assert owed.repeat_at <= timezone.now() + timedelta(hours=1)
    for _ in range(2):  # a repeat that is due while it is off, and a message
        Channel.objects.filter(pk=row.pk).update(enabled=False)
        AlertDelivery.objects.update(repeat_at=timezone.now())
        post.settle()
        assert AlertDelivery.objects.get().repeat_at is not None
        Channel.objects.filter(pk=row.pk).update(enabled=True)
        AlertDelivery.objects.update(repeat_at=timezone.now())
        route(store.connection())
    assert place.count == 0
    post.settle()
    assert place.next().document["notice"] == "repeat"
    told = AlertDelivery.objects.get()
    assert (told.told_at is not None, told.repeat_at) == (True, None), "it has no repeats"
    planted.good()
    due_now()
    post.settle()
    assert place.next().document["notice"] == "resolved"


def test_a_receiver_that_hangs_delays_no_other_tenant_and_channel(
    planted: Planted, place: Place, channel: Make, post: Post, tenant: Tenant
) -> None:
    other = create_tenant(slug=f"o{uuid4().hex[:8]}", actor=COMMAND)
    with receiver() as quick:
        place.open.clear()
        channel(place.url, group_by=["rule"])
        channel(quick.url, owner=other)
        for number in range(5):
            Planted(tenant.pk, f"sla:{number}").bad()
        post.tick()
        place.next(), place.next()
        Planted(other.pk).bad()
        post.until(lambda: quick.count)
        channel(quick.url, name="beside", match={"rule": "sla:9"})
        Planted(tenant.pk, "sla:9").bad()
        post.until(lambda: quick.count == 2)
        assert place.count == 0, "of one channel two at once"
        assert post.notifier.on_way >= 2
        place.open.set()
        post.settle()
        assert place.count == 4


def test_nothing_is_locked_while_it_is_sent(
    planted: Planted, place: Place, channel: Make, post: Post, tenant: Tenant
) -> None:
    channel(place.url)
    place.open.clear()
    planted.bad()
    post.tick()
    place.next()
    link = store.connection()
    link.execute("SET lock_timeout = '5s'")
    for table in ("notification", "alert", "channel", "tenant_load"):
        link.execute(f"SELECT 1 FROM {table} FOR UPDATE NOWAIT")
    assert not store.connection().info.transaction_status
    place.open.set()
    post.settle()
    link.execute("RESET lock_timeout")


def test_another_notifier_sends_again_what_one_sent_and_did_not_mark(
    planted: Planted, place: Place, channel: Make, post: Post
) -> None:
    """At least once: it died between sending and marking."""
    channel(place.url)
    planted.bad()
    gone = Notifier()
    gone.start(store.connection())
    first = place.next()
    assert post.notifier.start(store.connection()) == 0, "it is claimed"
    Notification.objects.update(claimed_until=timezone.now())
    post.settle()
    again = place.next()
    assert first.key == again.key
    assert Notification.objects.get().attempt_count == 2
    late = threading.Event()
    late.wait(0)
    while not gone.finish(store.connection()):
        late.wait(0.01)
    assert states() == ["firing sent"], "who comes back late changes nothing"
    assert NotificationTotal.objects.get().count == 1


def test_two_notifiers_send_each_message_once(
    place: Place, channel: Make, post: Post, tenant: Tenant
) -> None:
    channel(place.url)
    for number in range(6):
        Planted(tenant.pk, f"sla:{number}").bad()
    other = Post()
    post.until(lambda: other.tick() * 0 or Notification.objects.filter(state="sent").count() == 6)
    assert len({place.next().key for _ in range(6)}) == 6
    assert place.count == 0


def test_what_is_deleted_is_told_no_more(
    planted: Planted, place: Place, channel: Make, post: Post, tenant: Tenant
) -> None:
    for owner in (tenant, None):
        channel(place.url, owner=owner)
        Planted(None if owner is None else owner.pk, "sla:9").bad()
    post.settle()
    for owner in (tenant, None):
        channels.delete_channel(tenant=owner, name="ops", actor=COMMAND)
    assert not Notification.objects.exists()
    assert not AlertDelivery.objects.exists()


def test_old_alerts_and_messages_are_deleted(
    planted: Planted, place: Place, channel: Make, post: Post, tenant: Tenant
) -> None:
    channel(place.url)
    channel(place.url, owner=None)
    for owner in (tenant.pk, None):
        rule = Planted(owner)
        rule.bad()
        post.settle()
        rule.good()
    post.settle()
    window = {"match": {"rule": "*"}, "cron": "0 2 29 2 *", "duration": "1h"}
    for name in ("weekly", "once"):
        silences.create_window(tenant=tenant, body={"name": name, **window}, actor=COMMAND)
    quiet = {"match": {"rule": "none"}, "reason": "Known.", "duration": "1h"}
    silences.create_silence(tenant=tenant, body=quiet, actor=COMMAND)
    silences.create_silence(tenant=None, body=quiet, actor=COMMAND)
    assert prune(store.connection(), days=90) == 0
    old = timezone.now() - timedelta(days=91)
    Alert.objects.update(resolved_at=old)
    Notification.objects.exclude(ended_at=None).update(ended_at=old)
    still = Planted(tenant.pk, "sla:still")
    still.bad()
    Silence.objects.update(starts_at=old, ends_at=old)
    once = MaintenanceWindow.objects.filter(name="once")
    once.update(cron=None, duration=None, starts_at=old - timedelta(hours=1), ends_at=old)
    assert prune(store.connection(), days=90, limit=1) >= 7, "in portions, until all are gone"
    assert not Silence.objects.exists()
    assert MaintenanceWindow.objects.get().name == "weekly"
    assert Alert.objects.count() == 1
    assert AlertChange.objects.exclude(alert__rule="sla:still").count() == 0
    assert AlertDelivery.objects.count() == 0
