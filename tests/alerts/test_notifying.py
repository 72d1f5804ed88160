"""Notifications over real receivers: who is told what, and how it reads."""

from __future__ import annotations

import re
from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from orchestrator.domain.observations import Severity
from orchestrator.domain.webhooks import Scheme, check
from orchestrator.models import (
    Alert,
    AlertChange,
    AlertDelivery,
    Event,
    Notification,
    NotificationTotal,
)
from orchestrator.services import alerts, channels
from tenants.actors import COMMAND
from tenants.models import Tenant
from tests.alerts.conftest import Make, Post, due_now, states
from tests.alerts.planted import Planted
from tests.alerts.receiving import Place
from tests.dashboard.mailbox import mailbox


def test_an_alarm_and_its_end_arrive_signed(
    planted: Planted, place: Place, channel: Make, post: Post, tenant: Tenant
) -> None:
    row, secret = channels.create_channel(
        tenant=tenant,
        body={"name": "ops", "kind": "webhook", "url": place.url, "group_wait": 0},
        actor=COMMAND,
    )
    assert secret is not None
    assert (row.place, "secret-path" in row.place) == (
        place.url.rpartition("/hook")[0] + "/…",
        False,
    )
    run = uuid4()
    planted.bad(run_ids=(run,))
    post.settle()
    alarm = place.next()
    assert (
        check(Scheme.MILLRACE, [secret], alarm.headers, alarm.body, now=timezone.now().timestamp())
        is None
    )
    said = alarm.document
    assert (said["notice"], said["tenant"], said["channel"]) == ("firing", tenant.slug, "ops")
    assert said["id"] == alarm.key
    (one,) = said["alerts"]
    alert = Alert.objects.get()
    assert (one["id"], one["state"], one["run_ids"]) == (str(alert.pk), "firing", [str(run)])
    assert secret not in alarm.body.decode()
    planted.good()
    due_now()
    post.settle()
    end = place.next()
    assert (end.document["notice"], end.document["alerts"][0]["state"]) == ("resolved", "resolved")
    assert end.key != alarm.key
    assert states() == ["firing sent", "resolved sent"]
    kinds = AlertChange.objects.order_by("pk").values_list("kind", flat=True)
    assert list(kinds) == ["pending", "firing", "notified", "resolved", "notified"]
    detail = AlertChange.objects.filter(kind="notified").first()
    assert detail is not None
    assert detail.detail == "ops (webhook), firing: 204 No Content"
    total = NotificationTotal.objects.get()
    assert (total.kind, total.outcome, total.count) == ("webhook", "sent", 2)


def test_letters_go_out_by_mail(planted: Planted, channel: Make, post: Post) -> None:
    channel(kind="email", url=None, to=["ops@example.org", "boss@example.org"])
    with mailbox() as box:
        planted.bad(summary="p95 is 3.5 s, over 2 s.")
        post.settle()
        letter = box.next()
    assert letter["To"] == "ops@example.org, boss@example.org"
    assert "Firing: Orders are quick" in letter["Subject"]
    assert "p95 is 3.5 s, over 2 s." in letter.get_content()
    sent = Notification.objects.get()
    assert (sent.state, letter["Message-ID"]) == ("sent", f"<{sent.pk}@millrace>")


def test_without_a_mail_server_it_is_said(planted: Planted, channel: Make, post: Post) -> None:
    channel(kind="email", url=None, to=["ops@example.org"])
    planted.bad()
    post.settle()
    waiting = Notification.objects.get()
    assert (waiting.state, waiting.attempt_count) == ("sending", 1)
    assert "SMTP_URL" in waiting.answer


def test_a_chat_gets_text_in_which_nothing_is_a_mention(
    planted: Planted, place: Place, channel: Make, post: Post
) -> None:
    channel(place.url, kind="slack")
    planted.bad(summary="<!channel> & more")
    post.settle()
    letter = place.next()
    assert "&lt;!channel&gt; &amp; more" in letter.document["text"]
    assert "millrace-signature" not in letter.headers


def test_one_message_for_a_group(
    planted: Planted, place: Place, channel: Make, post: Post, tenant: Tenant
) -> None:
    channel(place.url, group_wait="1m", group_by=["workflow"])
    for number, workflow in enumerate(("orders", "orders", "refunds")):
        Planted(tenant.pk, f"sla:{number}", {"workflow": workflow}).bad()
    assert post.tick() == 0, "it waits for the rest of the group"
    due_now()
    post.settle()
    letters = [place.next(), place.next()]
    found = sorted(
        (one.document["group"]["workflow"], one.document["alert_count"]) for one in letters
    )
    assert found == [("orders", 2), ("refunds", 1)]
    assert place.count == 0


def test_severity_and_matchers_choose_the_channel(
    place: Place, channel: Make, post: Post, tenant: Tenant
) -> None:
    channel(place.url, name="critical", severity="critical")
    channel(place.url, name="orders", match={"workflow": "orders"})
    channel(place.url, name="off", enabled=False)
    Planted(tenant.pk, "sla:1", {"workflow": "orders"}).bad()
    Planted(tenant.pk, "sla:2", severity=Severity.CRITICAL).bad()
    Planted(tenant.pk, "sla:3").bad()
    post.settle()
    found = sorted(place.next().document["channel"] for _ in range(2))
    assert found == ["critical", "orders"]
    assert place.count == 0


def test_a_warning_that_becomes_critical_is_told_once_more(
    planted: Planted, place: Place, channel: Make, post: Post, tenant: Tenant
) -> None:
    """A canary is degraded before it is down: who takes critical alerts alone hears of it then."""
    channel(place.url, name="pager", severity="critical")
    planted.bad()
    post.settle()
    assert place.count == 0
    alert = Alert.objects.get()
    alerts.acknowledge_alert(tenant=tenant, alert_id=alert.pk, body={}, actor=COMMAND)
    planted.severity = Severity.CRITICAL
    assert planted.bad(summary="It is down.") == 1
    assert planted.bad(summary="It is still down.") == 0
    planted.severity = Severity.WARNING
    assert planted.bad() == 0, "that it matters less is not told"
    post.settle()
    (told,) = place.next().document["alerts"]
    assert (told["id"], told["state"]) == (str(alert.pk), "acknowledged")
    assert place.count == 0
    lines = AlertChange.objects.order_by("pk").values_list("kind", "detail")
    assert list(lines)[3:4] == [("escalated", "It is down.")]
    assert Event.objects.filter(type="alert.escalated").count() == 1
    planted.good()
    due_now()
    post.settle()
    assert place.next().document["notice"] == "resolved"


def test_one_that_goes_to_and_fro_is_not_told_at_every_turn(
    planted: Planted, place: Place, channel: Make, post: Post
) -> None:
    """A database that is slow at one look and silent at the next: a message each would be a flood."""
    channel(place.url)
    now = timezone.now()
    for turn in range(6):
        planted.severity = Severity.CRITICAL if turn % 2 else Severity.WARNING
        planted.bad(now + timedelta(seconds=10 * turn))
        post.settle()
    assert place.count == 2, "that it fires, and that it escalated"
    assert AlertChange.objects.filter(kind="escalated").count() == 1
    assert Event.objects.filter(type="alert.escalated").count() == 1
    AlertChange.objects.update(at=now - timedelta(hours=2))
    planted.severity = Severity.WARNING
    planted.bad(now + timedelta(minutes=5))
    planted.severity = Severity.CRITICAL
    assert planted.bad(now + timedelta(minutes=6)) == 1
    post.settle()
    assert place.count == 3, "later it is told again"


def test_the_end_is_told_to_those_alone_that_got_the_alarm(
    planted: Planted, place: Place, channel: Make, post: Post
) -> None:
    channel(place.url, name="early")
    channel(place.url, name="quiet", resolved=False)
    planted.bad()
    post.settle()
    assert {place.next().document["channel"], place.next().document["channel"]} == {
        "early",
        "quiet",
    }
    channel(place.url, name="late")
    planted.good()
    due_now()
    post.settle()
    end = place.next().document
    assert (end["channel"], end["notice"]) == ("early", "resolved")
    assert place.count == 0


def test_what_is_over_before_it_was_told_is_not_told(
    planted: Planted, place: Place, channel: Make, post: Post
) -> None:
    channel(place.url, group_wait="1m")
    planted.bad()
    planted.good()
    due_now()
    post.settle()
    assert states() == ["firing dropped"]
    assert place.count == 0


def test_an_end_while_the_alarm_is_on_its_way_is_told_after_it(
    planted: Planted, place: Place, channel: Make, post: Post
) -> None:
    channel(place.url)
    place.open.clear()
    planted.bad()
    post.tick()
    alarm = place.next()
    planted.good()
    place.open.set()
    post.until(lambda: Notification.objects.filter(notice="resolved").exists())
    due_now()
    post.settle()
    assert [alarm.document["notice"], place.next().document["notice"]] == ["firing", "resolved"]


def test_it_is_repeated_until_somebody_sees_to_it(
    planted: Planted, place: Place, channel: Make, post: Post, tenant: Tenant
) -> None:
    channel(place.url, repeat="1m")
    planted.bad()
    post.settle()
    place.next()
    told = AlertDelivery.objects.get()
    assert told.told_at is not None
    assert told.repeat_at == told.told_at + timedelta(minutes=1)
    AlertDelivery.objects.update(repeat_at=timezone.now())
    post.settle()
    assert place.next().document["notice"] == "repeat"
    alert = Alert.objects.get()
    alerts.acknowledge_alert(tenant=tenant, alert_id=alert.pk, body={}, actor=COMMAND)
    AlertDelivery.objects.update(repeat_at=timezone.now())
    post.settle()
    assert place.count == 0
    assert AlertDelivery.objects.get().repeat_at is None


def test_a_channel_that_takes_an_alert_no_more_is_told_no_more(
    planted: Planted, place: Place, channel: Make, post: Post, tenant: Tenant
) -> None:
    def take(match: dict[str, str]) -> None:
        body = {"kind": "webhook", "group_wait": "1m", "repeat": "1m", "match": match}
        channels.replace_channel(tenant=tenant, name="ops", body=body, actor=COMMAND)

    channel(place.url, group_wait="1m", repeat="1m")
    planted.labels = {"workflow": "orders"}
    planted.bad()
    take({"workflow": "refunds"})
    due_now()
    post.settle()
    assert states() == ["firing dropped"], "of what was collected before"
    take({"workflow": "ord*"})
    planted.good()
    planted.bad()
    due_now()
    post.settle()
    assert place.next().document["notice"] == "firing"
    take({"workflow": "refunds"})
    AlertDelivery.objects.update(repeat_at=timezone.now())
    post.settle()
    assert place.count == 0
    take({})
    AlertDelivery.objects.exclude(repeat_at=None).update(repeat_at=timezone.now())
    post.settle()
    assert place.next().document["notice"] == "repeat"


def test_messages_hold_bounded_lists(
    place: Place, channel: Make, post: Post, tenant: Tenant
) -> None:
    channel(place.url, group_by=[])
    for number in range(23):
        Planted(tenant.pk, f"sla:{number}").bad()
    post.settle()
    said = place.next().document
    assert (said["alert_count"], len(said["alerts"])) == (23, 20)


@pytest.mark.parametrize("notice", ["firing", "resolved"])
def test_texts_are_lines_without_addresses_of_channels(
    notice: str, planted: Planted, channel: Make, post: Post, place: Place
) -> None:
    channel(place.url, kind="slack")
    planted.bad()
    post.settle()
    planted.good()
    due_now()
    post.settle()
    letters = [place.next().document["text"] for _ in range(2)]
    assert not any("secret-path" in text for text in letters)
    assert re.search(r"since \d{4}-", letters[0])
    assert re.search(r"from \d{4}-.* to \d{4}-", letters[1])


def test_a_service_of_apprise_is_told(
    planted: Planted, place: Place, channel: Make, post: Post
) -> None:
    """The server's own channel, since it reaches a host of its choice: apprise's plain JSON."""
    where = place.url.removeprefix("http://")
    channel(f"json://{where}", owner=None, kind="apprise")
    Planted(None, "health:disk", name="There is room on the disk", severity=Severity.CRITICAL).bad()
    post.settle()
    said = place.next().document
    assert said["title"] == "[server] Firing: There is room on the disk"
    assert said["type"] == "failure"
    assert Notification.objects.get().answer == "taken by JSON"
    place.answers = [500]
    channels.test_channel(tenant=None, name="ops", actor=COMMAND)
    post.settle()
    assert Notification.objects.get(notice="test").answer == "JSON did not take it"
