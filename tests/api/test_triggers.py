"""Triggers over HTTP, and the requests that they receive."""

from __future__ import annotations

import hashlib
import hmac
import logging
from datetime import timedelta
from typing import Any

import pytest
from django.test import override_settings

from orchestrator import store
from orchestrator.models import Run, Trigger, TriggerDelivery
from orchestrator.services import hooks
from orchestrator.services.workflows import archive_workflow
from orchestrator.store import schedules
from tenants.actors import SYSTEM
from tenants.models import AuditEntry, Tenant
from tenants.services import suspend
from tests.api.client import Api
from tests.api.conftest import ECHO
from tests.api.hooks import send, signed


def make(api: Api, name: str = "orders", **more: Any) -> dict[str, Any]:
    """A trigger of the workflow `echo`, with its secret."""
    made = api.post("/triggers", {"name": name, "workflow": "echo", **more})
    assert made.status == 201, made.text
    return dict(made.body)


def test_a_trigger_and_its_secret(api: Api, echo: str, tenant: Tenant, stranger: Api) -> None:
    answer = api.post("/triggers", {"name": "orders", "workflow": "echo", "labels": {"a": "b"}})
    assert (answer.status, answer.headers["Cache-Control"]) == (201, "no-store")
    made = answer.body
    secret = made.pop("secret")
    assert secret.startswith("mrwh_")
    assert len(secret) == 48
    assert made["address"] == f"/hooks/{tenant.slug}/orders"
    assert (made["scheme"], made["rate"], made["enabled"], made["input"]) == (
        "millrace", "600/1m", True, None,
    )  # fmt: skip
    assert made["refused"] == {"count": 0, "last_at": None, "last_reason": None}
    assert api.get("/triggers/orders").body == made
    assert api.get("/triggers").body == {"items": [made], "next_cursor": None}
    assert stranger.get("/triggers").body["items"] == []
    row = Trigger.objects.get()
    assert secret.encode() not in bytes(row.secret)
    entry = AuditEntry.objects.get(action="trigger.created")
    assert secret not in str(entry.after)
    assert api.post("/triggers", {"name": "orders", "workflow": "echo"}).code == "already_exists"


def test_as_many_labels_as_are_taken_fit_a_run(api: Api, echo: str) -> None:
    labels = {f"l{number}": "x" for number in range(63)}
    made = make(api, labels=labels)
    body = b'{"text": "hello"}'
    answer = send(made["address"], raw=body, headers=signed(made["secret"], body))
    assert answer.status == 202, answer.text
    assert Run.objects.get().labels == {**labels, "trigger": "orders"}
    too_many = {"name": "more", "workflow": "echo", "labels": {**labels, "one": "more"}}
    assert api.post("/triggers", too_many).findings == {("/labels", "out_of_range")}


def test_a_signed_request_starts_a_run_once(api: Api, echo: str) -> None:
    made = make(api, labels={"from": "shop"}, priority=8)
    body = b'{"text": "hello", "n": 18446744073709551616}'
    headers = signed(made["secret"], body)
    answer = send(made["address"], raw=body, headers=headers)
    assert (answer.status, set(answer.body)) == (202, {"id"})
    run = Run.objects.get()
    assert answer.body["id"] == str(run.pk)
    assert (run.input, run.priority) == ('{"text":"hello","n":18446744073709551616}', 8)
    assert run.labels == {"from": "shop", "trigger": "orders"}
    assert api.get(f"/runs/{run.pk}/events").body["items"][0]["actor"] == "trigger:orders"
    again = send(made["address"], raw=body, headers=headers)
    assert (again.status, again.body) == (200, answer.body)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert Run.objects.count() == 1
    later = send(made["address"], raw=body, secret=made["secret"], age_s=30)
    assert later.status == 202
    items = api.get("/triggers/orders/deliveries").body["items"]
    assert [one["outcome"] for one in items] == ["started", "duplicate", "started"]
    assert items[-1]["run_id"] == str(run.pk)
    assert (items[-1]["run_state"], items[-1]["origin"]) == ("queued", "127.0.0.1")
    page = api.get("/triggers/orders/deliveries?limit=2").body
    rest = api.get(f"/triggers/orders/deliveries?limit=2&cursor={page['next_cursor']}").body
    assert page["items"] + rest["items"] == items


def refusals(made: dict[str, Any], tenant: Tenant) -> list[Any]:
    """Requests that are nobody's, as different as they can be."""
    address, secret, good = made["address"], made["secret"], b'{"text": "x"}'
    right = signed(secret, good)
    stamp = right["Millrace-Timestamp"]
    return [
        send(address, raw=good),
        send(address, raw=good, secret="wrong"),
        send(address, raw=good, secret=secret, age_s=301),
        send(address, raw=good, secret=secret, age_s=-302),
        send(address, raw=b'{"text": "y"}', headers=right),
        send(address, raw=good, headers={**right, "Millrace-Timestamp": str(int(stamp) + 1)}),
        send(address, raw=good, headers={**right, "Millrace-Timestamp": "soon"}),
        send(address, raw=good, headers={**right, "Millrace-Signature": right["Millrace-Signature"][3:]}),
        send(address, raw=good, headers={**right, "Millrace-Signature": "v1=, v1=é,v0=x"}),
        send(address, raw=b"{", secret="wrong"),
        send(f"/hooks/{tenant.slug}/absent", raw=good, secret=secret),
        send("/hooks/absent/orders", raw=good, secret=secret),
        send("/hooks/%00/orders", raw=good, secret=secret),
    ]  # fmt: skip


def test_whatever_is_wrong_has_one_answer(api: Api, echo: str, tenant: Tenant) -> None:
    made = make(api)
    answers = refusals(made, tenant)
    assert {(one.status, one.text) for one in answers} == {(401, answers[0].text)}
    assert answers[0].code == "hook_refused"
    api.put("/triggers/orders", {"workflow": "echo", "enabled": False})
    off = send(made["address"], {}, secret=made["secret"])
    assert (off.status, off.text) == (401, answers[0].text)
    assert not Run.objects.exists()
    assert not TriggerDelivery.objects.exists()
    refused = api.get("/triggers/orders").body["refused"]
    assert refused["count"] == 1  # at most one a second
    assert refused["last_reason"] == "bad_signature"
    Trigger.objects.update(refused_at=None)
    send(made["address"], {}, secret=made["secret"])
    assert api.get("/triggers/orders").body["refused"]["last_reason"] == "disabled"


def test_large_bodies_and_other_methods_are_refused_for_all_alike(
    api: Api, echo: str, tenant: Tenant
) -> None:
    made = make(api)
    large = b'"' + b"x" * hooks.LARGEST_BODY + b'"'
    for address in (made["address"], "/hooks/absent/absent"):
        answer = send(address, raw=large, secret=made["secret"])
        assert (answer.status, answer.code) == (413, "too_large")
        other = send(address, {}, method="GET")
        assert (other.status, other.code, other.headers["Allow"]) == (
            405, "method_not_allowed", "POST",
        )  # fmt: skip


def test_what_was_signed_is_told_what_is_wrong_with_it(api: Api, echo: str, tenant: Tenant) -> None:
    schema = {"type": "object", "required": ["text"]}
    api.put("/workflows/echo", {**ECHO, "input_schema": schema})
    made = make(api)
    bad = send(made["address"], raw=b"{", secret=made["secret"])
    assert (bad.status, bad.code) == (400, "malformed_json")
    unfit = send(made["address"], {}, secret=made["secret"])
    assert (unfit.status, unfit.code) == (422, "invalid_input")
    archive_workflow(tenant=tenant, name="echo", actor=SYSTEM)
    archived = send(made["address"], {"text": 1}, secret=made["secret"])
    assert (archived.status, archived.code) == (409, "state_conflict")
    suspend(tenant=tenant, reason="unpaid", actor=SYSTEM)
    suspended = send(made["address"], {"text": 2}, secret=made["secret"])
    assert (suspended.status, suspended.code) == (403, "tenant_suspended")
    rows = TriggerDelivery.objects.order_by("pk")
    assert [row.code for row in rows] == [
        "malformed_json", "invalid_input", "state_conflict", "tenant_suspended",
    ]  # fmt: skip
    assert rows[1].detail is not None
    assert "text" in rows[1].detail
    assert not Run.objects.exists()


def test_a_template_makes_the_input_and_the_key(api: Api, echo: str) -> None:
    made = make(
        api,
        input={
            "text": "${{ body.order.title }}",
            "kind": "${{ headers['x-kind'] }}",
            "who": "${{ tenant.slug }}",
        },
        dedup_key="${{ body.order.id }}",
    )
    first = send(
        made["address"], {"order": {"id": 7, "title": "a"}}, secret=made["secret"],
        headers={"X-Kind": "new", "Authorization": "Bearer x"},
    )  # fmt: skip
    assert first.status == 202, first.text
    run = api.get(f"/runs/{first.body['id']}").body
    assert (run["input"]["text"], run["input"]["kind"]) == ("a", "new")
    second = send(
        made["address"], {"order": {"id": 7, "title": "b"}}, secret=made["secret"],
        headers={"X-Kind": "changed"},
    )  # fmt: skip
    assert (second.status, second.body) == (200, first.body)
    for body in ({"order": {"title": "c", "id": None}}, {"order": {"title": "c", "id": [1]}}):
        answer = send(made["address"], body, secret=made["secret"], headers={"X-Kind": "x"})
        assert answer.findings == {("/dedup_key", "bad_expression")}
    missing = send(made["address"], {"order": {"id": 8}}, secret=made["secret"])
    assert missing.findings == {("/input", "bad_expression")}
    assert Run.objects.count() == 1


def test_an_input_that_json_cannot_hold(api: Api, echo: str) -> None:
    made = make(api, input={"text": "${{ 10 ** body.n }}"})
    answer = send(made["address"], {"n": 4301}, secret=made["secret"])
    assert answer.status == 422
    assert answer.findings <= {("/input", "not_json"), ("/input", "bad_expression")}


def test_signed_as_github_does(api: Api, echo: str) -> None:
    made = make(api, scheme="github")
    body = b'{"text": "push"}'
    mac = hmac.new(made["secret"].encode(), body, hashlib.sha256).hexdigest()
    headers = {"X-Hub-Signature-256": f"sha256={mac}", "X-GitHub-Delivery": "1"}
    assert send(made["address"], raw=body, headers=headers).status == 202
    assert send(made["address"], raw=body, headers=headers).status == 200
    assert (
        send(made["address"], raw=body, headers={**headers, "X-GitHub-Delivery": "2"}).status == 202
    )
    alone = {"X-Hub-Signature-256": f"sha256={mac}"}
    assert send(made["address"], raw=body, headers=alone).status == 202
    assert send(made["address"], raw=body, headers=alone).status == 200
    assert send(made["address"], raw=body, secret=made["secret"]).status == 401
    assert Run.objects.count() == 3


def test_two_secrets_count_after_a_rotation(api: Api, echo: str) -> None:
    made = make(api)
    new = api.post("/triggers/orders/rotate").body
    assert new["secret"] != made["secret"]
    assert new["previous_secret_until"] is not None
    for number, secret in enumerate((made["secret"], new["secret"])):
        assert send(made["address"], {"n": number}, secret=secret).status == 202
    data = b'{"both": 1}'
    headers = signed("other", data)
    right = signed(new["secret"], data)["Millrace-Signature"]
    headers["Millrace-Signature"] += f", {right}"
    assert send(made["address"], raw=data, headers=headers).status == 202
    Trigger.objects.update(previous_until=schedules.now(store.connection()))
    assert send(made["address"], {"n": 3}, secret=made["secret"]).status == 401
    last = api.post("/triggers/orders/rotate", {"keep": 0}).body
    assert last["previous_secret_until"] is None
    assert send(made["address"], {"n": 4}, secret=new["secret"]).status == 401
    assert send(made["address"], {"n": 5}, secret=last["secret"]).status == 202
    assert api.post("/triggers/orders/rotate", {"keep": "x"}).findings == {
        ("/keep", "bad_duration")
    }
    assert api.post("/triggers/orders/rotate", []).findings == {("", "wrong_type")}
    assert AuditEntry.objects.filter(action="trigger.rotated").count() == 2


def test_a_rate_is_kept(api: Api, echo: str) -> None:
    made = make(api, rate="3/1h")
    codes = [send(made["address"], {"n": n}, secret=made["secret"]).status for n in range(5)]
    assert codes == [202, 202, 202, 429, 429]
    over = send(made["address"], {"n": 9}, secret=made["secret"])
    assert over.code == "over_quota"
    assert (over.body["quota"], over.body["value"]) == ("trigger_rate", 3)
    assert int(over.headers["Retry-After"]) == 1200
    assert send(made["address"], {}, secret="wrong").status == 401  # costs nothing of it
    Trigger.objects.update(full_at=schedules.now(store.connection()) + timedelta(minutes=30))
    assert send(made["address"], {"n": 10}, secret=made["secret"]).status == 202


def test_another_secret_key_is_logged_and_refused(
    api: Api, echo: str, caplog: pytest.LogCaptureFixture, settings: Any
) -> None:
    made = make(api)
    old = settings.SECRET_KEY
    with override_settings(SECRET_KEY="x" * 50), caplog.at_level(logging.ERROR):
        assert send(made["address"], {}, secret=made["secret"]).status == 401
    assert "SECRET_KEY is another" in caplog.text
    assert Trigger.objects.get().refused_reason == "secret_unreadable"
    with override_settings(SECRET_KEY="x" * 50, SECRET_KEY_FALLBACKS=[old]):
        assert send(made["address"], {}, secret=made["secret"]).status == 202


def test_an_unexpected_fault_is_a_problem(
    api: Api, echo: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = make(api)
    monkeypatch.setattr(hooks, "submit_run", None)
    with caplog.at_level(logging.CRITICAL):
        answer = send(made["address"], {}, secret=made["secret"])
    assert (answer.status, answer.code) == (500, "internal_error")


def test_put_makes_and_replaces_and_keeps_the_secret(api: Api, echo: str) -> None:
    made = api.put("/triggers/orders", {"workflow": "echo"})
    assert made.status == 201
    secret = made.body["secret"]
    changed = api.put("/triggers/orders", {"workflow": "echo", "rate": "5/1s", "input": {"a": 1}})
    assert (changed.status, changed.body["rate"]) == (200, "5/1s")
    assert "secret" not in changed.body
    assert send(made.body["address"], {}, secret=secret).status == 202
    assert api.delete("/triggers/orders").status == 204
    assert api.delete("/triggers/orders").code == "trigger_not_found"
    assert send(made.body["address"], {}, secret=secret).status == 401
    actions = AuditEntry.objects.filter(action__startswith="trigger.").order_by("id")
    assert list(actions.values_list("action", flat=True)) == [
        "trigger.created", "trigger.changed", "trigger.deleted",
    ]  # fmt: skip


TRIGGERS: dict[str, tuple[object, set[tuple[str, str]]]] = {
    "no object": ([], {("", "wrong_type")}),
    "unknown key": ({"workflow": "echo", "secret": "x"}, {("/secret", "unknown_key")}),
    "no workflow": ({}, {("", "missing")}),
    "unknown workflow": ({"workflow": "nope"}, {("/workflow", "unknown_workflow")}),
    "scheme": ({"workflow": "echo", "scheme": "gitlab"}, {("/scheme", "wrong_enum")}),
    "input": ({"workflow": "echo", "input": {"a": "${{ nope }}"}}, {("/input/a", "bad_expression")}),
    "input of a run": (
        {"workflow": "echo", "input": "${{ input.x }}"},
        {("/input", "bad_expression")},
    ),
    "large input": ({"workflow": "echo", "input": "x" * 100_001}, {("/input", "out_of_range")}),
    "dedup_key": ({"workflow": "echo", "dedup_key": 1}, {("/dedup_key", "wrong_type")}),
    "constant dedup_key": ({"workflow": "echo", "dedup_key": "x"}, {("/dedup_key", "bad_expression")}),
    "our label": (
        {"workflow": "echo", "labels": {"trigger": "x"}},
        {("/labels/trigger", "out_of_place")},
    ),
    "priority": ({"workflow": "echo", "priority": -1}, {("/priority", "out_of_range")}),
    "enabled": ({"workflow": "echo", "enabled": 1}, {("/enabled", "wrong_type")}),
    "rate": ({"workflow": "echo", "rate": "many"}, {("/rate", "bad_rate")}),
    "rate's time": ({"workflow": "echo", "rate": "1/x"}, {("/rate", "bad_rate")}),
    "rate no text": ({"workflow": "echo", "rate": 5}, {("/rate", "bad_rate")}),
}  # fmt: skip


@pytest.mark.parametrize("kind", TRIGGERS)
def test_broken_triggers(api: Api, echo: str, kind: str) -> None:
    body, findings = TRIGGERS[kind]
    answer = api.put("/triggers/orders", body)
    assert (answer.status, answer.code) == (422, "invalid_request")
    assert answer.findings == findings
    assert not Trigger.objects.exists()


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("DELETE", ""), ("POST", "/rotate"), ("GET", "/deliveries?limit=x")],
)
def test_a_strangers_trigger_is_not_there(
    api: Api, echo: str, stranger: Api, method: str, path: str
) -> None:
    make(api)
    for client, name in ((stranger, "orders"), (api, "absent"), (api, "%00")):
        answer = client.send(method, f"/triggers/{name}{path}", raw=b"{")
        assert (answer.status, answer.code) == (404, "trigger_not_found")
    assert Trigger.objects.exists()


def test_pages(api: Api, echo: str) -> None:
    for name in "abc":
        make(api, name)
    page = api.get("/triggers?limit=2").body
    rest = api.get(f"/triggers?limit=2&cursor={page['next_cursor']}").body
    assert [item["name"] for item in (*page["items"], *rest["items"])] == ["a", "b", "c"]
    assert api.get("/triggers?cursor=x").code == "invalid_cursor"


def test_old_deliveries_are_forgotten(api: Api, echo: str) -> None:
    made = make(api)
    send(made["address"], {}, secret=made["secret"])
    connection = store.connection()
    assert schedules.forget_deliveries(connection, days=30, limit=10) == 0
    TriggerDelivery.objects.update(at=schedules.now(connection) - timedelta(days=31))
    assert schedules.forget_deliveries(connection, days=30, limit=10) == 1
