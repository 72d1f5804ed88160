from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from orchestrator.models import Handler, VersionStep, Workflow, WorkflowVersion
from tenants.models import AuditEntry, Quota, Tenant
from tests.api.client import Api
from tests.api.conftest import ECHO


def test_publish_makes_versions_only_for_new_content(api: Api, tenant: Tenant) -> None:
    first = api.put("/workflows/echo", ECHO)
    assert (first.status, first.body["name"], first.body["version"]) == (201, "echo", 1)
    again = api.put("/workflows/echo", {"name": "echo", **ECHO})
    assert (again.status, again.body) == (200, first.body)
    second = api.put("/workflows/echo", {**ECHO, "priority": 7})
    assert (second.status, second.body["version"]) == (201, 2)
    assert second.body["checksum"] != first.body["checksum"]
    back = api.put("/workflows/echo", ECHO)
    assert (back.status, back.body["version"]) == (201, 3)  # what is newest must be what was sent
    assert AuditEntry.objects.filter(tenant=tenant, action="workflow.published").count() == 3


def test_dry_run_stores_nothing(api: Api, tenant: Tenant) -> None:
    answer = api.put("/workflows/echo?dry_run=true", ECHO)
    assert (answer.status, answer.body["version"]) == (200, 1)
    assert not Workflow.objects.filter(tenant=tenant).exists()
    api.put("/workflows/echo", ECHO)
    assert api.put("/workflows/echo?dry_run=1", ECHO).body["version"] == 1
    assert api.put("/workflows/echo?dry_run=1", {**ECHO, "priority": 1}).body["version"] == 2
    assert api.put("/workflows/echo?dry_run=true", {"steps": []}).status == 422
    assert WorkflowVersion.objects.filter(tenant=tenant).count() == 1


def test_stored_steps_are_what_the_engine_needs(api: Api, tenant: Tenant) -> None:
    document = {
        "timeout": "90s",
        "max_parallel": 3,
        "fail_fast": True,
        "steps": [
            {"name": "a", "handler": "core.echo", "args": {"x": "${{ input.x }}"}},
            {
                "name": "b",
                "handler": "demo.resize",
                "if": "${{ steps.a.output.x }}",
                "args": {"item": 1},
                "trigger_rule": "all_done",
                "retry": {"max_attempts": 4},
                "on_error": {"value": [2**64]},
            },
        ],
        "output": "${{ steps.b.output }}",
    }
    assert api.put("/workflows/w", document).status == 201
    version = WorkflowVersion.objects.get(tenant=tenant)
    assert (version.timeout_ms, version.max_parallel, version.fail_fast) == (90_000, 3, True)
    assert (version.leaves, version.output_needs, version.step_count) == ([1], [1], 2)
    a, b = VersionStep.objects.filter(version=version).order_by("ordinal")
    assert (a.parents, a.children, a.needs_input, a.control) == ([], [1], True, False)
    assert (b.parents, b.needs, b.rule, b.queue) == ([0], [0], "all_done", "cpu")
    assert (b.control, b.max_attempts, b.fallback) == (True, 4, "[18446744073709551616]")
    assert b.handler_id is not None
    assert Handler.objects.get(pk=b.handler_id).name == "demo.resize"


def test_read_and_list(api: Api, stranger: Api) -> None:
    for name in ("c", "a", "b"):
        api.put(f"/workflows/{name}", {**ECHO, "description": f"{2**70}"})
    page = api.get("/workflows?limit=2").body
    assert [item["name"] for item in page["items"]] == ["a", "b"]
    rest = api.get(f"/workflows?limit=2&cursor={page['next_cursor']}").body
    assert [item["name"] for item in rest["items"]] == ["c"]
    assert rest["next_cursor"] is None
    one = api.get("/workflows/a").body
    assert one["definition"] == {"name": "a", **ECHO, "description": f"{2**70}"}
    assert datetime.fromisoformat(one["created_at"]).tzinfo == UTC
    assert api.get("/workflows/a/versions/1").body["definition"] == one["definition"]
    assert [v["version"] for v in api.get("/workflows/a/versions").body["items"]] == [1]
    for path in ("/workflows/a", "/workflows/a/versions", "/workflows/a/versions/1"):
        assert stranger.get(path).code == "workflow_not_found"
    assert stranger.get("/workflows").body["items"] == []
    for version in ("2", "0", "x", "9" * 30):
        assert api.get(f"/workflows/a/versions/{version}").code == "version_not_found"
        assert api.get(f"/workflows/nope/versions/{version}").code == "workflow_not_found"


def test_versions_page_newest_first(api: Api) -> None:
    for priority in range(3):
        api.put("/workflows/a", {**ECHO, "priority": priority})
    page = api.get("/workflows/a/versions?limit=2").body
    assert [item["version"] for item in page["items"]] == [3, 2]
    rest = api.get(f"/workflows/a/versions?limit=2&cursor={page['next_cursor']}").body
    assert [item["version"] for item in rest["items"]] == [1]


def test_archive(api: Api, stranger: Api, echo: str) -> None:
    assert stranger.delete("/workflows/echo").code == "workflow_not_found"
    assert api.delete("/workflows/echo").status == 204
    assert api.delete("/workflows/echo").status == 204
    assert api.get("/workflows").body["items"] == []
    assert len(api.get("/workflows?archived=true").body["items"]) == 1
    assert api.get("/workflows/echo").body["archived_at"] is not None
    refused = api.post("/workflows/echo/runs", {"input": {"text": "x"}})
    assert (refused.status, refused.code) == (409, "state_conflict")
    assert api.post("/workflows/echo/runs", {"nope": 1}).status == 422  # the body before the state
    assert api.put("/workflows/echo", ECHO).status == 200
    assert api.get("/workflows/echo").body["archived_at"] is None
    assert api.post("/workflows/echo/runs", {"input": {"text": "x"}}).status == 202


@pytest.mark.parametrize(
    ("scope", "method", "path"),
    [
        ("workflows:write", "PUT", "/workflows/x"),
        ("workflows:write", "DELETE", "/workflows/x"),
        ("workflows:read", "GET", "/workflows"),
    ],
)
def test_scopes(
    tenant: Tenant, key_of: Callable[..., Api], scope: str, method: str, path: str
) -> None:
    answer = key_of(tenant, "runs:read", "alerts:write").send(method, path)
    assert (answer.status, answer.code, answer.body["scope"]) == (403, "missing_scope", scope)
    assert scope in answer.body["detail"]


def test_ten_thousand_steps(api: Api, tenant: Tenant) -> None:
    steps: list[dict[str, object]] = [
        {"name": f"s{n}", "handler": "core.echo", "depends_on": [f"s{n // 2}"] if n else []}
        for n in range(10_000)
    ]
    assert api.put("/workflows/big", {"steps": steps}).status == 201
    assert VersionStep.objects.filter(tenant=tenant).count() == 10_000
    more = [*steps, {"name": "more", "handler": "core.echo"}]
    assert api.put("/workflows/big", {"steps": more}).findings == {("/steps", "out_of_range")}
    Quota.objects.filter(tenant=tenant).update(max_steps=2)
    few = {"steps": [{"name": f"s{n}", "handler": "core.echo"} for n in range(3)]}
    assert api.put("/workflows/few", few).status == 422
