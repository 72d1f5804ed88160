from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from django.utils import timezone

from orchestrator.domain.errors import InvalidRequest
from orchestrator.models import Event, IdempotencyKey, Run, StepRun
from orchestrator.selectors import payloads
from orchestrator.services.runs import submit_run
from tenants.actors import SYSTEM
from tenants.models import AuditEntry, Tenant
from tests.api.client import Api
from tests.api.conftest import ECHO
from tests.engine import Engine

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def submit(api: Api, text: object = "x", **more: object) -> dict[str, object]:
    answer = api.post("/workflows/echo/runs", {"input": {"text": text}, **more})
    assert answer.status == 202, answer.text
    run: dict[str, object] = answer.body
    return run


def test_submit_answers_the_run(api: Api, echo: str, tenant: Tenant) -> None:
    answer = api.post(
        "/workflows/echo/runs",
        {"input": {"text": 2**64}, "labels": {"customer": "acme"}, "priority": 9},
    )
    assert answer.status == 202
    run = answer.body
    assert answer.headers["Location"] == f"/api/v1/runs/{run['id']}"
    assert UUID(run["id"]).version == 7
    assert MOMENT.fullmatch(run.pop("created_at"))
    run_id = run.pop("id")
    assert run == {
        "workflow": "echo",
        "version": 1,
        "state": "queued",
        "input": {"text": 2**64},
        "output": None,
        "error": None,
        "labels": {"customer": "acme"},
        "priority": 9,
        "steps": {
            "total": 1,
            "blocked": 0,
            "ready": 1,
            "running": 0,
            "waiting": 0,
            "succeeded": 0,
            "failed": 0,
            "skipped": 0,
            "cancelled": 0,
        },
        "started_at": None,
        "finished_at": None,
        "paused_at": None,
        "start_at": None,
        "waiting": None,
        "deadline": None,
        "closing": None,
        "undo": None,
        "parent": None,
    }
    actor = Event.objects.get(run_id=run_id, type="run.queued").actor or ""
    assert actor.startswith("key:mr_")


@pytest.mark.parametrize(
    "given",
    [
        "18446744073709551616",
        "1e22",
        "1.10",
        '{"b":1,"a":{"c":[null,true,-0.0]}}',
        '"\\u00e9\\ud83d\\ude00 \\\\u0000 \\"quoted\\""',
        "9" * 4300,
        '"\\\\u00000"',
        "null",
    ],
)
def test_input_keeps_every_digit(api: Api, echo: str, given: str) -> None:
    raw = f'{{"input":{given}}}'.encode()
    answer = api.post("/workflows/echo/runs", raw=raw)
    assert answer.status == 202, answer.text
    import json

    assert answer.body["input"] == json.loads(given)
    assert api.get(f"/runs/{answer.body['id']}").body["input"] == json.loads(given)


def test_body_may_be_absent(api: Api, echo: str) -> None:
    answer = api.post("/workflows/echo/runs")
    assert (answer.status, answer.body["input"]) == (202, {})


def test_version_and_default_priority(api: Api, echo: str) -> None:
    api.put("/workflows/echo", {**ECHO, "priority": 2})
    assert submit(api)["version"] == 2
    old = submit(api, version=1)
    assert (old["version"], old["priority"]) == (1, 5)


def test_deadline(api: Api, echo: str) -> None:
    soon = submit(api, deadline="30m")["deadline"]
    at = datetime.fromisoformat(str(soon))
    assert timedelta(minutes=29) < at - timezone.now() < timedelta(minutes=31)
    later = (timezone.now() + timedelta(days=1)).replace(microsecond=0)
    given = submit(api, deadline=later.isoformat())["deadline"]
    assert datetime.fromisoformat(str(given)) == later
    assert submit(api, deadline=90)["deadline"] is not None


def test_idempotency(api: Api, echo: str, tenant: Tenant) -> None:
    key = {"Idempotency-Key": "order-1"}
    path = "/workflows/echo/runs"
    first = api.post(path, {"input": {"text": 1, "b": [1.0]}}, headers=key)
    assert first.status == 202
    assert "Idempotency-Replayed" not in first.headers
    again = api.post(path, raw=b'{ "input": {"b": [1], "text": 1.0} }', headers=key)
    assert (again.status, again.headers["Idempotency-Replayed"]) == (200, "true")
    assert again.body["id"] == first.body["id"]
    other = api.post(path, {"input": {"text": 2}}, headers=key)
    assert (other.status, other.code) == (422, "idempotency_key_reused")
    assert api.post(path, {"input": {"text": True, "b": [1]}}, headers=key).status == 422
    assert Run.objects.filter(tenant=tenant).count() == 1
    # the key is looked up before anything is validated, and even when nothing new is taken
    assert api.post(path, {"nope": 1}, headers=key).code == "idempotency_key_reused"
    api.delete("/workflows/echo")
    assert api.post(path, {"input": {"text": 1, "b": [1]}}, headers=key).status == 200


def test_idempotency_is_per_workflow_and_tenant(api: Api, stranger: Api, echo: str) -> None:
    key = {"Idempotency-Key": "k" * 255}
    api.put("/workflows/other", ECHO)
    stranger.put("/workflows/echo", ECHO)
    ids = {
        api.post("/workflows/echo/runs", {}, headers=key).body["id"],
        api.post("/workflows/other/runs", {}, headers=key).body["id"],
        stranger.post("/workflows/echo/runs", {}, headers=key).body["id"],
    }
    assert len(ids) == 3
    assert IdempotencyKey.objects.filter(key="k" * 255).count() == 3


def test_run_through_its_life(api: Api, echo: str, engine: Engine) -> None:
    run_id = submit(api)["id"]
    claims = engine.claim()
    running = api.get(f"/runs/{run_id}").body
    assert (running["state"], running["steps"]["running"]) == ("running", 1)
    engine.succeed(claims, {"big": 2**64})
    done = api.get(f"/runs/{run_id}").body
    assert (done["state"], done["output"], done["steps"]["succeeded"]) == (
        "succeeded",
        {"big": 2**64},
        1,
    )
    assert done["created_at"] <= done["started_at"] <= done["finished_at"]
    assert all(MOMENT.fullmatch(done[k]) for k in ("created_at", "started_at", "finished_at"))


def test_failed_run_names_step_and_cause(api: Api, echo: str, engine: Engine) -> None:
    run_id = submit(api)["id"]
    engine.fail(engine.claim()[0])
    run = api.get(f"/runs/{run_id}").body
    assert run["state"] == "failed"
    assert run["error"]["code"] == "step_failed"
    assert run["error"]["step"] == "say"
    assert run["error"]["cause"] == {"code": "error", "message": "no", "type": "ValueError"}


def test_another_tenants_run_is_absent(api: Api, stranger: Api, echo: str) -> None:
    run_id = submit(api)["id"]
    for method, path in (
        ("GET", ""),
        ("GET", "/steps"),
        ("GET", "/steps/say/attempts"),
        ("GET", "/graph"),
        ("GET", "/events"),
        ("POST", "/cancel"),
        ("POST", "/undo"),
    ):
        for client, target in (
            (stranger, run_id),
            (api, uuid4()),
            (api, "nonsense"),
            (api, "0" * 36),
        ):
            answer = client.send(method, f"/runs/{target}{path}")
            assert (answer.status, answer.code) == (404, "run_not_found"), (method, path)
    assert stranger.get("/runs").body["items"] == []
    assert Run.objects.get(pk=str(run_id)).closing is None


def test_cancel(api: Api, echo: str, engine: Engine, tenant: Tenant) -> None:
    queued = submit(api)["id"]
    answer = api.post(f"/runs/{queued}/cancel")
    assert (answer.status, answer.body["state"]) == (200, "cancelled")
    assert answer.body["error"]["code"] == "cancelled"
    refused = api.post(f"/runs/{queued}/cancel")
    assert (refused.status, refused.code, refused.body["state"]) == (
        409,
        "state_conflict",
        "cancelled",
    )
    running = submit(api)["id"]
    engine.claim()
    first = api.post(f"/runs/{running}/cancel").body
    assert (first["state"], first["closing"]) == ("running", "cancel")
    assert api.post(f"/runs/{running}/cancel").status == 200
    entry = AuditEntry.objects.filter(tenant=tenant, action="run.cancel").order_by("id")
    assert [e.target for e in entry] == [queued, running]


def test_a_page_ends_where_its_payloads_are_too_much(
    api: Api, echo: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payloads, "PAGE_BYTES", 50_000)
    large = {"input": {"text": "x" * 20_000}}  # too large for its row
    made = [
        api.post("/workflows/echo/runs", body).body["id"]
        for body in (large, {"input": {"text": "y" * 60_000}}, large, large)
    ]

    def pages(path: str, key: str) -> list[list[object]]:
        found: list[list[object]] = []
        cursor: str | None = ""
        while cursor is not None:
            page = api.get(f"{path}?limit=10{cursor and f'&cursor={cursor}'}").body
            found.append([item[key] for item in page["items"]])
            cursor = page["next_cursor"]
        return found

    assert pages("/runs", "id") == [[made[3], made[2]], [made[1]], [made[0]]]
    steps = [{"name": f"s{nr}", "handler": "core.echo"} for nr in range(3)]
    assert api.put("/workflows/wide", {"steps": steps}).status == 201
    run = api.post("/workflows/wide/runs").body["id"]
    StepRun.objects.filter(run_id=run).update(output=json.dumps("z" * 30_000))
    assert pages(f"/runs/{run}/steps", "name") == [["s0"], ["s1"], ["s2"]]


def test_list_pages_newest_first(api: Api, echo: str) -> None:
    ids = [submit(api, n)["id"] for n in range(5)]
    seen: list[object] = []
    path = "/runs?limit=2"
    while True:
        page = api.get(path).body
        seen += [run["id"] for run in page["items"]]
        if page["next_cursor"] is None:
            break
        submit(api)  # what comes in between moves nothing
        path = f"/runs?limit=2&cursor={page['next_cursor']}"
    assert seen == ids[::-1]
    assert api.get("/runs?limit=1").body["items"][0]["input"] == {"text": "x"}


def test_list_filters(api: Api, echo: str, engine: Engine) -> None:
    api.put("/workflows/other", ECHO)
    a = submit(api, labels={"customer": "acme", "tier": 'go"ld\\'})["id"]
    b = submit(api, labels={"customer": "acme"})["id"]
    c = api.post("/workflows/other/runs", {}).body["id"]
    api.post(f"/runs/{b}/cancel")
    middle = api.get(f"/runs/{b}").body["created_at"]

    def found(query: str) -> list[object]:
        return [run["id"] for run in api.get(f"/runs?{query}").body["items"]]

    assert found("") == [c, b, a]
    assert found("workflow=echo") == [b, a]
    assert found("workflow=nope") == []
    assert found("state=cancelled") == [b]
    assert found("state=queued,cancelled&workflow=echo") == [b, a]
    assert found("state=queued&state=cancelled&label=customer:acme") == [b, a]
    assert found("label=customer:acme&label=tier:go%22ld%5C") == [a]
    assert found("label=customer:") == []
    assert found(f"created_after={middle}") == [c]
    assert found(f"created_before={middle}") == [a]
    offset = middle.replace("Z", "+00:00")
    assert found(f"created_before={offset}") == [a]  # a plus that arrives as a space
    assert found("q=OTH") == [c]
    assert found("q=acme") == [b, a]
    assert found("q=go%22ld%5C") == [a]
    assert found(f"q={a}") == [a]
    assert found(f"q={str(a)[:20]}")[-1] == a
    assert found("q=%25") == []


def test_a_label_that_looks_like_an_id_is_found(api: Api, echo: str) -> None:
    order = "019aa0c4-1111-7222-8333-444455556666"
    a = submit(api, labels={"order": "20261122", "day": "2026-11-22"})["id"]
    b = submit(api, labels={"order": order})["id"]

    def found(text: str) -> list[object]:
        return [run["id"] for run in api.get(f"/runs?q={text}").body["items"]]

    assert found("20261122") == [a]
    assert found("2026-11-22") == [a]
    assert found(order) == [b]
    assert found(str(a)) == [a]
    assert found("deadbeef") == []


def test_submission_needs_few_statements(
    api: Api, echo: str, django_assert_max_num_queries: object
) -> None:
    """Two statements of the store and the key's refresh: at most three through Django."""
    submit(api)
    with django_assert_max_num_queries(3):  # type: ignore[operator]
        submit(api)


def test_nothing_is_stored_of_what_is_refused(api: Api, echo: str, tenant: Tenant) -> None:
    api.post("/workflows/echo/runs", {"labels": 1}, headers={"Idempotency-Key": "k"})
    assert not Run.objects.filter(tenant=tenant).exists()
    assert not StepRun.objects.filter(tenant=tenant).exists()
    assert not IdempotencyKey.objects.filter(tenant=tenant).exists()


def test_suspended_tenant_takes_no_runs(api: Api, echo: str, tenant: Tenant) -> None:
    from tenants import keys

    Tenant.objects.filter(pk=tenant.pk).update(suspended_at=datetime.now(UTC))
    keys.forget()
    refused = api.post("/workflows/echo/runs", {})
    assert (refused.status, refused.code) == (403, "tenant_suspended")
    assert api.get("/runs").status == 200


def test_the_answer_to_a_submission_is_the_run_as_it_stands(api: Api) -> None:
    steps = [
        {"name": "a", "handler": "core.echo", "args": {}},
        {"name": "b", "handler": "core.echo", "args": {}, "if": "${{ input.go }}"},
        {"name": "c", "handler": "core.echo", "args": {}, "depends_on": ["a"]},
    ]
    assert api.put("/workflows/w", {"steps": steps, "priority": 7}).status == 201
    for body in (
        {"input": {"go": True, "n": 2**70}, "labels": {"team": "blue"}, "deadline": "1h"},
        {"input": {"go": False}, "priority": 2},
        {},
    ):
        made = api.post("/workflows/w/runs", body)
        assert made.status == 202
        assert made.body == api.get(f"/runs/{made.body['id']}").body


def test_a_run_that_is_ending_for_another_reason_cannot_be_cancelled(
    api: Api, engine: Engine, tenant: Tenant
) -> None:
    steps = [{"name": name, "handler": "core.echo", "args": {"value": 1}} for name in ("a", "b")]
    assert api.put("/workflows/two", {"steps": steps, "fail_fast": True}).status == 201
    run_id = api.post("/workflows/two/runs", {}).body["id"]
    first, _ = engine.claim()
    engine.fail(first)
    found = api.get(f"/runs/{run_id}").body
    assert (found["state"], found["closing"]) == ("running", "fail_fast")
    refused = api.post(f"/runs/{run_id}/cancel")
    assert (refused.status, refused.code) == (409, "state_conflict")
    assert "fail_fast" in refused.body["detail"]
    assert not AuditEntry.objects.filter(tenant=tenant, action="run.cancel").exists()


def test_an_absent_workflow_is_told_before_a_bad_key(api: Api, echo: str) -> None:
    headers = {"Idempotency-Key": "k" * 256}
    for name in ("nope", "a%00b"):
        answer = api.send("POST", f"/workflows/{name}/runs", {}, headers=headers)
        assert (answer.status, answer.code) == (404, "workflow_not_found")
        assert api.post(f"/workflows/{name}/runs", {}).status == 404
    answer = api.send("POST", "/workflows/echo/runs", {}, headers=headers)
    assert (answer.status, answer.findings) == (422, {("/idempotency_key", "out_of_range")})


@pytest.mark.parametrize("key", ["", "a\0b"])
def test_a_key_that_cannot_be_kept_is_refused(echo: str, tenant: Tenant, key: str) -> None:
    with pytest.raises(InvalidRequest):
        submit_run(tenant=tenant, workflow=echo, body={}, key=key, actor=SYSTEM)
