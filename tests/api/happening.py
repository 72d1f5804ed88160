"""A tenant whose runs make events, and streams that follow them in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.layers import channel_layers
from django.db import connection
from pytest_django import Settings

from orchestrator.api import tails
from orchestrator.broadcast import tell
from orchestrator.models import ServerLoad
from orchestrator.store import connection as link
from orchestrator.store import events as rows
from tenants import keys
from tenants.models import Tenant
from tests.api.client import Api
from tests.engine import Engine

CHAIN = {
    "steps": [
        {"name": "one", "handler": "core.echo", "args": {"value": 1}},
        {"name": "two", "handler": "core.echo", "args": {"value": 2}, "depends_on": ["one"]},
    ]
}


@pytest.fixture(autouse=True)
def alone(settings: Settings) -> None:
    """Pushes stay in this process; slots of the server are there."""
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    channel_layers.backends.clear()
    keys.forget()
    slots = [ServerLoad(slot=slot) for slot in range(-1, 16)]
    ServerLoad.objects.bulk_create(slots, ignore_conflicts=True)


@pytest.fixture
def chain(api: Api) -> str:
    assert api.put("/workflows/chain", CHAIN).status == 201
    return "chain"


def submit(api: Api, workflow: str = "chain") -> str:
    answer = api.post(f"/workflows/{workflow}/runs", {"input": {}})
    assert answer.status == 202, answer.text
    return str(answer.body["id"])


def run_through(engine: Engine | None = None) -> None:
    (engine or Engine()).run_all()


def pages(api: Api, path: str, limit: int = 3) -> list[dict[str, Any]]:
    """Everything that pages hold."""
    found: list[dict[str, Any]] = []
    joint = "&" if "?" in path else "?"
    more = ""
    while True:
        answer = api.get(f"{path}{joint}limit={limit}{more}")
        assert answer.status == 200, answer.text
        found += answer.body["items"]
        if answer.body["next_cursor"] is None:
            return found
        more = f"&cursor={answer.body['next_cursor']}"


async def push(tenant: Tenant) -> None:
    """What the clock would say."""
    seq = await sync_to_async(rows.last)(await sync_to_async(link)(), tenant_id=tenant.pk)
    await tell(tenant.pk, [], seq)


async def until(condition: Callable[[], object]) -> None:
    """Until it holds."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  (nobody tells)
            await asyncio.sleep(0.01)


async def begun(tenant: Tenant, count: int) -> None:
    """Until so many streams of a tenant listen."""

    def ready() -> bool:
        tail = tails.here()._tails.get(tenant.pk)
        found = [one for one in tail.followers if one.behind is not None] if tail else []
        return len(found) == count

    await until(ready)


def execute(statement: str, *values: Any) -> None:
    """Change what no service does."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
