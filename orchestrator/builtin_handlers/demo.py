"""`demo.*`: the handlers of the sample workflows, as examples of how handlers are written.

Nothing is called or charged: each waits as long as its model would take and answers alike."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import AsyncIterator

from orchestrator.handlers import Abort, Continue, Item, StepContext, handler

FIRST_NAMES = ("Ada", "Alan", "Barbara", "Donald", "Edsger", "Frances", "Grace", "Tony")
THEMES = ("light", "dark")


def _number(*parts: object) -> int:
    """A number that is always the same for the same parts."""
    return zlib.crc32(":".join(map(str, parts)).encode())


@handler("demo.fetch_profile")
async def fetch_profile(ctx: StepContext, *, user_id: int | str) -> dict[str, object]:
    """A user's profile, after 200 ms, as from a service."""
    await asyncio.sleep(0.2)
    return {"user_id": user_id, "name": FIRST_NAMES[_number(user_id) % len(FIRST_NAMES)]}


@handler("demo.fetch_preferences")
async def fetch_preferences(ctx: StepContext, *, user_id: int | str) -> dict[str, object]:
    """A user's preferences, after 150 ms."""
    await asyncio.sleep(0.15)
    return {"user_id": user_id, "theme": THEMES[_number("theme", user_id) % len(THEMES)]}


@handler("demo.fetch_activity")
async def fetch_activity(ctx: StepContext, *, user_id: int | str) -> dict[str, object]:
    """What a user did lately, after 300 ms."""
    await asyncio.sleep(0.3)
    return {"user_id": user_id, "visits": _number("visits", user_id) % 100}


@handler("demo.aggregate")
async def aggregate(
    ctx: StepContext,
    *,
    profile: dict[str, object],
    preferences: dict[str, object],
    activity: dict[str, object],
) -> dict[str, object]:
    """One object of what the three fetches gave."""
    return {**profile, **preferences, **activity}


@handler("demo.square")
def square(ctx: StepContext, *, x: int | float) -> int | float:
    """x², with every digit."""
    return x * x


@handler("demo.multiply")
def multiply(ctx: StepContext, *, x: int | float, y: int | float) -> int | float:
    """x·y, with every digit."""
    return x * y


@handler("demo.reserve")
async def reserve(
    ctx: StepContext, *, order_id: int | str, items: list[dict[str, object]]
) -> dict[str, object]:
    """Reserve stock.  `ctx.idempotency_key` is what a real stock service would be given."""
    await asyncio.sleep(0.05)
    if not items:
        raise Abort("an order without items cannot be reserved")
    ctx.log.info("reserved %s items", len(items), extra={"order": order_id})
    return {"order_id": order_id, "reservation": ctx.idempotency_key, "items": len(items)}


@handler("demo.unreserve")
async def unreserve(ctx: StepContext, *, order_id: int | str) -> dict[str, object]:
    """Give reserved stock back."""
    await asyncio.sleep(0.05)
    return {"order_id": order_id, "released": True}


@handler("demo.charge", timeout="30s")
def charge(
    ctx: StepContext, *, order_id: int | str, amount: int | float, fail_first: int = 0
) -> dict[str, object]:
    """Take the money, as a blocking library would; the first `fail_first` attempts fail."""
    time.sleep(0.05)
    if amount <= 0:
        raise Abort(f"cannot charge {amount}")
    if ctx.attempt <= fail_first:
        ctx.log.warning("the payment service does not answer", extra={"order": order_id})
        raise ConnectionError("the payment service did not answer")
    ctx.log.info("charged %s", amount, extra={"order": order_id})
    return {"order_id": order_id, "charged": amount, "payment": ctx.idempotency_key}


@handler("demo.refund")
async def refund(ctx: StepContext, *, order_id: int | str) -> dict[str, object]:
    """Pay back."""
    await asyncio.sleep(0.05)
    return {"order_id": order_id, "refunded": True}


@handler("demo.score")
async def score(
    ctx: StepContext, *, order_id: int | str, reachable: bool = True
) -> dict[str, object]:
    """Ask a service how risky an order is; it may be out of reach."""
    await asyncio.sleep(0.05)
    if not reachable:
        raise ConnectionError("the risk service did not answer")
    return {"risk": _number("risk", order_id) % 100 / 100}


@handler("demo.ship")
async def ship(
    ctx: StepContext, *, order_id: int | str, express: bool = False
) -> dict[str, object]:
    """Hand over to a carrier."""
    await asyncio.sleep(0.05)
    return {"order_id": order_id, "carrier": "express" if express else "standard"}


@handler("demo.pickup_instead")
async def pickup_instead(
    ctx: StepContext, *, order_id: int | str, reason: str
) -> dict[str, object]:
    """What to do with an order that could not be shipped: it is fetched from the shop."""
    await asyncio.sleep(0.02)
    raise Continue({"order_id": order_id, "carrier": None, "pickup": True, "reason": reason})


@handler("demo.notify")
async def notify(ctx: StepContext, *, order_id: int | str, text: str) -> dict[str, object]:
    """Tell the customer."""
    await asyncio.sleep(0.02)
    return {"order_id": order_id, "text": text}


@handler("demo.resize", queue="cpu")
def resize(ctx: StepContext, *, item: object, size: int = 128) -> dict[str, object]:
    """A little computing for each item, in a process of its own."""
    checksum = zlib.crc32(str(item).encode() * 1000)
    return {"item": item, "size": size, "checksum": checksum}


@handler("demo.provision")
async def provision(ctx: StepContext, *, customer: str) -> dict[str, object]:
    """Prepare a customer's account; it is ready when asked for the third time."""
    await asyncio.sleep(0.02)
    return {"customer": customer, "ready": ctx.repetition >= 3}


@handler("demo.customers")
async def customers(
    ctx: StepContext, *, count: int = 1_000, after: int | None = None
) -> AsyncIterator[Item]:
    """So many customers, for a map to read, behind the last one that was kept."""
    for number in range((after or 0) + 1, count + 1):
        yield Item({"id": number, "name": FIRST_NAMES[number % len(FIRST_NAMES)]}, cursor=number)
