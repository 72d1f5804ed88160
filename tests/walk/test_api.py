"""Every route of the API and every filter, as a stranger, with too few scopes, and without a key.

A new route, or a new filter, fails here until it is in the tables (routes.py)."""

from __future__ import annotations

import re
from uuid import uuid4

import pytest

from orchestrator.api.doors import ApiRequest
from tenants import fence
from tenants.keys import SCOPES
from tests.api.client import Answer, Api, streamed
from tests.walk.routes import (
    FILTERS,
    FOLLOWED,
    LISTS,
    OBJECT,
    ROUTES,
    SHAPES,
    SLA,
    STREAMED,
    routes,
)  # fmt: skip
from tests.walk.world import ABSENT, MARK, World, lasting_world

__all__ = ["lasting_world"]


@pytest.fixture
def world(lasting_world: World, db: None) -> World:
    """The world as it was made: what a test before this one wrote is undone."""
    return lasting_world


def objects() -> list[str]:
    return [route for route, (_, kind) in ROUTES.items() if kind == OBJECT]


def send(api: Api, route: str, ids: dict[str, str], body: object = None) -> Answer:
    method, path = route.split()
    return api.send(method, path.format(**ids), body)


def absent(ids: dict[str, str]) -> dict[str, str]:
    """Ids of the same forms, of nothing."""
    return {
        name: str(uuid4())
        if re.fullmatch(r"[0-9a-f-]{36}", value)
        else "999999"
        if value.isdigit()
        else ABSENT
        for name, value in ids.items()
    }


def blurred(text: str, ids: dict[str, str]) -> str:
    """An answer without the ids that it was asked for by."""
    for value in sorted(ids.values(), key=len, reverse=True):
        text = re.sub(rf"\b{re.escape(value)}\b", "…", text)
    return text


def test_every_route_and_every_filter_is_in_the_tables() -> None:
    found = dict(routes())
    assert set(found) == set(ROUTES)
    for route, named in found.items():
        kind = ROUTES[route][1]
        allowed = SHAPES if kind == OBJECT else LISTS
        assert set(named) - allowed == set(FILTERS.get(route, {})), route


@pytest.mark.parametrize("route", ROUTES)
def test_without_a_key_and_with_every_other_scope(world: World, route: str) -> None:
    scope = ROUTES[route][0]
    less = world.key(world.tenant, *(one for one in SCOPES if one != scope))
    before = world.marks()
    answer = send(Api(None), route, world.ids)
    assert (answer.status, answer.code) == (401, "invalid_key")
    assert MARK not in answer.text
    answer = send(less, route, world.ids)
    assert (answer.status, answer.code, answer.body["scope"]) == (403, "missing_scope", scope)
    assert world.marks() == before


def test_a_strangers_guess_is_answered_like_what_does_not_exist(world: World) -> None:
    stranger = world.key(world.stranger)
    before = world.marks()
    for route in objects():
        nothing = absent(world.ids)
        guessed, missing = (send(stranger, route, ids) for ids in (world.ids, nothing))
        assert guessed.status == missing.status == 404, (route, guessed.text)
        assert blurred(guessed.text, world.ids) == blurred(missing.text, nothing), route
        assert dict(guessed.headers) | {"Content-Length": ""} == dict(missing.headers) | {
            "Content-Length": ""
        }, route
    assert world.marks() == before


def test_a_streamed_file_shows_nothing_of_others(world: World) -> None:
    for api, seen in ((world.api, True), (world.key(world.stranger), False)):
        for form in ("ndjson", "csv"):
            answer = api.response("GET", f"/audit/export?format={form}")
            assert answer.status_code == 200
            with fence.as_(fence.NOBODY):  # as when the request is over and its parts are sent
                assert (MARK in streamed(answer).decode()) is seen, form


@pytest.mark.parametrize("route", FOLLOWED)
def test_streams_are_refused_as_pages_are(world: World, route: str) -> None:
    path = route.split()[1].format(**world.ids)
    less = world.key(world.tenant, *(one for one in SCOPES if one != ROUTES[route][0]))
    stranger = world.key(world.stranger)
    for api, status in ((Api(None), 401), (less, 403), (stranger, 404)):
        answer = api.send("GET", path, headers={"Accept": "text/event-stream"})
        if ROUTES[route][1] == OBJECT or api is not stranger:
            assert answer.status == status
            assert MARK not in answer.text


@pytest.mark.parametrize(
    "route", [r for r, (_, kind) in ROUTES.items() if kind != OBJECT and r != STREAMED]
)
def test_what_is_ones_own_shows_nothing_of_others(world: World, route: str) -> None:
    stranger = world.key(world.stranger)
    before = world.marks()
    if route.startswith("GET"):
        plain = send(stranger, route, world.ids)
        assert plain.status == 200
        assert MARK not in plain.text
        method, path = route.split()
        for name, value in FILTERS.get(route, {}).items():
            answer = stranger.send(method, f"{path}?{name}={value.format(**world.ids)}")
            if answer.status == 404:
                missing = stranger.send(method, f"{path}?{name}={ABSENT}")
                assert blurred(answer.text, world.ids) == blurred(missing.text, {"": ABSENT})
            else:
                assert answer.status == 200, answer.text
                lists = [value for value in answer.body.values() if isinstance(value, list)]
                assert lists == [[]], (route, name)
    else:
        quiet = {"match": {"rule": MARK}, "reason": "r", "duration": "1h"}
        window = {"match": {"rule": MARK}, "cron": "0 2 * * 0", "duration": "1h"}
        bodies: dict[str, object] = {
            "PUT /workflows/{name}": {"steps": [{"name": "a", "handler": "core.echo"}]},
            "POST /dead-letters/retry": {"fingerprint": world.ids["fingerprint"]},
            "POST /pools": {"name": MARK, "limit": 1},
            "POST /schedules": {"name": MARK, "workflow": MARK, "interval": "1h"},
            "PUT /schedules/{name}": {"workflow": MARK, "interval": "1h"},
            "POST /triggers": {"name": MARK, "workflow": MARK},
            "POST /slas": SLA,
            "PUT /slas/{name}": SLA,
            "POST /slas/preview": SLA,
            "PUT /triggers/{name}": {"workflow": MARK},
            "POST /channels": {"name": MARK, "kind": "email", "to": ["a@example.org"]},
            "PUT /channels/{name}": {"kind": "email", "to": ["a@example.org"]},
            "POST /silences": quiet,
            "POST /maintenance-windows": {**window, "name": MARK},
            "PUT /maintenance-windows/{name}": window,
            "POST /api-keys": {"name": MARK},
            "POST /secrets": {"name": MARK, "value": MARK},
            "PUT /secrets/{name}": {"value": MARK},
            "PUT /database": {"address": MARK},
            "DELETE /database": None,
        }
        if route == "POST /runs/bulk":
            (line,) = stranger.bulk({"workflow": MARK, "input": {}})
            assert line["error"]["code"] == "workflow_not_found"
        else:
            answer = send(stranger, route, world.ids, bodies[route])
            assert answer.status in (201, 202, 204, 404, 422), answer.text
            if route == "POST /dead-letters/retry":
                assert answer.body["total"] == 0
    assert world.marks() == before


@pytest.mark.parametrize("route", [r for r, named in routes() if "cursor" in named])
def test_a_cursor_of_another_tenant_leads_nowhere(world: World, route: str) -> None:
    path = route.split()[1].format(**world.ids)
    mine = world.api.get(f"{path}?limit=1")
    if route.endswith("/results"):
        assert mine.code == "step_not_found"  # it is no map; those: tests/api/test_maps.py
        return
    assert mine.status == 200
    cursor = mine.body["next_cursor"]
    if cursor is None:
        return
    answer = world.key(world.stranger).get(f"{path}?cursor={cursor}")
    assert answer.status in (200, 404)
    assert MARK not in blurred(answer.text, world.ids)


def test_a_key_names_its_tenant_whatever_a_request_says(world: World) -> None:
    stranger = world.key(world.stranger)
    for headers in (
        {"X-Tenant": world.tenant.slug},
        {"X-Forwarded-User": world.tenant.slug},
        {"Cookie": f"tenant={world.tenant.slug}"},
    ):
        answer = stranger.send("GET", f"/runs?tenant={world.tenant.slug}", headers=headers)
        assert answer.status == 422, "an unknown parameter"
        assert stranger.send("GET", "/runs", headers=headers).body["items"] == []


def test_a_body_cannot_name_another_tenants_things(world: World) -> None:
    stranger = world.key(world.stranger)
    before = world.marks()
    letter = world.api.get("/dead-letters").body["items"][0]["id"]
    assert stranger.post("/dead-letters/retry", {"ids": [letter]}).status in (202, 404, 422)
    for body in ({"name": "a", "workflow": MARK, "interval": "1h"},):
        assert stranger.post("/schedules", body).status in (404, 422)
    assert stranger.post("/triggers", {"name": "a", "workflow": MARK}).status in (404, 422)
    for path in ("/slas", "/slas/preview"):
        assert stranger.post(path, SLA).status == 422
    child = {"steps": [{"name": "a", "workflow": MARK, "args": {}}]}
    assert stranger.put("/workflows/mine", child).status == 422
    pooled = {"steps": [{"name": "a", "handler": "core.echo", "pool": MARK}]}
    assert stranger.put("/workflows/mine", pooled).status == 422
    assert world.marks() == before


def test_requests_carry_nothing_but_their_tenant_and_actor() -> None:
    assert set(ApiRequest.__annotations__) == {"tenant", "actor"}
