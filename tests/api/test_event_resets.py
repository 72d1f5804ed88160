"""Streams of events that were not kept, or of positions that were given out again."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError

from orchestrator.api import events as api_events
from orchestrator.api import tails
from orchestrator.selectors.events import hear
from tenants.models import Tenant
from tests.api.client import Api
from tests.api.happening import (
    alone,
    begun,
    chain,
    execute,
    pages,
    push,
    run_through,
    submit,
    until,
)
from tests.api.streaming import following

__all__ = ["alone", "chain"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.thorough]


def forget_before(seq: int) -> None:
    """What retention does."""
    execute("DELETE FROM event WHERE seq < %s", seq)


async def test_what_retention_took_is_told_by_a_snapshot(api: Api, chain: str) -> None:
    run_id = await sync_to_async(submit)(api)
    await sync_to_async(run_through)()
    last = (await sync_to_async(pages)(api, "/events"))[-1]["id"]
    await sync_to_async(forget_before)(5)
    for position in (0, 3):
        async with following(api, f"/runs/{run_id}/events?last_event_id={position}") as stream:
            (reset,) = await stream.rest()
        assert (reset.event, reset.ident, reset.data["id"]) == ("reset", last, last)
        assert reset.data["run"]["state"] == "succeeded"
    async with following(api, f"/runs/{run_id}/events", 4) as stream:
        assert [one.ident for one in await stream.rest()] == list(range(5, last + 1))
    active = await sync_to_async(submit)(api)
    async with following(api, "/events", 3) as stream:
        reset = await stream.next()
        assert (reset.event, reset.ident) == ("reset", last + 2)
        assert reset.data["active_runs"] == [{"id": active, "workflow": "chain", "state": "queued"}]
        await sync_to_async(run_through)()
        assert (await stream.next()).ident == last + 3, "it goes on"
    page = await sync_to_async(api.get)("/events?limit=1")
    assert page.body["items"][0]["id"] == 5


async def test_a_young_run_is_whole_although_older_events_are_gone(api: Api, chain: str) -> None:
    await sync_to_async(submit)(api)
    await sync_to_async(run_through)()
    run_id = await sync_to_async(submit)(api)
    first = (await sync_to_async(pages)(api, f"/runs/{run_id}/events"))[0]["id"]
    await sync_to_async(forget_before)(first)
    async with following(api, f"/runs/{run_id}/events", 1) as stream:
        assert (await stream.next()).ident == first
    await sync_to_async(forget_before)(1000)
    async with following(api, f"/runs/{run_id}/events") as stream:
        assert (await stream.next()).event == "reset"


async def test_a_position_that_is_not_there_yet_is_reset(api: Api, chain: str) -> None:
    """After a crash PostgreSQL may have lost what it had shown of commits that need not be durable."""
    run_id = await sync_to_async(submit)(api)
    async with following(api, f"/runs/{run_id}/events", 99) as stream:
        assert (await stream.next()).event == "reset"


async def test_positions_that_are_given_out_again_are_noticed(
    api: Api, chain: str, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sync_to_async(submit)(api)
    async with following(api, "/events", 0) as stream:
        await stream.take(2)
        await begun(tenant, 1)
        await sync_to_async(submit)(api)
        await push(tenant)
        await stream.take(2)
        tail = tails.here()._tails[tenant.pk]
        with monkeypatch.context() as away:

            def fail(**_: object) -> None:
                raise OperationalError("gone")

            away.setattr(tails, "hear_newest", fail)
            await sync_to_async(execute)(
                "UPDATE event SET at = at - interval '1 second' WHERE seq = 4"
            )
            tail.wake()
            await until(lambda: tail._reading is None)
        tail.wake()
        assert (await stream.next()).event == "reset"


async def test_an_outage_that_was_seen_in_passing_raises_the_same_doubt(
    api: Api, chain: str, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tails, "POLL_S", 0.02)
    async with following(api, "/events") as stream:
        await begun(tenant, 1)
        await sync_to_async(submit)(api)
        await stream.take(2)
        asked: list[list[int]] = []

        def fail(tenants: list[int]) -> None:
            asked.append(tenants)
            raise OperationalError("gone")

        with monkeypatch.context() as away:
            away.setattr(tails, "last_positions", fail)
            await until(lambda: asked)
            await sync_to_async(execute)(
                "UPDATE event SET at = at - interval '1 second' WHERE seq = 2"
            )
        assert (await stream.next()).event == "reset"


async def test_a_stream_that_was_opened_ahead_of_all_there_is_rests(
    api: Api, chain: str, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        await sync_to_async(submit)(api)
    asked: list[int] = []

    def counted(**what: Any) -> Any:
        asked.append(what["position"])
        return hear(**what)

    monkeypatch.setattr(api_events, "hear", counted)
    async with following(api, "/events") as stream:
        await begun(tenant, 1)
        await sync_to_async(execute)("DELETE FROM event WHERE seq > 2")
        await sync_to_async(execute)("UPDATE tenant_load SET seq = 2")
        tails.here()._tails[tenant.pk].wake()
        reset = await stream.next()
        assert (reset.event, reset.ident) == ("reset", 2)
        await sync_to_async(submit)(api)
        await push(tenant)
        assert [one.ident for one in await stream.take(2)] == [3, 4]
        assert asked == []
