"""The pages of alerts, channels, silences and maintenance windows, of a tenant and of the server."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

from dashboard.words import measured
from orchestrator.domain.observations import Severity
from orchestrator.models import Alert, Channel, MaintenanceWindow, Notification, Silence
from orchestrator.selectors.alerts import sla_of
from orchestrator.services import silences
from orchestrator.services.slas import create_sla
from tenants.actors import COMMAND
from tenants.models import AuditEntry
from tenants.services import create_tenant
from tests.alerts.planted import Planted
from tests.dashboard.conftest import House

HOOK = {"kind": "webhook", "url": "https://hooks.example.org/T0/secret", "severity": "warning"}


def text(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, path
    return answer.content.decode()


def fire(house: House, rule: str = "sla:1", **more: Any) -> Alert:
    Planted(house.tenant.pk, rule, {"workflow": "import"}).bad(**more)
    return Alert.objects.get(rule=rule)


def test_empty_pages_say_what_would_appear(house: House) -> None:
    client = house.client("viewer")
    for path, words in (
        ("alerts/", "Nothing fires"),
        ("alerts/?tab=acknowledged", "Nobody is at work"),
        ("alerts/?tab=silenced", "None is silenced"),
        ("alerts/?tab=pending", "None is pending"),
        ("alerts/?tab=resolved", "None is over yet"),
        ("alerts/?tab=nonsense&cursor=x", "Nothing fires"),
        ("channels/", "Nobody is told of alerts yet"),
        ("silences/", "No maintenance window"),
    ):
        page = text(client, f"/t/mill/{path}")
        assert words in page, path
        assert "New channel" not in page
        assert '<span class="badge"' not in page


def test_what_fires_is_on_every_page(house: House) -> None:
    fire(house)
    Planted(house.tenant.pk, "sla:2", severity=Severity.CRITICAL, name="Nothing fails").bad()
    client = house.client("viewer")
    overview = text(client, "/t/mill/")
    assert "Orders are quick" in overview
    assert "2 firing" in overview
    assert '<span class="badge is-bad">' in overview
    assert '<span class="badge is-bad">' in text(client, "/t/mill/runs/")
    page = text(client, "/t/mill/alerts/")
    assert "Nothing fails" in page
    assert "workflow:import" in page
    assert "3.50 s" in page
    swaps = client.get("/t/mill/alerts/", headers={"X-Live": "1"}).content.decode()
    assert 'id="section-alert-badge"' in swaps


def test_an_operator_acknowledges_silences_and_resolves(house: House) -> None:
    alert = fire(house, run_ids=(house.run(),))
    where = f"/t/mill/alerts/{alert.pk}/"
    assert "Acknowledge</button>" not in text(house.client("viewer"), where)
    client = house.client("operator")
    page = text(client, where)
    for words in (
        "Acknowledge</button>",
        "Silence</button>",
        "Resolve</button>",
        "Runs that show it",
    ):
        assert words in page, words
    assert f'href="/t/mill/runs/{alert.run_ids[0]}/"' in page
    answer = client.post(f"{where}acknowledge", {"comment": "On it."}, follow=True)
    assert "It is acknowledged" in answer.content.decode()
    answer = client.post(f"{where}acknowledge", follow=True)
    assert "The state acknowledged does not allow acknowledge" in answer.content.decode()
    answer = client.post(f"{where}silence", {"duration": "1h", "reason": ""}, follow=True)
    assert "Reason: says nothing" in answer.content.decode()
    client.post(f"{where}silence", {"duration": "1h", "reason": "Known."})
    assert '"workflow":"import"' in Silence.objects.get().matchers
    client.post(f"{where}resolve", {"comment": "Gone."})
    page = text(client, where)
    for words in ("On it.", "Gone.", "user:operator", "Timeline", "Lasted"):
        assert words in page, words
    assert "Resolve</button>" not in page
    assert "Orders are quick" in text(client, "/t/mill/alerts/?tab=resolved")
    assert client.get("/t/mill/alerts/nothing/").status_code == 404


def test_an_alert_links_to_its_sla(house: House) -> None:
    body = {"name": "in-time", "kind": "run_duration", "threshold": "1h", "target": 0.9}
    sla = create_sla(tenant=house.tenant, body=body, actor=COMMAND)
    strange = ("sla:x", f"sla:{sla.pk}/", f"health:{sla.pk}", "sla:999999999999999999")
    mine, *others = [fire(house, rule) for rule in (f"sla:{sla.pk}", *strange)]
    rival = create_tenant(slug="rival", actor=COMMAND)
    Planted(rival.pk, f"sla:{sla.pk}").bad()
    assert sla_of(Alert.objects.get(tenant=rival)) is None
    Planted(None, f"sla:{sla.pk}").bad()
    servers = Alert.objects.get(tenant=None)
    client = house.client("viewer", staff=True)
    where = f"/t/mill/alerts/{mine.pk}/"
    assert '<a href="/t/mill/slas/in-time/">SLA in-time</a>' in text(client, where)
    for other in others:
        assert "/slas/in-time" not in text(client, f"/t/mill/alerts/{other.pk}/"), other.rule
    assert "/slas/in-time" not in text(client, f"/staff/alerts/{servers.pk}/")
    sla.delete()
    assert "/slas/in-time" not in text(client, where)


def test_alerts_are_marked_on_the_charts(house: House) -> None:
    alert = fire(house, now=timezone.now() - timedelta(minutes=5))
    page = text(house.client("viewer"), "/t/mill/")
    assert f'<a href="/t/mill/alerts/{alert.pk}/">Orders are quick fired</a>' in page
    assert '<span class="light is-alert">' in page


def test_a_silenced_alert_leads_to_what_mutes_it(house: House) -> None:
    alert, cause = fire(house), fire(house, "health:disk")
    body = {"match": {"rule": "*"}, "reason": "We move.", "duration": "1h"}
    silence = silences.create_silence(tenant=house.tenant, body=body, actor=COMMAND)
    always = {"name": "night", "match": {"rule": "*"}, "cron": "* * * * *", "duration": "1h"}
    silences.create_window(tenant=house.tenant, body=always, actor=COMMAND)
    client = house.client("viewer")
    for mark, words in (
        (f"silence:{silence.pk}", f'/t/mill/silences/#silence-{silence.pk}">We move.</a>'),
        ("window:night", '/t/mill/silences/#window-night">the window night</a>'),
        ("alert:health:disk", f'/t/mill/alerts/{cause.pk}/">health:disk</a>'),
        ("alert:health:workers", '<span class="mono">health:workers</span>'),
        (f"silence:{uuid4()}", ">a silence</a>"),
    ):
        Alert.objects.filter(pk=alert.pk).update(muted_by=mark)
        assert words in text(client, f"/t/mill/alerts/{alert.pk}/"), mark
    assert f'id="silence-{silence.pk}"' in text(client, "/t/mill/silences/")


def test_alerts_are_narrowed_and_the_address_holds_it(house: House) -> None:
    fire(house)
    Planted(house.tenant.pk, "sla:2", severity=Severity.CRITICAL, name="Nothing fails").bad()
    client = house.client("viewer")
    page = text(client, "/t/mill/alerts/?severity=critical&rule=sla%3A2")
    assert "Nothing fails" in page
    assert "Orders are quick" not in page
    assert 'href="?tab=pending&amp;severity=critical&amp;rule=sla%3A2"' in page
    assert "No alert matches" in text(client, "/t/mill/alerts/?workflow=none")
    assert "Orders are quick" in text(client, "/t/mill/alerts/?workflow=import")


def test_values_are_told_from_their_limits() -> None:
    seen = [measured(value, unit) for value, unit in (
        (0.9985, "share"), (0.999, "share"), (0.0004, "share"), (97 / 3600, "per_s"), (None, "s"),
    )]  # fmt: skip
    assert seen == ["99.85 %", "99.9 %", "0.04 %", "97 per h", "–"]
    assert measured(0.12, "per_s", 100_000 / 3600) == "0.12 per s"
    assert measured(0, "per_s", 100 / 3600) == "0 per h"


def test_a_silence_from_an_alert_means_that_alert_alone(house: House) -> None:
    Planted(house.tenant.pk, "sla:*", {"host": "a[1]?"}).bad()
    alert = Alert.objects.get()
    where = f"/t/mill/alerts/{alert.pk}/silence"
    house.client("operator").post(where, {"duration": "1h", "reason": "r"})
    assert Silence.objects.get().matchers == '{"host":"a[[]1][?]","rule":"sla:[*]"}'


def test_an_admin_makes_tries_and_deletes_a_channel(house: House) -> None:
    client = house.client("admin")
    assert "New channel" in text(client, "/t/mill/channels/+new")
    sent = {"name": "ops", **HOOK, "match": "workflow = im*\nsla:*", "group_by": "rule, workflow",
            "group_wait": "5s", "repeat": "", "resolved": "on", "enabled": "on"}  # fmt: skip
    answer = client.post("/t/mill/channels/+new", sent)
    page = answer.content.decode()
    assert "shown this once" in page
    assert "mrnt_" in page
    assert answer["Cache-Control"] == "no-store"
    row = Channel.objects.get()
    assert row.matchers == '{"rule":"sla:*","workflow":"im*"}'
    assert (row.group_by, row.repeat_every) == (["rule", "workflow"], None)
    form = text(client, "/t/mill/channels/ops/edit")
    assert "T0/secret" not in form
    assert "workflow = im*" in form
    wrong = client.post("/t/mill/channels/ops/edit", {**sent, "url": "http://10.0.0.1/"})
    assert wrong.status_code == 422
    assert "private address" in wrong.content.decode()
    saved = client.post("/t/mill/channels/ops/edit", {**sent, "url": ""}, follow=True)
    assert "is saved" in saved.content.decode()
    page = client.post("/t/mill/channels/ops/test", follow=True).content.decode()
    assert "A test is on its way" in page
    assert "waits for its group" in page
    Notification.objects.update(state="sending", answer="503 x")
    assert "tried again" in text(client, "/t/mill/channels/")
    assert "mrnt_" in client.post("/t/mill/channels/ops/rotate").content.decode()
    mail = {
        "name": "mail",
        "kind": "email",
        "to": "a@example.org\nb@example.org",
        "severity": "critical",
    }
    client.post("/t/mill/channels/+new", mail)
    assert Channel.objects.get(name="mail").to == ["a@example.org", "b@example.org"]
    assert "signed" in client.post("/t/mill/channels/mail/rotate", follow=True).content.decode()
    assert "a@example.org" in text(client, "/t/mill/channels/mail/?cursor=x")
    client.post("/t/mill/channels/ops/delete")
    assert not Channel.objects.filter(name="ops").exists()
    for path in ("channels/ops/", "channels/ops/edit"):
        assert client.get(f"/t/mill/{path}").status_code == 404


def test_an_operator_silences_and_plans_windows(house: House) -> None:
    client = house.client("operator")
    wrong = client.post("/t/mill/silences/+new", {"match": "", "reason": "r", "duration": "1h"})
    assert wrong.status_code == 422
    client.post("/t/mill/silences/+new", {"match": "sla:*", "reason": "Known.", "duration": "1h"})
    page = text(client, "/t/mill/silences/")
    assert "Known." in page
    assert "active" in page
    one = Silence.objects.get()
    twice = {"match": "sla:4\nsla:5", "reason": "r", "duration": "1h"}
    assert "names rule twice" in client.post("/t/mill/silences/+new", twice).content.decode()
    edit = f"/t/mill/silences/{one.pk}/edit"
    assert "rule = sla:*" in text(client, edit)
    before = one.ends_at
    client.post(edit, {"match": "sla:*", "reason": "Still known.", "duration": ""})
    one.refresh_from_db()
    assert (one.reason, one.ends_at) == ("Still known.", before)
    client.post(edit, {"match": "sla:*", "reason": "Still known.", "duration": "4h"})
    one.refresh_from_db()
    assert one.ends_at - before > timedelta(hours=2)
    assert client.post(edit, {"match": "", "reason": "", "duration": ""}).status_code == 422
    assert client.get(f"/t/mill/silences/{uuid4()}/edit").status_code == 404
    for words in ("The silence is over", "The silence is over already"):
        answer = client.post(f"/t/mill/silences/{one.pk}/end", follow=True)
        assert words in answer.content.decode()
    new = "/t/mill/maintenance-windows/+new"
    weekly = {"name": "sunday", "match": "*", "kind": "cron", "cron": "0 2 * * 0",
              "timezone": "Europe/Berlin", "duration": "2h", "enabled": "on"}  # fmt: skip
    assert client.post(new, {**weekly, "cron": ""}).status_code == 422
    client.post(new, weekly)
    once = {"name": "move", "match": "*", "kind": "once", "starts_at": "2020-01-01T00:00",
            "ends_at": "2020-01-02T00:00"}  # fmt: skip
    client.post(new, once)
    assert MaintenanceWindow.objects.count() == 2
    page = text(client, "/t/mill/silences/?cursor=x")
    assert "Europe/Berlin, for 2h" in page
    assert "Once" in page
    assert 'value="2020-01-01T00:00"' in text(client, "/t/mill/maintenance-windows/move/edit")
    client.post("/t/mill/maintenance-windows/sunday/edit", {**weekly, "cron": "* * * * *"})
    assert "until" in text(client, "/t/mill/silences/")
    client.post("/t/mill/maintenance-windows/sunday/delete")
    assert MaintenanceWindow.objects.count() == 1
    assert "New silence" not in text(house.client("viewer"), "/t/mill/silences/")


def test_what_a_page_sends_anew_leaves_its_forms_their_token(house: House) -> None:
    client = house.client("operator")
    client.handler.enforce_csrf_checks = True
    alert = fire(house)
    body = {"match": {"rule": "sla:*"}, "reason": "Known.", "duration": "1h"}
    one = silences.create_silence(tenant=house.tenant, body=body, actor=COMMAND)
    for path, form, acts in (
        ("silences/", "end-form", f"silences/{one.pk}/end"),
        (f"alerts/{alert.pk}/", "acknowledge-form", f"alerts/{alert.pk}/acknowledge"),
    ):
        page = text(client, f"/t/mill/{path}")
        swaps = client.get(f"/t/mill/{path}", headers={"X-Live": "1"}).content.decode()
        assert f'form="{form}"' in swaps
        assert "<form" not in swaps
        token = re.search(
            rf'<form id="{form}"[^>]*><input type="hidden" name="csrfmiddlewaretoken" value="(\w+)"',
            page,
        )
        assert token is not None
        sent = {"csrfmiddlewaretoken": token[1]}
        assert client.post(f"/t/mill/{acts}").status_code == 403
        assert client.post(f"/t/mill/{acts}", sent).status_code == 302
    one.refresh_from_db()
    assert one.ends_at <= timezone.now()
    assert Alert.objects.get().state == "acknowledged"


def test_an_open_alert_page_is_told_what_may_be_done_now(house: House) -> None:
    alert = fire(house)
    client = house.client("operator")
    where = f"/t/mill/alerts/{alert.pk}/"

    def sent() -> str:
        return client.get(where, headers={"X-Live": "1"}).content.decode()

    assert "Acknowledge</button>" in sent()
    client.post(f"{where}acknowledge")
    swaps = sent()
    assert "Acknowledge</button>" not in swaps
    assert "Resolve</button>" in swaps
    client.post(f"{where}resolve")
    assert "</button>" not in sent().partition('id="section-actions"')[2]


def staff_forms(where: str) -> tuple[tuple[str, dict[str, str]], ...]:
    """What staff send about an alert, a channel, silences and windows of the server's."""
    return (
        (f"{where}acknowledge", {"comment": "c"}),
        (f"{where}silence", {"duration": "1h", "reason": "r"}),
        (f"{where}resolve", {}),
        ("/staff/channels/inner/edit", {**HOOK, "url": "", "severity": "critical"}),
        ("/staff/channels/inner/test", {}),
        ("/staff/channels/inner/rotate", {}),
        ("/staff/silences/+new", {"match": "*", "reason": "r", "duration": "1h"}),
        (
            "/staff/maintenance-windows/+new",
            {"name": "w", "match": "*", "cron": "0 2 * * 0", "duration": "1h"},
        ),
        (
            "/staff/maintenance-windows/w/edit",
            {"match": "*", "cron": "0 3 * * 0", "duration": "1h"},
        ),
    )


def test_the_servers_own_are_for_staff(house: House) -> None:
    Planted(None, "health:disk", name="There is room on the disk").bad()
    alert = Alert.objects.get()
    staff, admin = house.client(None, staff=True), house.client("admin")
    where = f"/staff/alerts/{alert.pk}/"
    assert "There is room on the disk" not in text(admin, "/t/mill/alerts/")
    assert admin.get("/staff/alerts/").status_code == 404
    assert admin.post(f"{where}acknowledge").status_code == 404
    assert admin.get(f"/t/mill/alerts/{alert.pk}/").status_code == 404
    assert "There is room on the disk" in text(staff, "/staff/alerts/")
    assert "Acknowledge</button>" in text(staff, where)
    made = staff.post("/staff/channels/+new", {"name": "inner", **HOOK, "url": "http://10.0.0.1/x"})
    assert "mrnt_" in made.content.decode()
    for path, form in staff_forms(where):
        before = AuditEntry.objects.count()
        assert staff.post(path, form).status_code in (200, 302), path
        entries = AuditEntry.objects.order_by("pk")[before:]
        assert [(one.actor, one.tenant_id) for one in entries] == [("user:stranger-staff", None)], (
            path
        )
    silence = Silence.objects.filter(tenant=None).first()
    assert silence is not None
    for path, words in (
        ("/staff/alerts/?tab=resolved", "There is room on the disk"),
        ("/staff/channels/", "inner"),
        ("/staff/channels/inner/", "http://10.0.0.1/…"),
        ("/staff/silences/", "w"),
        ("/staff/silences/+new", "New silence"),
        ("/staff/maintenance-windows/w/edit", "0 3 * * 0"),
    ):
        page = text(staff, path)
        assert words in page, path
        # these pages have no socket: they are asked for anew, but for forms that are being filled in
        is_form = path.endswith(("+new", "edit"))
        assert ('data-poll-s="3"' in page) == ('id="live-mark"' in page) == (not is_form), path
    edited = {"match": "*", "reason": "longer", "duration": "2h"}
    assert staff.post(f"/staff/silences/{silence.pk}/edit", edited).status_code == 302
    for path in (
        f"/staff/silences/{silence.pk}/end",
        "/staff/maintenance-windows/w/delete",
        "/staff/channels/inner/delete",
    ):
        assert staff.post(path).status_code == 302
    assert staff.get("/staff/alerts/x/").status_code == 404
    assert staff.get("/staff/channels/none/").status_code == 404
    assert not Channel.objects.exists()


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_lower_roles_see_channels_and_change_none(house: House, role: str) -> None:
    client = house.client(role)
    assert client.get("/t/mill/channels/").status_code == 200
    assert client.get("/t/mill/channels/+new").status_code == 403
    assert client.post("/t/mill/channels/+new", HOOK).status_code == 403
    body = {"match": {"rule": "*"}, "reason": "r", "duration": "1h"}
    made = silences.create_silence(tenant=house.tenant, body=body, actor=COMMAND)
    answer = client.post(f"/t/mill/silences/{made.pk}/end")
    assert answer.status_code == (302 if role == "operator" else 403)
