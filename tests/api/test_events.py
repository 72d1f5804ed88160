"""Events as pages and as streams: order, resuming, filters, ends, and what a stream may not see."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async

from orchestrator.api.streams import EVENT_STREAM
from orchestrator.domain import jsonvalue
from orchestrator.selectors.events import told, view
from orchestrator.selectors.payloads import render
from orchestrator.store import connection as link
from orchestrator.store import events as rows
from tenants.models import Tenant
from tests.api.client import Api
from tests.api.happening import (
    CHAIN,
    alone,
    begun,
    chain,
    execute,
    pages,
    push,
    run_through,
    submit,
)
from tests.api.streaming import following
from tests.engine import Engine

__all__ = ["alone", "chain"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.thorough]


def test_what_is_sent_reads_as_the_page_does(api: Api, chain: str, tenant: Tenant) -> None:
    submit(api)
    run_through()
    query = rows.EventQuery()
    pairs = [
        rows.after(
            link(), tenant_id=tenant.pk, position=0, query=query, limit=100, texts=texts
        ).rows
        for texts in (True, False)
    ]
    changes: list[dict[str, Any]] = [
        {},
        {"actor": 'é"\\', "data": '{"a": [1, 2.50, "\\u2028 \\n"], "b": 18446744073709551617}'},
        {"batch": -2, "data": '{"code": "error"}'},
        {"batch": -1, "attempt": 2},
        {"version_id": None},
    ]
    for text, typed in zip(*pairs, strict=True):
        for change in changes:
            sent = told(text._replace(**change)).text
            assert sent == render(view(typed._replace(**change)))
            jsonvalue.decode(sent)


def test_pages_of_a_tenant_and_of_a_run_are_in_the_order_of_commits(api: Api, chain: str) -> None:
    first, second = submit(api), submit(api)
    run_through()
    every = pages(api, "/events")
    assert [one["id"] for one in every] == list(range(1, len(every) + 1))
    assert pages(api, "/events", 1000) == every
    for run_id in (first, second):
        mine = [one for one in every if one["run_id"] == run_id]
        assert pages(api, f"/runs/{run_id}/events") == mine
        assert pages(api, f"/events?run_id={run_id}") == mine
        assert mine[0]["type"] == "run.queued"
        assert mine[-1]["type"] == "run.succeeded"
    assert [one["id"] for one in pages(api, "/events?last_event_id=5")] == [
        one["id"] for one in every[5:]
    ]


def test_pages_are_narrowed(api: Api, chain: str) -> None:
    assert api.put("/workflows/other", CHAIN).status == 201
    submit(api)
    run_id = submit(api, "other")
    run_through()
    every = pages(api, "/events")
    ends = [one for one in every if one["type"] == "run.succeeded"]
    steps = [one for one in every if one["type"].startswith("step.")]
    theirs = [one for one in every if one["run_id"] == run_id]
    assert pages(api, "/events?type=run.succeeded") == ends
    assert pages(api, "/events?type=step.*") == steps
    assert pages(api, "/events?type=step.*,run.succeeded&type=run.queued") == [
        one for one in every if one["type"] != "run.running"
    ]
    assert pages(api, "/events?workflow=other") == theirs
    assert pages(api, f"/events?workflow=chain&run_id={run_id}") == []
    assert pages(api, f"/events?run_id={uuid4()}") == []


def test_a_narrow_search_looks_at_a_stretch_at_a_time(
    api: Api, chain: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "WINDOW", 4)
    submit(api)
    run_through()
    first = api.get("/events?type=run.succeeded").body
    assert first["items"] == []
    assert first["next_cursor"] is not None
    (end,) = pages(api, "/events?type=run.succeeded")
    assert end["type"] == "run.succeeded"


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("type=run.nonsense", "/type"),
        ("type=nonsense", "/type"),
        ("type=alert.A1", "/type"),
        ("type=" + ",".join(["run.*"] * 51), "/type"),
        ("run_id=12", "/run_id"),
        ("last_event_id=x", "/last_event_id"),
        ("last_event_id=-1", "/last_event_id"),
        ("last_event_id=99999999999999999999", "/last_event_id"),
        ("nonsense=1", "/nonsense"),
    ],
)
def test_a_bad_question_is_refused_at_its_place(api: Api, query: str, path: str) -> None:
    for headers in ({}, {"Accept": EVENT_STREAM}):
        answer = api.send("GET", f"/events?{query}", headers=headers)
        assert (answer.status, {place for place, _ in answer.findings}) == (422, {path})


def test_a_bad_header_is_refused(api: Api) -> None:
    for bad in ("12a", "0" * 5000):
        answer = api.send("GET", "/events", headers={"Last-Event-ID": bad})
        assert (answer.status, answer.findings) == (422, {("/Last-Event-ID", "out_of_range")})


def test_alerts_types_may_be_asked_for(api: Api) -> None:
    assert pages(api, "/events?type=alert.firing,alert.*") == []


@pytest.mark.parametrize(
    ("accept", "streamed"),
    [
        ("text/event-stream", True),
        ("application/json, text/event-stream;q=0.5", True),
        ("text/event-stream;q=0", False),
        ("*/*", False),
        ("application/json", False),
    ],
)
def test_only_who_asks_for_a_stream_gets_one(
    api: Api, chain: str, accept: str, streamed: bool
) -> None:
    for path in ("/events", f"/runs/{submit(api)}/events"):
        answer = api.response("GET", path, headers={"Accept": accept})
        assert answer.headers["Content-Type"].startswith(EVENT_STREAM) is streamed


async def test_a_runs_stream_tells_all_from_its_beginning_and_ends_with_it(
    api: Api, chain: str, tenant: Tenant
) -> None:
    run_id = await sync_to_async(submit)(api)
    async with following(api, f"/runs/{run_id}/events") as stream:
        assert [one.event for one in await stream.take(2)] == ["run.queued", "step.ready"]
        assert stream.response.headers["Cache-Control"] == "no-cache, no-transform"
        await sync_to_async(submit)(api)  # another's events are not told
        await sync_to_async(run_through)()
        await push(tenant)
        told = await stream.rest()
    every = await sync_to_async(pages)(api, f"/runs/{run_id}/events")
    assert [one.data for one in told] == every[2:]
    assert [(one.ident, one.event) for one in told] == [(e["id"], e["type"]) for e in every[2:]]
    assert told[-1].event == "run.succeeded"


async def test_without_pushes_a_stream_is_as_complete(api: Api, chain: str) -> None:
    run_id = await sync_to_async(submit)(api)
    async with following(api, f"/runs/{run_id}/events") as stream:
        await stream.take(2)
        await sync_to_async(run_through)()
        assert (await stream.rest())[-1].event == "run.succeeded"


async def test_a_stream_resumes_where_it_was_at_any_place(api: Api, chain: str) -> None:
    run_id = await sync_to_async(submit)(api)
    await sync_to_async(run_through)()
    every = [one["id"] for one in await sync_to_async(pages)(api, f"/runs/{run_id}/events")]
    for place, last in enumerate(every[:-1]):
        async with following(api, f"/runs/{run_id}/events", last) as stream:
            assert [one.ident for one in await stream.rest()] == every[place + 1 :]
    async with following(api, f"/runs/{run_id}/events?last_event_id=1", every[-2]) as stream:
        assert [one.ident for one in await stream.rest()] == every[-1:], "the header is newer"
    headers = {"Accept": EVENT_STREAM, "Last-Event-ID": str(every[-1])}
    answer = await sync_to_async(api.response)("GET", f"/runs/{run_id}/events", headers=headers)
    assert answer.status_code == 204, "there is nothing to come back for"


async def test_a_tenants_stream_begins_now_and_follows_several(
    api: Api, chain: str, tenant: Tenant
) -> None:
    await sync_to_async(submit)(api)
    async with (
        following(api, "/events") as every,
        following(api, "/events?type=run.*") as ends,
        following(api, "/events?workflow=other") as none,
        following(api, "/events", 1) as behind,
    ):
        assert (await behind.next()).ident == 2
        await begun(tenant, 4)
        await sync_to_async(run_through)()
        await push(tenant)
        heard = [one.event for one in await every.take(7)]
        assert heard[-1] == "run.succeeded"
        assert [one.event for one in await ends.take(2)] == ["run.running", "run.succeeded"]
        assert [one.event for one in await behind.take(7)] == heard
        assert none._messages.empty()


# -- ends ----------------------------------------------------------------------------------------


async def test_a_stream_waits_for_the_undo_and_a_retry_brings_it_back(
    api: Api, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    undo = {"handler": "core.echo", "args": {}}
    steps = [{"name": "a", "handler": "core.echo", "undo": undo}]
    await sync_to_async(api.put)("/workflows/undone", {"steps": steps})
    run_id = await sync_to_async(submit)(api, "undone")
    engine = Engine()
    await sync_to_async(engine.run_all)()
    path = f"/runs/{run_id}/events"
    async with following(api, path) as stream:
        ended = await stream.rest()
    assert ended[-1].event == "run.succeeded"
    assert (await sync_to_async(api.post)(f"/runs/{run_id}/undo")).status == 200
    async with following(api, path, ended[-1].ident) as stream:
        ready = await stream.next()
        assert (ready.event, ready.data["data"]) == ("step.ready", {"undo": True})
        await sync_to_async(engine.run_all)()
        assert [one.event for one in await stream.rest()] == ["step.running", "step.succeeded"]


async def test_a_run_that_was_retried_goes_on(api: Api, chain: str) -> None:
    run_id = await sync_to_async(submit)(api)
    engine = Engine()
    (claim,) = await sync_to_async(engine.claim)()
    await sync_to_async(engine.fail)(claim)
    path = f"/runs/{run_id}/events"
    async with following(api, path) as stream:
        ended = await stream.rest()
    assert ended[-1].event == "run.failed"
    assert (await sync_to_async(api.post)(f"/runs/{run_id}/retry", {})).status == 200
    async with following(api, path, ended[-1].ident) as stream:
        await sync_to_async(engine.run_all)()
        told = [one.event for one in await stream.rest()]
    assert (told[0], told[-1]) == ("run.running", "run.succeeded")


async def test_a_stream_ends_when_its_run_is_no_longer_kept(api: Api, chain: str) -> None:
    run_id = await sync_to_async(submit)(api)
    source_of = await sync_to_async(api.response)(
        "GET", f"/runs/{run_id}/events", headers={"Accept": EVENT_STREAM}
    )
    for table in ("step_run", "run"):
        await sync_to_async(execute)(f"DELETE FROM {table}")
    follow = source_of._source()
    assert [(await follow.read()).ended for _ in range(2)] == [False, True]
    follow.close()
