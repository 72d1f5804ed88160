"""Every kind of broken definition and request gets its code and path, and nothing is stored."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.urls import URLPattern

from orchestrator.api.root import api as root
from orchestrator.models import Handler, Run, VersionStep, Workflow, WorkflowVersion
from tenants import keys
from tenants.actors import SYSTEM
from tenants.models import ApiKey, AuditEntry, Quota, Tenant
from tenants.services import create_api_key, revoke_api_key
from tests.api.client import Api
from tests.api.conftest import ECHO

pytestmark = pytest.mark.thorough

STEP = {"name": "a", "handler": "core.echo"}


def one(**more: Any) -> dict[str, Any]:
    return {"steps": [{**STEP, **more}]}


def two(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    return {"steps": [{**STEP, **first}, {**STEP, "name": "b", **second}]}


DEFINITIONS: dict[str, tuple[object, set[tuple[str, str]]]] = {
    "no object": ([], {("", "wrong_type")}),
    "no steps": ({}, {("", "missing")}),
    "empty steps": ({"steps": []}, {("/steps", "out_of_range")}),
    "steps no list": ({"steps": {}}, {("/steps", "wrong_type")}),
    "step no object": ({"steps": [1]}, {("/steps/0", "wrong_type")}),
    "unknown key": ({**one(), "step": 1}, {("/step", "unknown_key")}),
    "unknown key of a step": (one(retrys={}), {("/steps/0/retrys", "unknown_key")}),
    "unknown key of retry": (
        one(retry={"max_attemps": 3}),
        {("/steps/0/retry/max_attemps", "unknown_key")},
    ),
    "max_attempts 0": (
        one(retry={"max_attempts": 0}),
        {("/steps/0/retry/max_attempts", "out_of_range")},
    ),
    "bad duration": (one(timeout="5 minutes"), {("/steps/0/timeout", "bad_duration")}),
    "zero duration": (one(timeout=0), {("/steps/0/timeout", "bad_duration")}),
    "bad delay": (one(retry={"delay": "-1s"}), {("/steps/0/retry/delay", "bad_duration")}),
    "bad run timeout": ({**one(), "timeout": "400d"}, {("/timeout", "bad_duration")}),
    "wrong rule": (one(trigger_rule="all_sucess"), {("/steps/0/trigger_rule", "wrong_enum")}),
    "unknown workflow": (
        {"steps": [{"name": "a", "workflow": "absent"}]},
        {("/steps/0/workflow", "unknown_workflow")},
    ),
    "unknown handler": (one(handler="no.such"), {("/steps/0/handler", "unknown_handler")}),
    "duplicate name": (two({}, {"name": "a"}), {("/steps/1/name", "duplicate_name")}),
    "unknown dependency": (
        one(depends_on=["zz"]),
        {("/steps/0/depends_on/0", "unknown_dependency")},
    ),
    "bad expression": (
        one(args={"x": {"y": "${{ 1 + }}"}}),
        {("/steps/0/args/x/y", "bad_expression")},
    ),
    "bad condition": (one(**{"if": "${{ nope }}"}), {("/steps/0/if", "bad_expression")}),
    "bad name": (one(name="A"), {("/steps/0/name", "bad_name")}),
    "no name": ({"steps": [{"handler": "core.echo"}]}, {("/steps/0", "missing")}),
    "another name": ({**one(), "name": "other"}, {("/name", "name_mismatch")}),
    "bad priority": ({**one(), "priority": 10}, {("/priority", "out_of_range")}),
    "bad max_parallel": ({**one(), "max_parallel": 0}, {("/max_parallel", "out_of_range")}),
    "fail_fast no boolean": ({**one(), "fail_fast": 1}, {("/fail_fast", "wrong_type")}),
    "bad schema": (
        {**one(), "input_schema": {"type": "nope"}},
        {("/input_schema/type", "bad_schema")},
    ),
    "schema no object": ({**one(), "input_schema": []}, {("/input_schema", "wrong_type")}),
    "many at once": (
        two({"timeout": "x", "queue": 1}, {"retry": {"max_attempts": "3"}}),
        {
            ("/steps/0/timeout", "bad_duration"),
            ("/steps/0/queue", "wrong_type"),
            ("/steps/1/retry/max_attempts", "wrong_type"),
        },
    ),
}
SUBMISSIONS: dict[str, tuple[object, set[tuple[str, str]]]] = {
    "no object": ([1], {("", "wrong_type")}),
    "null": (None, {("", "wrong_type")}),
    "unknown key": ({"inputs": {}}, {("/inputs", "unknown_key")}),
    "labels no object": ({"labels": 0}, {("/labels", "wrong_type")}),
    "label no text": ({"labels": {"a/b": 1}}, {("/labels/a~1b", "wrong_type")}),
    "label's name": ({"labels": {"a:b": "x"}}, {("/labels/a:b", "bad_name")}),
    "label too long": ({"labels": {"a": "x" * 501}}, {("/labels/a", "out_of_range")}),
    "too many labels": (
        {"labels": {f"l{n}": "" for n in range(65)}},
        {("/labels", "out_of_range")},
    ),
    "priority": ({"priority": 10}, {("/priority", "out_of_range")}),
    "priority no number": ({"priority": True}, {("/priority", "wrong_type")}),
    "version absent": ({"version": 2}, {("/version", "unknown_version")}),
    "version huge": ({"version": 2**64}, {("/version", "out_of_range")}),
    "version 0": ({"version": 0}, {("/version", "out_of_range")}),
    "version no number": ({"version": "1"}, {("/version", "wrong_type")}),
    "deadline": ({"deadline": "soon"}, {("/deadline", "bad_time")}),
    "deadline null": ({"deadline": None}, {("/deadline", "bad_time")}),
    "deadline without zone": ({"deadline": "2999-01-01T00:00:00"}, {("/deadline", "bad_time")}),
    "deadline past": ({"deadline": "2020-01-01T00:00:00Z"}, {("/deadline", "out_of_range")}),
    "deadline far": ({"deadline": "2999-01-01T00:00:00Z"}, {("/deadline", "out_of_range")}),
    "start_at": ({"start_at": "soon"}, {("/start_at", "bad_time")}),
    "start_at far": ({"start_at": "2999-01-01T00:00:00Z"}, {("/start_at", "out_of_range")}),
    "deadline before the start": (
        {"start_at": "2h", "deadline": "1h"},
        {("/deadline", "out_of_range")},
    ),
    "input": ({"input": {"n": "x"}}, {("/input/n", "bad_input")}),
    "input lacks": ({"input": {}}, {("/input", "bad_input")}),
    "all at once": (
        {"priority": -1, "input": {"n": 1.5}},
        {("/priority", "out_of_range"), ("/input/n", "bad_input")},
    ),
}
UNREADABLE: dict[str, tuple[bytes, int, str]] = {
    "no JSON": (b"{", 400, "malformed_json"),
    "NaN": (b'{"input": NaN}', 400, "malformed_json"),
    "no UTF-8": (b'{"input": "\xff"}', 400, "malformed_json"),
    "two values": (b"{} {}", 400, "malformed_json"),
    "too deep": (b'{"input":' + b"[" * 101 + b"]" * 101 + b"}", 413, "too_deep"),
    "far too deep": (b"[" * 100_000, 413, "too_deep"),
    "U+0000": (b'{"input": "\\u0000"}', 422, "invalid_request"),
    "lone surrogate": (b'{"input": "\\ud800"}', 422, "invalid_request"),
    "huge integer": (b'{"input": ' + b"9" * 4301 + b"}", 422, "invalid_request"),
    "huge float": (b'{"input": 1e999}', 422, "invalid_request"),
}
QUERIES = {
    "/runs?limit=0": "limit",
    "/runs?limit=1001": "limit",
    "/runs?limit=x": "limit",
    "/runs?cursor=x": "cursor",
    "/runs?cursor=": "cursor",
    "/runs?cursor=d29ya2Zsb3dzfGE": "cursor",  # another list's
    "/runs?cursor=cnVuc3x4fHg": "cursor",
    "/runs?state=done": "state",
    "/runs?label=x": "label",
    "/runs?label=a:1&label=a:2": "label",
    "/runs?created_after=yesterday": "created_after",
    "/runs?created_before=2026-01-01T00:00:00": "created_before",
    "/runs?stat=failed": "stat",
    "/runs?q=%00": "q",
    "/workflows?limit=-1": "limit",
    "/workflows?cursor=%F0%9F": "cursor",
    "/workflows?archived=maybe": "archived",
}


@pytest.fixture
def numbers(api: Api) -> str:
    """A workflow whose input is {n: integer}."""
    schema = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
    assert api.put("/workflows/numbers", {**ECHO, "input_schema": schema}).status == 201
    return "numbers"


@pytest.mark.parametrize("kind", DEFINITIONS)
def test_broken_definition(api: Api, tenant: Tenant, kind: str) -> None:
    document, findings = DEFINITIONS[kind]
    answer = api.put("/workflows/broken", document)
    assert (answer.status, answer.code) == (422, "invalid_definition"), answer.text
    assert answer.findings == findings
    assert all(finding["message"] for finding in answer.body["errors"])
    nothing_published(tenant)


def nothing_published(tenant: Tenant) -> None:
    assert not Workflow.objects.filter(tenant=tenant).exists()
    assert not WorkflowVersion.objects.filter(tenant=tenant).exists()
    assert not VersionStep.objects.filter(tenant=tenant).exists()
    assert not Handler.objects.filter(name="no.such").exists()
    assert not AuditEntry.objects.filter(tenant=tenant, action="workflow.published").exists()


def test_cycle_is_told_with_its_path(api: Api, tenant: Tenant) -> None:
    answer = api.put("/workflows/w", two({"depends_on": ["b"]}, {"depends_on": ["a"]}))
    (finding,) = answer.body["errors"]
    assert finding["code"] == "cycle"
    assert "a" in finding["message"]
    assert "b" in finding["message"]
    nothing_published(tenant)


def test_did_you_mean(api: Api) -> None:
    messages = api.put("/workflows/w", one(retry={"max_attemps": 3})).text
    assert "did you mean max_attempts?" in messages


@pytest.mark.parametrize("name", ["Upper", "-x", "x" * 64, "a%20b"])
def test_bad_name_of_a_workflow(api: Api, name: str) -> None:
    assert api.put(f"/workflows/{name}", ECHO).findings == {("/name", "bad_name")}


@pytest.mark.parametrize("kind", SUBMISSIONS)
def test_broken_submission(api: Api, numbers: str, tenant: Tenant, kind: str) -> None:
    body, findings = SUBMISSIONS[kind]
    if isinstance(body, dict) and "input" not in body:
        body = {"input": {"n": 1}, **body}
    answer = api.post("/workflows/numbers/runs", raw=json.dumps(body).encode())
    assert answer.status == 422
    assert answer.findings == findings
    only_input = all(path.startswith("/input") and code == "bad_input" for path, code in findings)
    assert answer.code == ("invalid_input" if only_input else "invalid_request")
    assert not Run.objects.filter(tenant=tenant).exists()


@pytest.mark.parametrize("kind", UNREADABLE)
def test_unreadable_body(api: Api, echo: str, tenant: Tenant, kind: str) -> None:
    raw, status, code = UNREADABLE[kind]
    for method, path in (("POST", "/workflows/echo/runs"), ("PUT", "/workflows/new")):
        answer = api.send(method, path, raw=raw)
        assert (answer.status, answer.code) == (status, code), (method, answer.text)
    absent = api.post("/workflows/absent/runs", raw=raw)
    assert (absent.status, absent.code) == (404, "workflow_not_found")  # the object before the body
    assert not Run.objects.filter(tenant=tenant).exists()
    assert Workflow.objects.filter(tenant=tenant).count() == 1


def test_too_large(api: Api, echo: str, tenant: Tenant) -> None:
    Quota.objects.filter(tenant=tenant).update(max_payload_bytes=1024)
    keys.forget()
    raw = b'{"input":"' + b"x" * (1024 + 64 * 1024) + b'"}'
    answer = api.post("/workflows/echo/runs", raw=raw)
    assert (answer.status, answer.code) == (413, "too_large")
    assert api.put("/workflows/echo", raw=raw).status == 413
    assert api.post("/workflows/absent/runs", raw=raw).status == 404
    assert not Run.objects.filter(tenant=tenant).exists()


@pytest.mark.parametrize("path", QUERIES)
def test_bad_query(api: Api, path: str) -> None:
    answer = api.get(path)
    assert answer.status == 422, answer.text
    assert {where for where, _ in answer.findings} == {f"/{QUERIES[path]}"}


def test_bad_query_below_a_run(api: Api, echo: str) -> None:
    run_id = api.post("/workflows/echo/runs").body["id"]
    for path in (
        "?wait=x",
        "?wait=-1",
        "?wait=nan",
        "/steps?limit=0",
        "/steps?cursor=x",
        "/events?cursor=!",
    ):
        assert api.get(f"/runs/{run_id}{path}").status == 422, path
        assert api.get(f"/runs/{uuid4()}{path}").status == 404, path
    assert api.post("/workflows/echo/runs?wait=x").status == 422
    assert api.post("/workflows/absent/runs?wait=x").status == 404
    assert Run.objects.count() == 1


@pytest.mark.parametrize("key", ["", "k" * 256])
def test_bad_idempotency_key(api: Api, echo: str, key: str) -> None:
    answer = api.post("/workflows/echo/runs", {}, headers={"Idempotency-Key": key})
    assert answer.findings == {("/idempotency_key", "out_of_range")}


def routes() -> Iterator[tuple[str, str]]:
    """Every route of the API, with its method."""
    for path, methods in root.get_openapi_schema()["paths"].items():
        for method in methods:
            filled = path.removeprefix("/api/v1").replace("{run_id}", str(UUID(int=1)))
            yield (
                method.upper(),
                filled.replace("{version}", "1")
                .replace("{name}", "x")
                .replace("{step}", "x")
                .replace("{action_id}", "x"),
            )


@pytest.mark.parametrize(("method", "path"), list(routes()))
def test_every_route_asks_for_a_key_and_a_scope(
    tenant: Tenant, key_of: Callable[..., Api], method: str, path: str
) -> None:
    for client in (Api(None), Api("mr_abcdefgh_wrong"), Api("")):
        answer = client.send(method, path, raw=b"{nonsense")
        assert (answer.status, answer.code) == (401, "invalid_key")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    answers = [
        key_of(tenant, scope).send(method, path + "?limit=x", raw=b"{nonsense")
        for scope in ("alerts:write", "runs:read")  # each route refuses at least one of them
    ]
    refused = [answer for answer in answers if answer.status == 403]
    assert refused
    for answer in refused:
        assert answer.code == "missing_scope"
        assert answer.body["scope"] in answer.body["detail"]


def test_revoked_and_expired_keys(tenant: Tenant) -> None:
    key, raw = create_api_key(tenant=tenant, actor=SYSTEM)
    assert Api(raw).get("/runs").status == 200
    revoke_api_key(key=key, actor=SYSTEM)
    keys.forget()
    assert Api(raw).get("/runs").status == 401
    past = datetime.now(UTC) - timedelta(seconds=1)
    key, raw = create_api_key(tenant=tenant, actor=SYSTEM)
    ApiKey.objects.filter(pk=key.pk).update(expires_at=past)
    assert Api(raw).get("/runs").status == 401


def test_unknown_routes_are_problems(api: Api) -> None:
    for path in ("/nope", "/", "", "/runs/", "/runs/x/y/z", "/runs/x/again"):
        answer = api.get(path)
        assert (answer.status, answer.code) == (404, "unknown_route"), path


def test_unknown_methods_are_problems(api: Api) -> None:
    answer = api.delete("/runs")
    assert (answer.status, answer.code, answer.headers["Allow"]) == (
        405,
        "method_not_allowed",
        "GET",
    )
    assert api.get("/runs/bulk").status == 405
    assert api.get("/workflows/x/runs").code == "method_not_allowed"  # an async route


def test_unexpected_errors_are_problems(
    api: Api, tenant: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    Quota.objects.filter(tenant=tenant).delete()  # what cannot be: a tenant without its quota
    with caplog.at_level(logging.ERROR):
        answer = api.get("/quota")
    assert (answer.status, answer.code) == (500, "internal_error")
    assert "DoesNotExist" in caplog.text
    assert "DoesNotExist" not in answer.text


def test_every_route_is_below_the_prefix() -> None:
    assert all(isinstance(route, URLPattern) for route in root.urls[0])
