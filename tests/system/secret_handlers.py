"""Handlers that give their secret away in every way they can."""

from __future__ import annotations

import base64
import logging
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from orchestrator.handlers import Abort, Continue, Retry, Skip, Snooze, StepContext, handler


def _told(ctx: StepContext, token: str) -> None:
    """Say it aloud."""
    ctx.log.warning("the token is %s", token, extra={"in": f"Bearer {token}", token: [token]})
    try:
        raise ValueError("x" * 9_000 + token)
    except ValueError:
        ctx.log.exception("it failed")
    logging.getLogger("a.library").error("Authorization: Bearer %s", token)
    print("printed", token)
    print("printed to stderr", token, file=sys.stderr)
    ctx.heartbeat({"token": token, "in": f"text {token}"})


def _everywhere(token: str) -> dict[str, Any]:
    return {
        "whole": token,
        "inside": f"Bearer {token}!",
        token: 1,
        "url": f"https://example.org/?t={quote(token, safe='')}",
        "basic": base64.b64encode(f"user:{token}".encode()).decode(),
        "hex": token.encode().hex(),
        "list": [[token]],
        "long": f"{token} " * 2_000,
    }


@handler("test.tell")
async def tell(ctx: StepContext, *, token: str, how: str = "output", **_: Any) -> Any:
    """Return or raise it."""
    _told(ctx, token)
    if how == "error":
        raise ValueError("x" * 3_990 + token + " in the end")
    if how == "retry" and ctx.attempt == 1:
        raise Retry(f"again with {token}", after="10ms")
    if how == "abort":
        raise Abort(f"no use with {token}")
    if how == "skip":
        raise Skip(f"not with {token}")
    if how == "snooze" and ctx.progress is None:
        raise Snooze("10ms")
    if how == "continue":
        return Continue(_everywhere(token))
    return {"length": len(token), **_everywhere(token)}


@handler("test.tell_blocking")
def tell_blocking(ctx: StepContext, *, token: str, how: str = "output") -> Any:
    """The same in a thread, or, with `queue: cpu`, in a process."""
    _told(ctx, token)
    if how == "error":
        raise ValueError(f"it failed with {token}")
    return _everywhere(token)


@handler("test.tell_item")
def tell_item(ctx: StepContext, *, item: Any, token: str) -> Any:
    """Of a map's items some fail, and some only at first."""
    if item == 1:
        raise Abort(f"item with {token}")
    if item == 2 and ctx.attempt == 1:
        raise ValueError(f"not yet with {token}")
    return [item, token]


@handler("test.tell_source")
def tell_source(ctx: StepContext, *, token: str) -> Iterator[Any]:
    """A stream of it."""
    yield from (0, token, {"a": f"is {token}"})


@handler("test.know")
async def know(ctx: StepContext, *, token: str, expected: str) -> bool:
    """Whether it is what is expected."""
    return base64.b64decode(expected[::-1]).decode() == token
