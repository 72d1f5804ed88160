"""Schedules over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from orchestrator.domain.times import format_time, parse_time
from orchestrator.models import Schedule, ScheduleFire
from tenants.models import AuditEntry, Tenant
from tests.api.client import Api
from tests.api.conftest import ECHO
from tests.schedules.shop import MINUTE, away, look

NIGHTLY = {
    "name": "nightly",
    "workflow": "echo",
    "cron": "30 2 * * *",
    "timezone": "Europe/Berlin",
    "input": {"text": "night"},
    "labels": {"by": "clock"},
    "priority": 3,
    "overlap": {"allow": 2},
    "missed": {"all": 5},
    "jitter": "30s",
}


def ago(**more: float) -> str:
    """A time of the past."""
    return format_time(datetime.now(UTC) - timedelta(**more))


@pytest.fixture
def nightly(api: Api, echo: str) -> str:
    assert api.post("/schedules", NIGHTLY).status == 201
    return "nightly"


def test_an_input_for_which_the_key_of_concurrency_has_no_value_is_refused(api: Api) -> None:
    key = "${{ [input.customer, run.labels.schedule, run.labels.scheduled_at, run.labels.by] }}"
    assert api.put("/workflows/echo", {**ECHO, "concurrency": {"key": key}}).status == 201
    refused = api.post("/schedules", NIGHTLY)
    assert (refused.status, refused.code) == (422, "invalid_input")
    assert refused.findings == {("/input", "bad_input")}
    assert "input.customer" in refused.body["errors"][0]["message"]
    made = api.post("/schedules", {**NIGHTLY, "input": {"text": "night", "customer": 7}})
    assert made.status == 201


def test_making_one_and_reading_it(api: Api, echo: str, stranger: Api) -> None:
    made = api.post("/schedules", NIGHTLY)
    assert made.status == 201
    assert made.headers["Location"] == "/api/v1/schedules/nightly"
    body = made.body
    assert {key: body[key] for key in NIGHTLY} == NIGHTLY
    assert (body["state"], body["paused_at"], body["interval"]) == ("active", None, None)
    assert len(body["next"]) == 10
    assert body["next"][0] == body["next_at"]
    first = parse_time(body["next_at"])
    assert datetime.now(UTC) < first < datetime.now(UTC) + timedelta(days=1, hours=2)
    assert body["updated_by"].startswith("key:mr_")
    assert api.get("/schedules/nightly").body == body
    assert api.get("/schedules").body == {"items": [body], "next_cursor": None}
    assert stranger.get("/schedules").body["items"] == []
    assert AuditEntry.objects.get(action="schedule.created").target == "nightly"
    again = api.post("/schedules", NIGHTLY)
    assert (again.status, again.code) == (409, "already_exists")


def test_defaults(api: Api, echo: str) -> None:
    body = api.post("/schedules", {"name": "s", "workflow": "echo", "interval": "15m"}).body
    assert (body["overlap"], body["missed"], body["jitter"]) == ("skip", "one", "0s")
    assert (body["input"], body["labels"], body["priority"]) == ({}, {}, None)
    assert (body["cron"], body["timezone"], body["interval"]) == (None, None, "15m")
    times = [parse_time(at) for at in body["next"]]
    assert times[1] - times[0] == timedelta(minutes=15)


def test_put_makes_and_replaces_and_keeps_what_was(api: Api, echo: str, tenant: Tenant) -> None:
    body = {"workflow": "echo", "interval": "1m", "input": {"text": "a"}}
    assert api.put("/schedules/often", body).status == 201
    row = Schedule.objects.get(tenant=tenant)
    away(row, for_=MINUTE, late=timedelta(seconds=1))
    look()
    row.refresh_from_db()
    changed = api.put("/schedules/often", {**body, "input": {"text": "b"}, "start_at": None})
    assert (changed.status, changed.body["input"]) == (200, {"text": "b"})
    after = Schedule.objects.get(tenant=tenant)
    assert (after.next_at, after.anchor_at, after.revision) == (row.next_at, row.anchor_at, 2)
    (fire,) = api.get("/schedules/often/fires").body["items"]
    assert (fire["outcome"], fire["run_state"]) == ("started", "queued")
    other = api.put("/schedules/often", {"workflow": "echo", "cron": "@daily"})
    assert (other.body["interval"], other.body["cron"]) == (None, "0 0 * * *")
    assert other.body["next_at"].endswith("T00:00:00.000000Z")
    assert api.get("/schedules/often/fires").body["items"] == [fire]
    entry = AuditEntry.objects.filter(action="schedule.changed").order_by("-id")[0]
    assert isinstance(entry.before, dict)
    assert isinstance(entry.after, dict)
    assert (entry.before["interval"], entry.after["cron"]) == ("1m", "0 0 * * *")


def test_a_start_of_its_own(api: Api, echo: str) -> None:
    start = "2030-01-01T00:05:00.000000Z"
    body = {"name": "later", "workflow": "echo", "interval": "1h", "start_at": start}
    made = api.post("/schedules", body).body
    assert (made["start_at"], made["next_at"]) == (start, start)
    made = api.put("/schedules/cron", {"workflow": "echo", "cron": "0 * * * *", "start_at": start})
    assert made.body["next_at"] == "2030-01-01T01:00:00.000000Z"


def test_pausing_resuming_deleting(api: Api, nightly: str, tenant: Tenant) -> None:
    paused = api.post("/schedules/nightly/pause", {"reason": "holidays"})
    assert paused.status == 200
    assert (paused.body["state"], paused.body["paused_reason"]) == ("paused", "holidays")
    assert (paused.body["next_at"], paused.body["next"]) == (None, [])
    assert api.post("/schedules/nightly/pause").code == "state_conflict"
    edited = api.put("/schedules/nightly", {"workflow": "echo", "interval": "2m"})
    assert edited.body["state"] == "paused"
    assert (
        api.post("/schedules/nightly/backfill", {"from": ago(hours=1), "to": ago()}).status == 409
    )
    resumed = api.post("/schedules/nightly/resume").body
    assert (resumed["state"], resumed["paused_reason"], len(resumed["next"])) == (
        "active",
        None,
        10,
    )
    assert api.post("/schedules/nightly/resume").status == 409
    assert api.delete("/schedules/nightly").status == 204
    assert api.delete("/schedules/nightly").code == "schedule_not_found"
    actions = AuditEntry.objects.filter(tenant=tenant, action__startswith="schedule.")
    assert list(actions.order_by("id").values_list("action", flat=True)) == [
        "schedule.created",
        "schedule.paused",
        "schedule.changed",
        "schedule.resumed",
        "schedule.deleted",
    ]


def test_backfill(api: Api, echo: str) -> None:
    api.put("/schedules/often", {"workflow": "echo", "interval": "1m"})
    span = {"from": ago(minutes=5), "to": ago()}
    made = api.post("/schedules/often/backfill", span)
    assert made.status == 202
    assert (made.body["count"], made.body["accepted"]) == (5, 5)
    assert (made.body["from"], made.body["to"]) == (span["from"], span["to"])
    address = f"/schedules/often/backfills/{made.body['id']}"
    assert api.get(address).body["waiting"] == 5
    look()
    progress = api.get(address).body
    assert (progress["count"], progress["waiting"], progress["started"]) == (5, 4, 1)
    query = f"/schedules/often/fires?backfill={made.body['id']}"
    fires = api.get(query).body["items"]
    assert [fire["outcome"] for fire in fires] == ["waiting"] * 4 + ["started"]
    assert fires[0]["scheduled_at"] > fires[1]["scheduled_at"]
    page = api.get(f"{query}&limit=3").body
    rest = api.get(f"{query}&limit=3&cursor={page['next_cursor']}").body
    assert page["items"] + rest["items"] == fires
    assert rest["next_cursor"] is None
    run = api.get(f"/runs/{fires[-1]['run_id']}").body
    assert run["labels"]["backfill"] == made.body["id"]
    for wrong in (str(uuid4()), "x", "z" * 36):
        assert api.get(f"/schedules/often/backfills/{wrong}").code == "backfill_not_found"
        assert api.get(f"/schedules/often/fires?backfill={wrong}").body["items"] == []


BACKFILLS: dict[str, tuple[object, set[tuple[str, str]]]] = {
    "no object": ([], {("", "wrong_type")}),
    "nothing": ({}, {("", "missing")}),
    "no time": ({"from": "x", "to": 3}, {("/from", "bad_time"), ("/to", "bad_time")}),
    "unknown": ({"from": ago(days=1), "to": ago(), "till": 1}, {("/till", "unknown_key")}),
    "future": ({"from": ago(), "to": ago(days=-1)}, {("/to", "out_of_range")}),
    "backwards": ({"from": ago(), "to": ago(days=1)}, {("/from", "out_of_range")}),
    "centuries": ({"from": ago(days=5000), "to": ago()}, {("/from", "out_of_range")}),
    "too many": ({"from": ago(days=1001), "to": ago()}, {("/from", "out_of_range")}),
    "none": ({"from": ago(seconds=2), "to": ago(seconds=1)}, {("/from", "out_of_range")}),
}


@pytest.mark.parametrize("kind", BACKFILLS)
def test_broken_backfills(api: Api, nightly: str, kind: str) -> None:
    body, findings = BACKFILLS[kind]
    answer = api.post("/schedules/nightly/backfill", body)
    assert (answer.status, answer.code) == (422, "invalid_request")
    assert answer.findings == findings
    assert not ScheduleFire.objects.exists()


def one(**more: Any) -> dict[str, Any]:
    """A schedule that is right but for this."""
    body = {"workflow": "echo", "interval": "1m", **more}
    return {key: value for key, value in body.items() if value is not ...}


SCHEDULES: dict[str, tuple[object, set[tuple[str, str]]]] = {
    "no object": ([], {("", "wrong_type")}),
    "unknown key": (one(crn="x"), {("/crn", "unknown_key")}),
    "no workflow": (one(workflow=...), {("", "missing")}),
    "workflow no text": (one(workflow=1), {("/workflow", "wrong_type")}),
    "unknown workflow": (one(workflow="nope"), {("/workflow", "unknown_workflow")}),
    "no such text": (one(workflow="a\u0001b"), {("/workflow", "unknown_workflow")}),
    "neither": (one(interval=...), {("", "missing")}),
    "both": (one(cron="@daily"), {("/interval", "out_of_place")}),
    "cron": (one(interval=..., cron="61 * * * *"), {("/cron", "bad_cron")}),
    "cron no text": (one(interval=..., cron=5), {("/cron", "wrong_type")}),
    "zone": (
        one(interval=..., cron="@daily", timezone="Mars"),
        {("/timezone", "bad_timezone")},
    ),
    "zone of an interval": (one(timezone="UTC"), {("/timezone", "out_of_place")}),
    "interval": (one(interval="x"), {("/interval", "bad_duration")}),
    "short interval": (one(interval="500ms"), {("/interval", "out_of_range")}),
    "start_at": (one(start_at="soon"), {("/start_at", "bad_time")}),
    "labels": (one(labels=[]), {("/labels", "wrong_type")}),
    "our label": (one(labels={"schedule": "x"}), {("/labels/schedule", "out_of_place")}),
    "priority": (one(priority=10), {("/priority", "out_of_range")}),
    "overlap": (one(overlap="skipp"), {("/overlap", "wrong_enum")}),
    "overlap of none": (one(overlap={"allow": 0}), {("/overlap/allow", "out_of_range")}),
    "overlap of text": (one(overlap={"allow": "2"}), {("/overlap/allow", "wrong_type")}),
    "overlap of others": (one(overlap={"skip": 1}), {("/overlap", "wrong_enum")}),
    "missed": (one(missed=3), {("/missed", "wrong_enum")}),
    "missed too many": (one(missed="all(1001)"), {("/missed/all", "out_of_range")}),
    "jitter": (one(jitter="-1s"), {("/jitter", "bad_duration")}),
    "long jitter": (one(jitter="2d"), {("/jitter", "out_of_range")}),
    "another name": (one(name="other"), {("/name", "name_mismatch")}),
    "input": (one(input={"text": 1}), {("/input/text", "bad_input")}),
    "all at once": (
        one(input={"text": 1}, jitter="x"),
        {("/jitter", "bad_duration"), ("/input/text", "bad_input")},
    ),
}


@pytest.mark.parametrize("kind", SCHEDULES)
def test_broken_schedules(api: Api, echo: str, kind: str) -> None:
    schema = {"type": "object", "properties": {"text": {"type": "string"}}}
    api.put("/workflows/echo", {**ECHO, "input_schema": schema})
    body, findings = SCHEDULES[kind]
    answer = api.put("/schedules/s", body)
    assert answer.status == 422, answer.text
    assert answer.code == ("invalid_input" if kind == "input" else "invalid_request")
    assert answer.findings == findings
    assert not Schedule.objects.exists()


def test_names(api: Api, echo: str) -> None:
    assert api.post("/schedules", one()).findings == {("", "missing")}
    assert api.post("/schedules", one(name="A")).findings == {("/name", "bad_name")}
    assert api.put("/schedules/A", one()).findings == {("/name", "bad_name")}


def test_words_with_numbers(api: Api, echo: str) -> None:
    made = api.put("/schedules/s", one(overlap="allow(3)", missed="all")).body
    assert (made["overlap"], made["missed"]) == ({"allow": 3}, {"all": 100})
    made = api.put("/schedules/s", one(overlap="allow", missed="all(7)")).body
    assert (made["overlap"], made["missed"]) == ({"allow": 100}, {"all": 7})


def test_pages(api: Api, echo: str) -> None:
    api.put("/workflows/other", ECHO)
    for name in "abc":
        api.put(f"/schedules/{name}", one(workflow="other" if name == "b" else "echo"))
    page = api.get("/schedules?limit=2").body
    assert [item["name"] for item in page["items"]] == ["a", "b"]
    rest = api.get(f"/schedules?limit=2&cursor={page['next_cursor']}").body
    assert ([item["name"] for item in rest["items"]], rest["next_cursor"]) == (["c"], None)
    (only,) = api.get("/schedules?workflow=other").body["items"]
    assert only["name"] == "b"
    assert api.get("/schedules?cursor=x").code == "invalid_cursor"
    assert api.get("/schedules?flow=x").status == 422


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/fires?limit=x"),
        ("POST", "/pause"),
        ("POST", "/resume"),
        ("POST", "/backfill"),
        ("GET", "/backfills/x"),
    ],
)
def test_a_strangers_schedule_is_not_there(
    api: Api, nightly: str, stranger: Api, method: str, path: str
) -> None:
    for client, name in ((stranger, "nightly"), (api, "absent"), (api, "%00")):
        answer = client.send(method, f"/schedules/{name}{path}", raw=b"{")
        assert (answer.status, answer.code) == (404, "schedule_not_found")
    assert Schedule.objects.get().paused_at is None


def test_unreadable_bodies(api: Api, nightly: str) -> None:
    for method, path in (
        ("POST", "/schedules"),
        ("PUT", "/schedules/x"),
        ("POST", "/schedules/nightly/pause"),
        ("POST", "/schedules/nightly/backfill"),
    ):
        assert api.send(method, path, raw=b"{").code == "malformed_json"
    assert api.post("/schedules/nightly/pause", {"reason": 1}).findings == {
        ("/reason", "wrong_type")
    }
    assert api.post("/schedules/nightly/pause", []).findings == {("", "wrong_type")}


@pytest.mark.parametrize(
    "start_at", ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59Z"]
)
def test_a_beginning_that_is_out_of_reach_is_refused(api: Api, echo: str, start_at: str) -> None:
    for timed in ({"interval": "1h"}, {"cron": "0 0 * * *"}):
        body = {"workflow": "echo", "start_at": start_at, **timed}
        answer = api.put("/schedules/x", body)
        assert (answer.status, answer.findings) == (422, {("/start_at", "out_of_range")})


def test_a_backfill_from_out_of_reach_is_refused(api: Api, nightly: str) -> None:
    body = {"from": "0001-01-01T00:00:00Z", "to": "0001-01-02T00:00:00Z"}
    answer = api.post("/schedules/nightly/backfill", body)
    assert (answer.status, answer.findings) == (422, {("/from", "out_of_range")})


def test_a_cursor_beyond_all_times_is_none(api: Api, nightly: str) -> None:
    answer = api.get("/schedules/nightly/fires?cursor=ZmlyZXN8NDYxMTY4NjAxODQyNzM4NzkwNA")
    assert (answer.status, answer.code) == (422, "invalid_cursor")
