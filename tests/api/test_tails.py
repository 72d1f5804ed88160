"""Who follows a tenant's events, over a channel layer that processes share."""

from __future__ import annotations

import asyncio

import pytest
from channels.layers import channel_layers, get_channel_layer

from orchestrator.api.tails import Tails
from orchestrator.store.events import EventQuery


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 5, 8, 13, 21, 34])
async def test_who_leaves_at_once_leaves_nothing_behind(servers: None, steps: int) -> None:
    """However far listening has come: it ends, and the layer keeps no channel of it."""
    channel_layers.backends.clear()
    before = asyncio.all_tasks()
    tails = Tails()
    tail, follower = tails.follow(7, EventQuery())
    begun = asyncio.all_tasks() - before
    for _ in range(steps):
        await asyncio.sleep(0)
    tails.leave(tail, follower)
    async with asyncio.timeout(30):
        await asyncio.gather(*begun)
    layer = get_channel_layer()._get_layer()
    assert (layer.channels, layer.groups) == ({}, {})


async def test_who_comes_while_the_last_one_leaves_is_heard(servers: None) -> None:
    channel_layers.backends.clear()
    tails = Tails()
    tails.leave(*tails.follow(7, EventQuery()))
    tail, follower = tails.follow(8, EventQuery())
    layer = get_channel_layer()._get_layer()
    async with asyncio.timeout(30):
        while len(layer.groups) < 2:  # noqa: ASYNC110 - the layer tells nobody
            await asyncio.sleep(0.01)
    assert {name.rpartition("__")[2].rpartition(".")[2] for name in layer.groups} == {"8"}
    begun = [task for task in asyncio.all_tasks() if "Tails" in repr(task)]
    assert len(begun) == 3, "one asks, one hears, and one receives"
    tails.leave(tail, follower)
    async with asyncio.timeout(30):
        await asyncio.gather(*begun, return_exceptions=True)
    assert (layer.channels, layer.groups) == ({}, {})
