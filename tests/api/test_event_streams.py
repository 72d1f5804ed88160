"""Streams of events: bounds, who may listen, other sources."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError
from django.test import RequestFactory

from orchestrator.api import events as api_events
from orchestrator.api import streams, tails
from orchestrator.api.polled import Piece, Polled
from orchestrator.api.streams import EVENT_STREAM, Batch, frame
from orchestrator.conf import conf
from orchestrator.selectors.events import hear
from orchestrator.store import events as rows
from tenants import keys
from tenants.actors import SYSTEM
from tenants.models import Tenant
from tenants.services import create_api_key, revoke_api_key, suspend
from tests.api.client import Api
from tests.api.happening import (
    CHAIN,
    alone,
    begun,
    chain,
    execute,
    push,
    run_through,
    submit,
    until,
)
from tests.api.streaming import following

__all__ = ["alone", "chain"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.thorough]

# -- bounds --------------------------------------------------------------------------------------


def test_a_tenants_first_events_are_not_missed_by_who_is_just_looking(
    api: Api, chain: str, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted: list[str] = []

    def meanwhile(look: Callable[..., Any]) -> Callable[..., Any]:
        def looks(*args: Any, **kwargs: Any) -> Any:
            found = look(*args, **kwargs)
            submitted.extend([] if submitted else [submit(api)])
            return found

        return looks

    for name in ("after", "oldest"):
        monkeypatch.setattr(rows, name, meanwhile(getattr(rows, name)))
    first, second = (
        hear(tenant=tenant, run=None, query=rows.EventQuery(), position=0, limit=10)
        for _ in range(2)
    )
    assert not first.missed
    assert [one.seq for one in second.events] == [1, 2]


async def test_a_slow_reader_holds_a_page_and_nobody_else(
    api: Api, chain: str, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tails, "HELD", 10)
    async with (
        following(api, "/events", 0) as slow,
        following(api, "/events", 0) as slower,
        following(api, "/events", 0) as quick,
    ):
        await begun(tenant, 3)
        slow.reading.clear()
        slower.reading.clear()
        for _ in range(5):
            await sync_to_async(submit)(api)
            await push(tenant)
            await sync_to_async(run_through)()
            await push(tenant)
            assert (await quick.take(9))[-1].event == "run.succeeded"
        for follower in tails.here()._tails[tenant.pk].followers:
            assert len(follower._waiting) <= 10
        slow.reading.set()
        assert [one.ident for one in await slow.take(45)] == list(range(1, 46))
        slower.reading.set()
        assert [one.ident for one in await slower.take(45)] == list(range(1, 46))


async def test_no_more_streams_than_a_tenant_and_a_process_may_have(
    api: Api, tenant: Tenant, stranger: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = replace(conf(), streams=3, tenant_streams=2)
    monkeypatch.setattr(streams, "conf", lambda: few)
    async with (
        following(api, "/events") as first,
        following(api, "/events") as second,
        following(api, "/events") as third,
    ):
        async with asyncio.timeout(30):
            await third.ended.wait()
        assert third.status == 429
        problem = json.loads(third.body)
        assert (problem["code"], problem["quota"], problem["value"], problem["use"]) == (
            "over_quota",
            "streams",
            2,
            2,
        )
        assert problem["retry_after"] >= 1
        async with (
            following(stranger, "/events") as fourth,
            following(stranger, "/events") as fifth,
        ):
            async with asyncio.timeout(30):
                await fifth.ended.wait()
            assert json.loads(fifth.body)["quota"] == "server_streams"
            assert not fourth.ended.is_set()
        assert not first.ended.is_set()
        second.leave()
        await until(lambda: streams.Seats.here()._taken[tenant.pk] == 1)
        async with following(api, "/events") as again:
            await begun(tenant, 2)
            assert not again.ended.is_set()


async def test_silence_is_broken_by_comments(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT_S", 0.05)
    async with following(api, "/events") as stream:
        await until(lambda: stream.comments >= 3)


async def test_a_stream_outlives_a_database_that_does_not_answer(
    api: Api, chain: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "AGAIN_S", 0.01)
    run_id = await sync_to_async(submit)(api)
    failures = iter(range(3))

    def sometimes(**what: Any) -> Any:
        if next(failures, None) is not None:
            raise OperationalError("gone")
        return hear(**what)

    monkeypatch.setattr(api_events, "hear", sometimes)
    async with following(api, f"/runs/{run_id}/events") as stream:
        assert (await stream.next()).event == "run.queued"
        assert next(failures, None) is None


async def test_a_fault_ends_one_stream_alone(
    api: Api, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: Any) -> Any:
        raise ValueError("a fault")

    async with following(api, "/events") as other:
        await begun(tenant, 1)
        with monkeypatch.context() as broken:
            broken.setattr(api_events, "hear", fail)
            async with following(api, "/events", 0) as stream:
                assert await stream.rest() == []
        assert not other.ended.is_set()


# -- who may -------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["revoked", "suspended", "deleted"])
async def test_a_stream_ends_soon_when_its_key_no_longer_counts(
    tenant: Tenant, api: Api, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "CHECK_S", 0.05)
    key, raw = await sync_to_async(create_api_key)(tenant=tenant, scopes=None, actor=SYSTEM)
    async with following(Api(raw), "/events") as stream:
        await until(lambda: stream.status)
        if how == "revoked":
            await sync_to_async(revoke_api_key)(key=key, actor=SYSTEM)
        elif how == "suspended":
            await sync_to_async(suspend)(tenant=tenant, reason="unpaid", actor=SYSTEM)
        else:
            await sync_to_async(forget_key)(key.pk)
        assert await stream.rest() == []
    if how == "suspended":
        headers = {"Accept": EVENT_STREAM}
        answer = await sync_to_async(Api(raw).send)("GET", "/events", headers=headers)
        assert (answer.status, answer.code) == (403, "tenant_suspended")


def forget_key(pk: object) -> None:
    """As when its tenant is deleted."""
    execute("DELETE FROM api_key WHERE id = %s", pk)
    keys.forget()


async def test_a_database_that_does_not_answer_ends_no_stream(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "CHECK_S", 0.02)
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()

    def fail(*_: object, **__: object) -> None:
        loop.call_soon_threadsafe(asked.set)
        raise OperationalError("gone")

    async with following(api, "/events") as stream:
        monkeypatch.setattr(keys, "authenticate", fail)
        async with asyncio.timeout(30):
            await asked.wait()
        await asyncio.sleep(0.1)
        assert not stream.ended.is_set()


async def test_streams_are_not_told_of_other_tenants(
    api: Api, stranger: Api, chain: str, tenant: Tenant
) -> None:
    assert (await sync_to_async(stranger.put)("/workflows/chain", CHAIN)).status == 201
    async with following(api, "/events", 0) as mine, following(stranger, "/events", 0) as theirs:
        run_id = await sync_to_async(submit)(api)
        await push(tenant)
        assert [one.data["run_id"] for one in await mine.take(2)] == [run_id] * 2
        other = await sync_to_async(submit)(stranger)
        assert [one.data["run_id"] for one in await theirs.take(2)] == [other] * 2
    for path in (f"/runs/{run_id}/events", f"/runs/{uuid4()}/events"):
        headers = {"Accept": EVENT_STREAM}
        answer = await sync_to_async(stranger.send)("GET", path, headers=headers)
        assert (answer.status, answer.code) == (404, "run_not_found")


async def test_an_event_without_a_run_is_told(api: Api, tenant: Tenant) -> None:
    await sync_to_async(put_alert)(tenant)
    async with following(api, "/events?type=alert.*", 0) as stream:
        told = await stream.next()
        await begun(tenant, 1)
        await sync_to_async(put_alert)(tenant)
        again = await stream.next()
    assert (told.event, told.data["run_id"], told.data["step"]) == ("alert.firing", None, None)
    assert told.data["data"] == {"rule": "error-rate"}
    assert again.ident == 2


def put_alert(tenant: Tenant) -> None:
    """What alerting writes."""
    execute(
        "WITH l AS (INSERT INTO tenant_load (tenant_id, seq) VALUES (%s, 1)"
        " ON CONFLICT (tenant_id) DO UPDATE SET seq = tenant_load.seq + 1 RETURNING tenant_id, seq)"
        " INSERT INTO event (tenant_id, seq, at, type, data) SELECT tenant_id, seq,"
        " clock_timestamp(), 'alert.firing', '{\"rule\":\"error-rate\"}' FROM l",
        tenant.pk,
    )


# -- other sources -------------------------------------------------------------------------------


async def test_any_source_may_be_polled(tenant: Tenant) -> None:
    lines = ["a", "b\nc", "d"]

    def read(cursor: int) -> Piece[int]:
        batch = Batch([frame(lines[cursor], ident=cursor)], ended=cursor == len(lines) - 1)
        return Piece(batch, cursor + 1)

    request: Any = RequestFactory().get("/", headers={"Authorization": "Bearer x"})
    request.tenant = tenant
    source = Polled(request, read, 0, every_s=0.001)
    made = streams.stream(request, lambda: source, scope="runs:read", first=frame("{}"))
    sent: list[bytes] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message.get("body", b""))

    await made.serve(asyncio.Event().wait, send)
    text = b"".join(sent).decode()
    assert text.endswith("id: 0\ndata: a\n\nid: 1\ndata: b\ndata: c\n\nid: 2\ndata: d\n\n")
