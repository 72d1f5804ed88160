"""Pools over HTTP: made, read, resized, deleted; what is wrong is named; strangers see nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from orchestrator.models import Breaker, Pool
from orchestrator.services.pools import create_pool, delete_pool
from tenants.actors import SYSTEM
from tenants.models import AuditEntry, Tenant
from tests.api.client import Api
from tests.engine import Engine

STEP = {"name": "a", "handler": "core.echo", "args": {}, "pool": "p"}

BROKEN: dict[str, tuple[object, set[tuple[str, str]]]] = {
    "no object": ([], {("", "wrong_type")}),
    "nothing": ({}, {("", "missing")}),
    "unknown key": ({"name": "p", "limit": 1, "size": 2}, {("/size", "unknown_key")}),
    "bad name": ({"name": "a b", "limit": 1}, {("/name", "bad_name")}),
    "name no text": ({"name": 1, "limit": 1}, {("/name", "wrong_type")}),
    "negative": ({"name": "p", "limit": -1}, {("/limit", "out_of_range")}),
    "too large": ({"name": "p", "limit": 100_001}, {("/limit", "out_of_range")}),
    "limit no number": ({"name": "p", "limit": "3"}, {("/limit", "wrong_type")}),
    "limit true": ({"name": "p", "limit": True}, {("/limit", "wrong_type")}),
    "rate no text": ({"name": "p", "limit": 1, "rate": 5}, {("/rate", "wrong_type")}),
    "rate": ({"name": "p", "limit": 1, "rate": "often"}, {("/rate", "bad_rate")}),
    "rate 0": ({"name": "p", "limit": 1, "rate": "0/1m"}, {("/rate", "bad_rate")}),
    "rate's length": ({"name": "p", "limit": 1, "rate": "5/minute"}, {("/rate", "bad_rate")}),
    "several": (
        {"name": "", "rate": "x"},
        {("", "missing"), ("/name", "bad_name"), ("/rate", "bad_rate")},
    ),
}


def make(api: Api, name: str = "p", limit: int = 3, **more: Any) -> dict[str, Any]:
    answer = api.post("/pools", {"name": name, "limit": limit, **more})
    assert answer.status == 201, answer.text
    assert answer.headers["Location"] == f"/api/v1/pools/{name}"
    return dict(answer.body)


def test_made_read_resized_and_deleted(api: Api, tenant: Tenant) -> None:
    made = make(api, rate="100/1m")
    assert {**made, "created_at": 0, "updated_at": 0} == {
        "name": "p", "limit": 3, "rate": "100/1m", "scope": "tenant", "in_use": 0, "waiting": 0,
        "created_at": 0, "updated_at": 0,
    }  # fmt: skip
    assert api.get("/pools/p").body == made
    changed = api.put("/pools/p", {"limit": 0})
    assert (changed.status, changed.body["limit"], changed.body["rate"]) == (200, 0, "100/1m")
    changed = api.put("/pools/p", {"name": "p", "limit": 5, "rate": None})
    assert (changed.body["limit"], changed.body["rate"]) == (5, None)
    assert changed.body["updated_at"] > made["updated_at"]
    assert api.put("/pools/p", {"limit": 5}).body == changed.body, "nothing new"
    answer = api.delete("/pools/p")
    assert (answer.status, answer.text) == (204, "")
    assert api.get("/pools/p").code == "pool_not_found"
    entries = AuditEntry.objects.filter(tenant=tenant, target="p").order_by("id")
    assert [(e.action, e.before, e.after) for e in entries] == [
        ("pool.created", None, {"limit": 3, "rate": "100/1m"}),
        ("pool.changed", {"limit": 3, "rate": "100/1m"}, {"limit": 0, "rate": "100/1m"}),
        ("pool.changed", {"limit": 0, "rate": "100/1m"}, {"limit": 5, "rate": None}),
        ("pool.deleted", {"limit": 5, "rate": None}, None),
    ]
    assert all(entry.actor.startswith("key:") for entry in entries)


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_wrong_is_named(api: Api, kind: str) -> None:
    body, findings = BROKEN[kind]
    answer = api.post("/pools", body)
    assert (answer.status, answer.code) == (422, "invalid_request"), answer.text
    assert answer.findings == findings
    assert not Pool.objects.exists()


def test_resizing_names_what_is_wrong(api: Api) -> None:
    make(api)
    assert api.put("/pools/p", {}).findings == {("", "missing")}
    assert api.put("/pools/p", {"name": "q", "limit": 1}).findings == {("/name", "name_mismatch")}
    assert api.put("/pools/p", {"limit": 1.5}).findings == {("/limit", "wrong_type")}
    assert api.put("/pools/p", raw=b"{").code == "malformed_json"
    assert api.put("/pools/q", raw=b"{").code == "pool_not_found", "what the path names comes first"
    assert api.put("/pools/a%00b", {"limit": 1}).code == "pool_not_found"
    assert api.get("/pools/a%00b").code == "pool_not_found"
    assert api.post("/pools", {"name": "p", "limit": 1}).code == "already_exists"


def test_lists_page_by_name_and_show_the_servers(api: Api, tenant: Tenant) -> None:
    for name in ("b", "d", "shared"):
        create_pool(tenant=None, body={"name": name, "limit": 9}, actor=SYSTEM)
    for name in ("a", "b", "c"):
        make(api, name, 1)
    seen: list[tuple[str, str, int]] = []
    cursor = ""
    while True:
        page = api.get(f"/pools?limit=2{cursor}").body
        assert len(page["items"]) <= 2
        seen += [(row["name"], row["scope"], row["limit"]) for row in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == [
        ("a", "tenant", 1), ("b", "tenant", 1), ("c", "tenant", 1), ("d", "server", 9), ("shared", "server", 9),
    ]  # fmt: skip
    assert api.get("/pools?cursor=x").code == "invalid_cursor"
    assert api.get("/pools?limt=2").status == 422
    # the server's are read, not changed
    assert api.get("/pools/shared").body["scope"] == "server"
    assert api.put("/pools/shared", {"limit": 1}).code == "pool_not_found"
    assert api.delete("/pools/shared").code == "pool_not_found"


def test_a_stranger_sees_nothing(api: Api, stranger: Api) -> None:
    make(api)
    for answer in (
        stranger.get("/pools/p"),
        stranger.put("/pools/p", {"limit": 1}),
        stranger.delete("/pools/p"),
    ):
        assert (answer.status, answer.code) == (404, "pool_not_found")
    assert stranger.get("/pools").body["items"] == []
    assert stranger.put("/workflows/w", {"steps": [STEP]}).findings == {
        ("/steps/0/pool", "unknown_pool")
    }
    assert make(stranger, limit=7)["limit"] == 7
    assert api.get("/pools/p").body["limit"] == 3


def test_scopes(tenant: Tenant, key_of: Callable[..., Api]) -> None:
    reader = key_of(tenant, "workflows:read")
    assert reader.get("/pools").status == 200
    for method, path in (("POST", "/pools"), ("PUT", "/pools/p"), ("DELETE", "/pools/p")):
        assert reader.send(method, path, {}).body["scope"] == "workflows:write"


def test_in_use_and_waiting_and_a_pool_that_is_needed(api: Api, engine: Engine) -> None:
    make(api, limit=1)
    steps = [{**STEP, "name": name} for name in ("a", "b", "c")]
    assert api.put("/workflows/w", {"steps": steps}).status == 201
    run = api.post("/workflows/w/runs", {}).body["id"]
    claims = engine.claim()
    shown = api.get("/pools/p").body
    assert (shown["in_use"], shown["waiting"]) == (1, 2)
    waiting = [row["waiting"] for row in api.get(f"/runs/{run}/steps").body["items"]]
    assert [one and one["reason"] for one in waiting].count("pool") == 2
    held = api.delete("/pools/p")
    assert (held.status, held.code, held.body["in_use"]) == (409, "pool_in_use", 1)
    engine.succeed(claims)
    needed = api.delete("/pools/p")
    assert (needed.code, needed.body["workflows"]) == ("pool_in_use", ["w"])
    api.put("/workflows/w", {"steps": [{"name": "a", "handler": "core.echo", "args": {}}]})
    assert api.delete("/pools/p").status == 204
    # the steps of the older version wait, and say for what
    rows = api.get(f"/runs/{run}/steps").body["items"]
    details = [row["waiting"]["detail"] for row in rows if row["waiting"]]
    assert len(details) == 2
    assert all("no pool" in detail for detail in details)


def test_the_servers_pool_may_stand_in(api: Api, tenant: Tenant) -> None:
    create_pool(tenant=None, body={"name": "p", "limit": 1}, actor=SYSTEM)
    make(api)
    api.put("/workflows/w", {"steps": [STEP]})
    delete_pool(tenant=None, name="p", actor=SYSTEM)  # the tenant has its own
    create_pool(tenant=None, body={"name": "p", "limit": 1}, actor=SYSTEM)
    assert api.delete("/pools/p").status == 204
    with pytest.raises(Exception, match="name it"):
        delete_pool(tenant=None, name="p", actor=SYSTEM)


def test_breakers_are_the_tenants_own(api: Api, stranger: Api, tenant: Tenant) -> None:
    Breaker.objects.create(tenant=tenant, host="example.org", failures=2)
    (row,) = api.get("/breakers").body["items"]
    assert row == {
        "host": "example.org", "state": "closed", "failures": 2, "opened_at": None, "retry_at": None,
    }  # fmt: skip
    soon = timezone.now() + timedelta(minutes=1)
    for host in ("b|c.example", "a.example"):
        Breaker.objects.create(
            tenant=tenant, host=host, failures=5, state="open", opened_at=soon, retry_at=soon
        )
    first = api.get("/breakers?limit=2").body
    assert [one["host"] for one in first["items"]] == ["a.example", "b|c.example"]
    rest = api.get(f"/breakers?cursor={first['next_cursor']}").body
    assert rest == {"items": [row], "next_cursor": None}
    assert stranger.get("/breakers").body == {"items": [], "next_cursor": None}
