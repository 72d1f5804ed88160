"""SLAs over HTTP: made, read, replaced, deleted; what is wrong is named; strangers see nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator import store
from orchestrator.models import Sla, SlaSample
from orchestrator.services import slas
from orchestrator.services.sla_learning import begin
from orchestrator.store import slas as slas_store
from tenants.actors import SYSTEM
from tenants.models import AuditEntry, Tenant
from tests.api.client import Api

FULL: dict[str, Any] = {
    "name": "in-time",
    "description": "what we told the shops",
    "kind": "run_duration",
    "workflows": ["echo"],
    "labels": {"region": "eu"},
    "threshold": "30s",
    "target": 0.99,
    "window": "7d",
    "min_samples": 20,
    "no_data": "keep",
    "for": "5m",
    "clear_for": "15m",
    "clear_threshold": None,
    "burn": [{"long": "1h", "short": "5m", "factor": 14.4}],
    "severity": "critical",
    "enabled": True,
}
BROKEN: dict[str, tuple[object, set[tuple[str, str]]]] = {
    "no object": ([], {("", "wrong_type")}),
    "unknown key": ({**FULL, "treshold": 1}, {("/treshold", "unknown_key")}),
    "no name": ({"kind": "success_ratio"}, {("", "missing")}),
    "an address's name": ({**FULL, "name": "preview"}, {("/name", "bad_name")}),
    "bad name": ({**FULL, "name": "In time"}, {("/name", "bad_name")}),
    "workflow": ({**FULL, "workflows": ["ecco"]}, {("/workflows/0", "unknown_workflow")}),
    "workflows text": ({**FULL, "workflows": "echo"}, {("/workflows", "wrong_type")}),
    "workflows many": ({**FULL, "workflows": ["echo"] * 101}, {("/workflows", "out_of_range")}),
    "labels": ({**FULL, "labels": {"a b": 1}}, {("/labels/a b", "bad_name"), ("/labels/a b", "wrong_type")}),
    "several": ({**FULL, "threshold": "x", "enabled": 1}, {("/threshold", "bad_duration"), ("/enabled", "wrong_type")}),
}  # fmt: skip


def test_made_read_replaced_and_deleted(api: Api, echo: str, tenant: Tenant) -> None:
    made = api.post("/slas", FULL)
    assert made.status == 201, made.text
    assert made.headers["Location"] == "/api/v1/slas/in-time"
    assert {key: made.body[key] for key in FULL} == FULL, "what was said, as it was said"
    assert made.body["status"]["state"] == "pending"
    assert made.body["promise"] == "99 % of runs end within 30s"
    assert api.get("/slas/in-time").body == made.body
    assert api.post("/slas", FULL).code == "already_exists"
    (listed,) = api.get("/slas").body["items"]
    assert listed["name"] == "in-time"
    changed = api.put("/slas/in-time", {"kind": "success_ratio", "enabled": False})
    assert (changed.status, changed.body["status"]["state"]) == (200, "disabled")
    assert changed.body["target"] == 0.95
    assert api.put("/slas/new", {"kind": "success_ratio"}).status == 201
    assert api.put("/slas/new", {**FULL}).findings == {("/name", "name_mismatch")}
    for name in ("in-time", "new"):
        answer = api.delete(f"/slas/{name}")
        assert (answer.status, answer.text) == (204, "")
    assert api.get("/slas/in-time").code == "sla_not_found"
    entries = AuditEntry.objects.filter(tenant=tenant, target="in-time").order_by("id")
    assert [entry.action for entry in entries] == ["sla.created", "sla.changed", "sla.deleted"]
    assert entries[1].before == FULL
    assert isinstance(entries[1].after, dict)
    assert entries[1].after["enabled"] is False


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_wrong_is_named(api: Api, echo: str, kind: str) -> None:
    body, findings = BROKEN[kind]
    answer = api.post("/slas", body)
    assert (answer.status, answer.code) == (422, "invalid_request"), answer.text
    assert answer.findings == findings
    assert not Sla.objects.exists()


def test_a_near_workflow_is_suggested(api: Api, echo: str) -> None:
    answer = api.post("/slas", {**FULL, "workflows": ["ecco"]})
    assert "did you mean echo?" in answer.text


def test_pages_of_rules(api: Api, make: Callable[..., dict[str, Any]]) -> None:
    for name in ("c", "a", "b"):
        make(name, "success_ratio")
    first = api.get("/slas?limit=2").body
    assert [one["name"] for one in first["items"]] == ["a", "b"]
    then = api.get(f"/slas?limit=2&cursor={first['next_cursor']}").body
    assert ([one["name"] for one in then["items"]], then["next_cursor"]) == (["c"], None)
    assert api.get("/slas?cursor=x").code == "invalid_cursor"


def test_scopes(tenant: Tenant, echo: str, key_of: Callable[..., Api]) -> None:
    reader = key_of(tenant, "runs:read")
    assert reader.get("/slas").status == 200
    assert reader.post("/slas/preview", {"kind": "success_ratio"}).status == 200
    for answer in (
        reader.post("/slas", FULL),
        reader.put("/slas/a", FULL),
        reader.delete("/slas/a"),
        reader.post("/sla-proposals/echo/accept"),
        reader.post("/sla-proposals/echo/dismiss"),
    ):
        assert (answer.status, answer.body["scope"]) == (403, "alerts:write")


def test_a_stranger_sees_and_changes_nothing(api: Api, echo: str, stranger: Api) -> None:
    assert api.post("/slas", FULL).status == 201
    assert stranger.get("/slas").body["items"] == []
    assert stranger.get("/slas/in-time").code == "sla_not_found"
    assert stranger.delete("/slas/in-time").code == "sla_not_found"
    assert stranger.post("/slas", FULL).findings == {("/workflows/0", "unknown_workflow")}
    assert stranger.get("/slas/%00").code == "sla_not_found"
    assert Sla.objects.count() == 1


def test_a_tenant_has_a_bounded_number_of_rules(
    api: Api, tenant: Tenant, monkeypatch: pytest.MonkeyPatch, make: Callable[..., dict[str, Any]]
) -> None:
    monkeypatch.setattr(slas, "MOST_RULES", 1)
    make("a", "success_ratio")
    answer = api.post("/slas", {"name": "b", "kind": "success_ratio"})
    assert (answer.status, answer.code, answer.headers["Retry-After"]) == (429, "over_quota", "60")
    assert (answer.body["quota"], answer.body["value"], answer.body["use"]) == ("max_slas", 1, 1)
    assert begin(store.connection()) == 0, "its first rules have no place"
    assert not slas_store.make_cursors(store.connection(), limit=5), "and are not tried again"


def test_every_tenant_begins_with_two_rules_once(tenant: Tenant, api: Api) -> None:
    begin(store.connection())
    found = {one["name"]: one for one in api.get("/slas").body["items"]}
    assert found.keys() == {"error-rate", "readiness"}
    assert (found["error-rate"]["kind"], found["error-rate"]["threshold"]) == (
        "error_rate_ceiling", 0.01,
    )  # fmt: skip
    assert (found["readiness"]["kind"], found["readiness"]["threshold"]) == (
        "readiness_p95", "100ms",
    )  # fmt: skip
    assert (
        AuditEntry.objects.filter(tenant=tenant, action="sla.created", actor="system").count() == 2
    )
    assert api.delete("/slas/readiness").status == 204
    assert begin(store.connection()) == 0
    assert slas.make_defaults(tenant=tenant) == 0
    assert [one["name"] for one in api.get("/slas").body["items"]] == ["error-rate"]


def test_a_rule_that_is_there_already_keeps_its_name(tenant: Tenant) -> None:
    slas.create_sla(
        tenant=tenant, body={"name": "readiness", "kind": "success_ratio"}, actor=SYSTEM
    )
    assert slas.make_defaults(tenant=tenant) == 1


def test_what_counts_nothing_has_no_samples(make: Callable[..., dict[str, Any]]) -> None:
    make("a", "success_ratio")
    assert not SlaSample.objects.exists()
