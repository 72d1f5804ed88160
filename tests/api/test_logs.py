"""GET /runs/{id}/logs: pages of what handlers logged."""

from __future__ import annotations

import time
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from orchestrator import store
from orchestrator.domain.steplog import Line
from orchestrator.models import ServerLoad
from orchestrator.store import logs
from orchestrator.store.logs import Written
from tests.api.client import Api
from tests.api.streaming import following
from tests.engine import Engine

PAIR = {
    "steps": [
        {"name": "first", "handler": "core.echo"},
        {"name": "second", "handler": "core.echo", "undo": {"handler": "core.echo"}},
    ]
}


def log(claim: Any, *messages: str, level: int = 20, fields: str | None = None) -> None:
    """These lines of a claimed step."""
    lines = [
        Line(number, time.monotonic(), level, message, fields)
        for number, message in enumerate(messages, 1)
    ]
    logs.write(store.connection(), [Written(claim, line) for line in lines])


@pytest.fixture
def run_id(api: Api, engine: Engine) -> str:
    """A run whose steps have logged."""
    assert api.put("/workflows/pair", PAIR).status == 201
    run_id = str(api.post("/workflows/pair/runs", {}).body["id"])
    first, second = sorted(engine.claim(), key=lambda claim: claim.ordinal)
    log(first, "one", "two", fields='{"n":18446744073709551616}')
    log(second._replace(attempts=1), "three", level=40)
    log(second._replace(batch=-2), "undone", level=10, fields='{"k":1}')
    return run_id


def items(api: Api, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get(path).body["items"]
    return found


def test_lines_in_the_order_of_their_writing(api: Api, stranger: Api, run_id: str) -> None:
    one, two, three, undone = items(api, f"/runs/{run_id}/logs")
    assert set(one) == {"id", "at", "step", "index", "attempt", "level", "message", "fields"}
    assert (one["step"], one["index"], one["attempt"], one["level"]) == ("first", None, 1, "info")
    assert (one["message"], one["fields"]) == ("one", {"n": 2**64})
    assert (three["step"], three["attempt"], three["level"], three["fields"]) == (
        "second", 2, "error", {},
    )  # fmt: skip
    assert undone["fields"] == {"undo": True, "k": 1}
    assert one["id"] < two["id"] < three["id"] < undone["id"]
    assert stranger.get(f"/runs/{run_id}/logs").status == 404
    assert api.get(f"/runs/{run_id}/logs?step=second&level=error").body["next_cursor"] is None


def test_filters(api: Api, run_id: str) -> None:
    def told(query: str) -> list[str]:
        return [line["message"] for line in items(api, f"/runs/{run_id}/logs?{query}")]

    assert told("step=first") == ["one", "two"]
    assert told("step=second&attempt=2") == ["three"]
    assert told("level=info") == ["one", "two", "three"]
    assert told("level=error") == ["three"]
    assert told("index=0") == []


def test_pages(api: Api, run_id: str) -> None:
    path, seen = f"/runs/{run_id}/logs?limit=3", []
    while True:
        page = api.get(path).body
        seen += [line["message"] for line in page["items"]]
        if page["next_cursor"] is None:
            break
        path = f"/runs/{run_id}/logs?limit=3&cursor={page['next_cursor']}"
    assert seen == ["one", "two", "three", "undone"]


def test_refusals(api: Api, run_id: str) -> None:
    answer = api.get(f"/runs/{run_id}/logs?level=loud&attempt=0&index=x&limit=0&stp=a")
    assert answer.findings == {
        ("/level", "wrong_enum"), ("/attempt", "out_of_range"), ("/index", "out_of_range"),
        ("/limit", "out_of_range"), ("/stp", "unknown_key"),
    }  # fmt: skip
    assert api.get(f"/runs/{run_id}/logs?step=nope").code == "step_not_found"
    assert api.get(f"/runs/{run_id}/logs?cursor=nope").code == "invalid_cursor"
    for bad in ("-1", "0" * 5000):
        answer = api.send("GET", f"/runs/{run_id}/logs", headers={"Last-Event-ID": bad})
        assert answer.findings == {("/Last-Event-ID", "out_of_range")}


def test_a_page_begins_behind_a_line(api: Api, run_id: str) -> None:
    one, *others = items(api, f"/runs/{run_id}/logs")
    assert items(api, f"/runs/{run_id}/logs?last_event_id={one['id']}") == others


@pytest.mark.django_db(transaction=True)
async def test_a_stream_goes_on_until_the_run_has_ended(api: Api, engine: Engine) -> None:
    made = await sync_to_async(begin)(api, engine)
    run_id, (first, second) = made
    await in_the_database(log, first, "one")
    async with following(api, f"/runs/{run_id}/logs") as stream:
        one = await stream.next()
        assert (one.event, one.data["message"]) == (None, "one")
        assert one.ident == one.data["id"]
        await in_the_database(log, first, "two", level=30)
        assert (await stream.next()).data["level"] == "warning"
        await in_the_database(log, second, "three")
        await in_the_database(engine.succeed, [first, second])
        await in_the_database(engine.decide)
        assert [one.data["message"] for one in await stream.rest()] == ["three"]
    async with following(api, f"/runs/{run_id}/logs?follow=true&level=warning") as stream:
        assert [one.data["message"] for one in await stream.rest()] == ["two"]
    async with following(api, f"/runs/{run_id}/logs", last=one.ident) as stream:
        ids = [one.ident for one in await stream.rest()]
        assert len(ids) == 2
    gone = await sync_to_async(api.send)(
        "GET", f"/runs/{run_id}/logs?follow=1", headers={"Last-Event-ID": str(ids[-1])}
    )
    assert gone.status == 204


def begin(api: Api, engine: Engine) -> tuple[str, list[Any]]:
    """A run of two steps, both claimed."""
    slots = [ServerLoad(slot=slot) for slot in range(-1, 16)]
    ServerLoad.objects.bulk_create(slots, ignore_conflicts=True)
    assert api.put("/workflows/pair", PAIR).status == 201
    run_id = str(api.post("/workflows/pair/runs", {}).body["id"])
    return run_id, sorted(engine.claim(), key=lambda claim: claim.ordinal)


async def in_the_database(function: Any, *args: Any, **named: Any) -> None:
    """Call what writes."""
    await sync_to_async(function)(*args, **named)
