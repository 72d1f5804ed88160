"""Alerts, channels, silences and maintenance windows over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from orchestrator.domain.observations import Severity
from orchestrator.models import Alert, Channel, Event
from orchestrator.services.channels import create_channel, replace_channel
from tenants.actors import SYSTEM
from tenants.models import Tenant
from tests.alerts.planted import Planted
from tests.api.client import Answer, Api

HOOK = {"name": "ops", "kind": "webhook", "url": "https://hooks.example.org/services/T0/secret"}
TELEGRAM = "tgram://123456789:abcdefg_hijklmnop/12315544"


@pytest.fixture
def alert(tenant: Tenant, api: Api) -> str:
    """An alert that fires."""
    Planted(tenant.pk, "sla:1", {"workflow": "orders"}).bad()
    return str(api.get("/alerts?rule=sla:1").body["items"][0]["id"])


def test_alerts_are_listed_page_by_page_and_filtered(tenant: Tenant, api: Api) -> None:
    assert api.get("/alerts").body == {"items": [], "next_cursor": None}
    for number in range(5):
        Planted(tenant.pk, f"sla:{number}", {"workflow": f"w{number % 2}"}).bad()
    Planted(tenant.pk, "sla:9", severity=Severity.CRITICAL, for_s=60).bad()
    Planted(tenant.pk, "sla:0", {"workflow": "w0"}).good()
    Planted(None, "health:disk").bad()
    first = api.get("/alerts?limit=4").body
    rest = api.get(f"/alerts?limit=4&cursor={first['next_cursor']}").body
    seen = [one["rule"] for one in first["items"] + rest["items"]]
    assert seen == ["sla:9", "sla:4", "sla:3", "sla:2", "sla:1", "sla:0"]
    assert rest["next_cursor"] is None

    def rules(query: str) -> set[str]:
        return {one["rule"] for one in api.get(f"/alerts?{query}").body["items"]}

    assert rules("state=pending") == {"sla:9"}
    assert rules("state=resolved,pending") == {"sla:0", "sla:9"}
    assert rules("severity=critical") == {"sla:9"}
    assert rules("workflow=w1") == {"sla:1", "sla:3"}
    assert rules("rule=sla:4") == {"sla:4"}
    assert rules("silenced=true") == set()
    Alert.objects.filter(rule__in=("sla:0", "sla:1")).update(muted_by="silence:x")
    assert rules("silenced=true") == {"sla:1"}, "what is over is silenced by nothing"
    assert rules("silenced=false") == {"sla:0", "sla:2", "sla:3", "sla:4", "sla:9"}
    (over,) = api.get("/alerts?rule=sla:0").body["items"]
    assert (over["silenced"], over["muted_by"]) == (False, None)
    for query, path in (
        ("state=fireing", "/state"),
        ("severity=high", "/severity"),
        ("silenced=maybe", "/silenced"),
        ("stat=firing", "/stat"),
    ):
        answer = api.get(f"/alerts?{query}")
        assert answer.status == 422
        assert {one for one, _ in answer.findings} == {path}
    assert "did you mean firing?" in api.get("/alerts?state=fireing").text
    assert api.get("/alerts?cursor=x").code == "invalid_cursor"


def test_one_is_acknowledged_and_resolved_with_its_story(
    tenant: Tenant, api: Api, alert: str, stranger: Api
) -> None:
    seen = api.get(f"/alerts/{alert}").body
    assert (seen["state"], seen["labels"], seen["value"]) == ("firing", {"workflow": "orders"}, 3.5)
    answer = api.post(f"/alerts/{alert}/acknowledge", {"comment": "On it."})
    assert (answer.status, answer.body["state"]) == (200, "acknowledged")
    assert answer.body["acknowledged_by"].startswith("key:mr_")
    again = api.post(f"/alerts/{alert}/acknowledge")
    assert (again.status, again.code, again.body["state"]) == (
        409,
        "state_conflict",
        "acknowledged",
    )
    Planted(tenant.pk, "sla:1", {"workflow": "orders"}).bad()
    assert api.get(f"/alerts/{alert}").body["state"] == "acknowledged", "until it is over"
    assert api.post(f"/alerts/{alert}/resolve", {}).body["state"] == "resolved"
    assert api.post(f"/alerts/{alert}/resolve").status == 409
    story = api.get(f"/alerts/{alert}").body["timeline"]
    assert [one["kind"] for one in story] == ["pending", "firing", "acknowledged", "resolved"]
    assert (story[2]["detail"], story[2]["actor"]) == ("On it.", answer.body["acknowledged_by"])
    events = Event.objects.filter(tenant_id=tenant.pk, type__startswith="alert").order_by("seq")
    assert [one.type for one in events][2:] == ["alert.acknowledged", "alert.resolved"]
    assert events[2].actor == answer.body["acknowledged_by"]
    Planted(tenant.pk, "sla:1", {"workflow": "orders"}).bad()
    assert api.get("/alerts?state=firing").body["items"][0]["id"] != alert, "another one begins"
    for answer in (
        stranger.get(f"/alerts/{alert}"),
        api.get(f"/alerts/{uuid4()}"),
        api.get("/alerts/x"),
    ):
        assert (answer.status, answer.code) == (404, "alert_not_found")


def test_what_is_only_pending_is_neither_acknowledged_nor_resolved(
    tenant: Tenant, api: Api
) -> None:
    Planted(tenant.pk, for_s=60).bad()
    one = api.get("/alerts").body["items"][0]["id"]
    for verb in ("acknowledge", "resolve"):
        answer = api.post(f"/alerts/{one}/{verb}")
        assert (answer.status, answer.body["state"], answer.body["action"]) == (
            409,
            "pending",
            verb,
        )
    wrong = api.post(f"/alerts/{one}/resolve", {"coment": "x"})
    assert wrong.findings == {("/coment", "unknown_key")}


def test_a_channels_address_is_never_shown(api: Api, tenant: Tenant) -> None:
    made = api.post("/channels", HOOK)
    assert made.status == 201
    assert made.headers["Cache-Control"] == "no-store"
    secret = made.body["secret"]
    assert secret.startswith("mrnt_")
    assert made.body["place"] == "https://hooks.example.org/…"
    kept = Channel.objects.get()
    assert b"services" not in bytes(kept.sealed or b"")
    for text in (
        made.text,
        api.get("/channels").text,
        api.get("/channels/ops").text,
        api.get("/audit").text,
    ):
        assert "services/T0" not in text
    for text in (api.get("/channels/ops").text, api.get("/audit").text):
        assert secret not in text
    changed = api.put("/channels/ops", {"kind": "webhook", "severity": "critical", "repeat": None})
    assert (changed.status, changed.body["secret"], changed.body["repeat"]) == (200, None, None)
    assert api.post("/channels", HOOK).code == "already_exists"
    fresh = api.post("/channels/ops/rotate").body["secret"]
    assert fresh not in ("", secret)
    other = api.put("/channels/ops", {"kind": "slack"})
    assert other.findings == {("", "missing")}, "another kind needs another address"
    assert api.put("/channels/mail", {"kind": "email", "to": ["a@example.org"]}).status == 201
    assert api.post("/channels/mail/rotate").status == 422
    assert [one["name"] for one in api.get("/channels?limit=1").body["items"]] == ["mail"]
    after = api.get("/channels?limit=1").body["next_cursor"]
    assert [one["name"] for one in api.get(f"/channels?cursor={after}").body["items"]] == ["ops"]
    assert api.delete("/channels/ops").status == 204
    assert api.get("/channels/ops").code == "channel_not_found"


@pytest.mark.parametrize(
    ("body", "findings"),
    [
        ({"kind": "webhok"}, {("/kind", "wrong_enum"), ("", "missing")}),
        ({}, {("", "missing")}),
        ({"kind": "slack", "url": "https://example.org", "to": ["a@b.c"]}, {("/to", "out_of_place")}),
        ({"kind": "webhook", "url": "ftp://example.org"}, {("/url", "bad_url")}),
        ({"kind": "webhook", "url": "https://u:p@example.org"}, {("/url", "bad_url")}),
        ({"kind": "webhook", "url": "http://127.0.0.1/x"}, {("/url", "bad_url")}),
        ({"kind": "webhook", "url": "http://[::ffff:10.0.0.1]/"}, {("/url", "bad_url")}),
        ({"kind": "webhook", "url": "http://169.254.169.254/"}, {("/url", "bad_url")}),
        ({"kind": "webhook", "url": "https://example.org/\n"}, {("/url", "bad_url")}),
        ({"kind": "webhook", "url": "http://ex[ample.com/"}, {("/url", "bad_url")}),
        ({"kind": "slack", "url": "http://a..b/"}, {("/url", "bad_url")}),
        ({"kind": "webhook", "url": f"http://{'a' * 64}.example/"}, {("/url", "bad_url")}),
        ({"kind": "apprise", "url": "json://10.0.0.1/x"}, {("/url", "bad_url")}),
        ({"kind": "apprise", "url": "file:///etc/passwd"}, {("/url", "bad_url")}),
        ({"kind": "apprise", "url": "mailto://u:p@example.org"}, {("/url", "bad_url")}),
        ({"kind": "apprise", "url": "syslog://"}, {("/url", "bad_url")}),
        ({"kind": "apprise", "url": "tgram://nothing"}, {("/url", "bad_url")}),
        ({"kind": "apprise", "url": TELEGRAM + "?template=http://10.0.0.5/"}, {("/url", "bad_url")}),
        ({"kind": "email"}, {("/to", "missing")}),
        ({"kind": "email", "to": ["nobody"]}, {("/to/0", "bad_address")}),
        ({"kind": "email", "to": ["a@b.co\nBcc: c@d.eo"]}, {("/to/0", "bad_address")}),
        ({"kind": "email", "to": ["a@example.org"] * 21}, {("/to", "out_of_range")}),
        ({"kind": "email", "to": ["a@example.org"], "url": "x"}, {("/url", "out_of_place")}),
        ({"kind": "email", "to": ["a@example.org"], "match": []}, {("/match", "wrong_type")}),
        ({"kind": "email", "to": ["a@example.org"], "match": {"rule": 1}}, {("/match/rule", "wrong_type")}),
        ({"kind": "email", "to": ["a@example.org"], "match": {"a b": "x"}}, {("/match/a b", "bad_name")}),
        ({"kind": "email", "to": ["a@example.org"], "repeat": "1s"}, {("/repeat", "out_of_range")}),
        ({"kind": "email", "to": ["a@example.org"], "group_wait": "1h"}, {("/group_wait", "out_of_range")}),
        ({"kind": "email", "to": ["a@example.org"], "group_by": ["a", 1]}, {("/group_by/1", "wrong_type")}),
        ({"kind": "email", "to": ["a@example.org"], "enabld": True}, {("/enabld", "unknown_key")}),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_channel_is_said_with_its_place(
    api: Api, body: dict[str, Any], findings: set[tuple[str, str]]
) -> None:
    answer = api.put("/channels/ops", body)
    assert answer.status == 422, answer.text
    assert answer.findings == findings
    assert not Channel.objects.exists()


def test_services_of_the_allowed_list_and_the_servers_own(api: Api, tenant: Tenant) -> None:
    made = api.put("/channels/chat", {"kind": "apprise", "url": TELEGRAM})
    assert (made.status, made.body["place"], made.body["secret"]) == (201, "tgram://…", None)
    body = {"name": "chat", "kind": "apprise", "url": "json://10.0.0.1/x"}
    assert create_channel(tenant=None, body=body, actor=SYSTEM)[0].place == "json://…"
    assert api.get("/channels").text.count('"name"') == 1, "the server's is no tenant's"
    hook = {"kind": "webhook", "url": "http://127.0.0.1:9/x"}
    assert replace_channel(tenant=None, name="inner", body=hook, actor=SYSTEM)[1] is not None


def test_a_test_is_accepted_and_seen_among_the_messages(api: Api) -> None:
    api.post("/channels", HOOK)
    answer = api.post("/channels/ops/test")
    assert (answer.status, answer.body["notice"], answer.body["state"]) == (
        202,
        "test",
        "collecting",
    )
    page = api.get("/channels/ops/notifications").body
    assert [one["id"] for one in page["items"]] == [answer.body["id"]]
    assert page["next_cursor"] is None
    assert api.get("/channels/ops/notifications?cursor=x").code == "invalid_cursor"
    assert api.post("/channels/none/test").code == "channel_not_found"


def test_tests_are_counted_where_channels_are_made_anew(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.services.channels.TESTS_AN_HOUR", 2)

    def tried() -> Answer:
        api.delete("/channels/ops")
        api.post("/channels", HOOK)
        return api.post("/channels/ops/test")

    assert [tried().status, tried().status] == [202, 202]
    answer = tried()
    facts = [answer.body[key] for key in ("status", "quota", "value", "use")]
    assert facts == [429, "channel_tests", 2, 2]
    assert 3000 < int(answer.headers["Retry-After"]) <= 3600


def test_silences_are_made_changed_and_ended(api: Api) -> None:
    body = {"match": {"rule": "sla:*"}, "reason": "Known.", "duration": "2h"}
    made = api.post("/silences", body).body
    assert (made["state"], made["reason"]) == ("active", "Known.")
    assert made["author"].startswith("key:mr_")
    later = {**body, "duration": "30d", "reason": "Longer."}
    changed = api.put(f"/silences/{made['id']}", later)
    assert (changed.status, changed.body["reason"]) == (200, "Longer.")
    assert changed.body["starts_at"] == made["starts_at"]
    assert api.delete(f"/silences/{made['id']}").status == 204
    assert api.get(f"/silences/{made['id']}").body["state"] == "over"
    for answer in (api.delete(f"/silences/{made['id']}"), api.put(f"/silences/{made['id']}", body)):
        assert (answer.status, answer.code) == (409, "state_conflict")
    coming = api.post(
        "/silences",
        {
            "match": {"rule": "x"},
            "reason": "r",
            "starts_at": "2100-01-01T00:00:00Z",
            "duration": "1h",
        },
    )
    assert coming.findings == {("/duration", "out_of_range")}, "30 days ahead at most"
    api.post("/silences", body)
    first = api.get("/silences?limit=1").body
    second = api.get(f"/silences?limit=1&cursor={first['next_cursor']}").body
    assert first["items"][0]["id"] != second["items"][0]["id"]
    assert api.get("/silences/x").code == "silence_not_found"


@pytest.mark.parametrize(
    ("body", "findings"),
    [
        ({}, {("", "missing")}),
        ({"match": {}, "reason": "r", "duration": "1h"}, {("/match", "missing")}),
        ({"match": {"rule": "*"}, "reason": " ", "duration": "1h"}, {("/reason", "missing")}),
        ({"match": {"rule": "*"}, "reason": "r"}, {("", "missing")}),
        (
            {"match": {"rule": "*"}, "reason": "r", "duration": "1h", "ends_at": "2100-01-01T00:00:00Z"},
            {("/duration", "out_of_place")},
        ),
        ({"match": {"rule": "*"}, "reason": "r", "duration": "31d"}, {("/duration", "out_of_range")}),
        ({"match": {"rule": "*"}, "reason": "r", "ends_at": "2020-01-01T00:00:00Z"}, {("/ends_at", "out_of_range")}),
        ({"match": {"rule": "*"}, "reason": "r", "ends_at": "soon"}, {("/ends_at", "bad_time")}),
        ({"match": {"rule": "*"}, "reason": "r", "ends_at": None}, {("", "missing")}),
        (
            {"match": {"rule": "*"}, "reason": "r", "starts_at": "9999-12-31T23:00:00Z", "duration": "2h"},
            {("/starts_at", "out_of_range")},
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_silence(
    api: Api, body: dict[str, Any], findings: set[tuple[str, str]]
) -> None:
    answer = api.post("/silences", body)
    assert answer.status == 422, answer.text
    assert answer.findings == findings


def test_maintenance_windows_recur_or_come_once(api: Api) -> None:
    in_two_days = (datetime.now(UTC) + timedelta(days=2)).isoweekday() % 7
    weekly = {
        "match": {"workflow": "etl"},
        "cron": f"0 2 * * {in_two_days}",
        "duration": "2h",
        "timezone": "Europe/Berlin",
    }
    made = api.put("/maintenance-windows/sunday", weekly)
    assert (made.status, made.body["cron"], made.body["open_until"]) == (201, weekly["cron"], None)
    assert made.body["next_at"] is not None
    once = {
        "name": "move", "match": {"rule": "*"},
        "starts_at": "2020-01-01T00:00:00Z", "ends_at": "2020-01-02T00:00:00Z",
    }  # fmt: skip
    assert api.post("/maintenance-windows", once).body["next_at"] is None
    assert api.post("/maintenance-windows", once).code == "already_exists"
    always = api.put("/maintenance-windows/sunday", {**weekly, "cron": "* * * * *"})
    assert (always.status, always.body["open_until"] is None) == (200, False)
    names = [one["name"] for one in api.get("/maintenance-windows").body["items"]]
    assert names == ["move", "sunday"]
    assert api.get("/maintenance-windows/sunday").body["duration"] == "2h"
    assert api.delete("/maintenance-windows/move").status == 204
    assert api.get("/maintenance-windows/move").code == "window_not_found"


@pytest.mark.parametrize(
    ("more", "findings"),
    [
        ({}, {("", "missing")}),
        ({"cron": "61 * * * *", "duration": "1h"}, {("/cron", "bad_cron")}),
        ({"cron": "* * * * *"}, {("", "missing")}),
        ({"cron": "* * * * *", "duration": "8d"}, {("/duration", "out_of_range")}),
        ({"cron": "* * * * *", "duration": "1h", "timezone": "Mars"}, {("/timezone", "bad_timezone")}),
        ({"cron": "* * * * *", "duration": "1h", "ends_at": "2030-01-01T00:00:00Z"}, {("/ends_at", "out_of_place")}),
        ({"starts_at": "2030-01-02T00:00:00Z", "ends_at": "2030-01-01T00:00:00Z"}, {("/ends_at", "out_of_range")}),
        ({"starts_at": None, "ends_at": None}, {("", "missing")}),
        (
            {"starts_at": "9999-12-15T00:00:00Z", "ends_at": "9999-12-16T00:00:00Z"},
            {("/starts_at", "out_of_range"), ("/ends_at", "out_of_range")},
        ),
        (
            {"starts_at": "2030-01-01T00:00:00Z", "ends_at": "2030-01-02T00:00:00Z", "duration": "1h"},
            {("/duration", "out_of_place")},
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_window(
    api: Api, more: dict[str, Any], findings: set[tuple[str, str]]
) -> None:
    answer = api.put("/maintenance-windows/w", {"match": {"rule": "*"}, **more})
    assert answer.status == 422, answer.text
    assert answer.findings == findings


def test_no_more_are_kept_than_there_is_room_for(
    api: Api, monkeypatch: pytest.MonkeyPatch, key_of: Callable[..., Api], tenant: Tenant
) -> None:
    monkeypatch.setattr("orchestrator.services.channels.MOST", 1)
    monkeypatch.setattr("orchestrator.services.silences.MOST_ACTIVE", 1)
    monkeypatch.setattr("orchestrator.services.silences.MOST_WINDOWS", 1)
    quiet = {"match": {"rule": "*"}, "reason": "r", "duration": "1h"}
    window = {"match": {"rule": "*"}, "cron": "* * * * *", "duration": "1h"}
    for path, body in (("/channels", HOOK), ("/silences", quiet), ("/maintenance-windows", window)):
        named = path != "/silences"
        assert api.post(path, {**body, "name": "a"} if named else body).status == 201
        over = api.post(path, {**body, "name": "b"} if named else body)
        assert (over.status, over.code, over.headers["Retry-After"]) == (429, "over_quota", "60")
        quota = f"max_{path[1:].replace('-', '_')}"
        assert (over.body["quota"], over.body["value"], over.body["use"]) == (quota, 1, 1)
