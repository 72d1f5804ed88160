"""Silences, maintenance windows and inhibition, over real receivers."""

from __future__ import annotations

from uuid import uuid4

from orchestrator import store
from orchestrator.domain.observations import Severity
from orchestrator.models import (
    Alert,
    AlertChange,
)
from orchestrator.services import muting, silences
from tenants.actors import COMMAND
from tenants.models import Tenant
from tenants.services import create_tenant
from tests.alerts.conftest import Make, Post, due_now, states
from tests.alerts.planted import Planted
from tests.alerts.receiving import Place


def test_a_silence_holds_the_alarm_until_it_ends(
    planted: Planted, place: Place, channel: Make, post: Post, tenant: Tenant
) -> None:
    channel(place.url)
    planted.labels = {"workflow": "orders"}
    body = {"match": {"workflow": "ord*"}, "reason": "Known.", "duration": "1h"}
    silence = silences.create_silence(tenant=tenant, body=body, actor=COMMAND)
    planted.bad()
    Planted(tenant.pk, planted.rule, {"workflow": "refunds"}).bad()
    post.notifier.start(store.connection())
    marks = Alert.objects.values_list("muted_by", flat=True)
    assert list(marks) == [None, None], "it holds before the alert is marked"
    told = place.next().document
    assert [one["labels"]["workflow"] for one in told["alerts"]] == ["refunds"], (
        "the rest of its group is told"
    )
    for number in range(5):
        Planted(tenant.pk, f"sla:{number}", planted.labels).bad()
    Planted(tenant.pk, "sla:loud").bad()
    due_now()
    post.tick()
    assert place.next().document["group"] == {"rule": "sla:loud"}, "muted ones hide no other"
    post.settle()
    assert place.count == 0
    alert = Alert.objects.get(workflow="orders", rule=planted.rule)
    assert alert.muted_by == f"silence:{silence.pk}"
    silences.end_silence(tenant=tenant, silence_id=silence.pk, actor=COMMAND)
    post.until(lambda: place.count == 6)
    found = [place.next().document["alerts"][0]["id"] for _ in range(6)]
    assert str(alert.pk) in found, "they are told as soon as it is over"
    post.settle()
    kinds = AlertChange.objects.filter(alert=alert).order_by("pk").values_list("kind", flat=True)
    assert list(kinds) == ["pending", "firing", "muted", "unmuted", "notified"]


def test_a_silence_of_one_tenant_is_no_other_tenants(
    planted: Planted, place: Place, channel: Make, post: Post
) -> None:
    other = create_tenant(slug=f"o{uuid4().hex[:8]}", actor=COMMAND)
    body = {"match": {"rule": "*"}, "reason": "Quiet.", "duration": "1h"}
    silences.create_silence(tenant=other, body=body, actor=COMMAND)
    silences.create_silence(tenant=None, body=body, actor=COMMAND)
    channel(place.url)
    planted.bad()
    post.settle()
    assert place.next().document["notice"] == "firing"


def test_a_maintenance_window_mutes_while_it_is_open(
    planted: Planted, place: Place, channel: Make, post: Post, tenant: Tenant
) -> None:
    channel(place.url)
    body = {"name": "always", "match": {"rule": "sla:*"}, "cron": "* * * * *", "duration": "1h"}
    silences.create_window(tenant=tenant, body=body, actor=COMMAND)
    planted.bad()
    post.settle()
    assert Alert.objects.get().muted_by == "window:always"
    assert states() == ["firing collecting"]
    silences.delete_window(tenant=tenant, name="always", actor=COMMAND)
    due_now()
    post.settle()
    assert place.next().document["notice"] == "firing"


def test_a_red_database_mutes_what_follows_from_it(
    planted: Planted, place: Place, channel: Make, post: Post
) -> None:
    channel(place.url)
    channel(place.url, owner=None, name="staff")
    database = Planted(None, "health:database", name="The database answers")
    database.bad()
    planted.bad()
    assert muting.mark(store.connection()) == 0, "what is only degraded mutes nothing"
    database.severity = Severity.CRITICAL
    database.bad()
    post.settle()
    assert place.next().document["channel"] == "staff"
    assert place.count == 0
    assert Alert.objects.get(rule=planted.rule).muted_by == "alert:health:database"
    database.good()
    due_now()
    post.settle()
    assert {place.next().document["channel"], place.next().document["channel"]} == {"staff", "ops"}
