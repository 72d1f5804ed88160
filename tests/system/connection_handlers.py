"""Handlers that use their tenant's connection, in each of the three kinds."""

from __future__ import annotations

import time

from orchestrator.handlers import StepContext, handler


@handler("test.connection_async")
async def connect_async(ctx: StepContext) -> dict[str, object]:
    async with ctx.connection() as connection:
        await connection.execute("SELECT 1")
    connection = await ctx.connection()
    row = await (await connection.execute("SELECT current_user::text, pg_backend_pid()")).fetchone()
    return {"role": row[0], "pid": row[1]}


@handler("test.connection_blocking")
def connect_blocking(ctx: StepContext) -> dict[str, object]:
    row = ctx.connection().execute("SELECT current_user::text, pg_backend_pid()").fetchone()
    return {"role": row[0], "pid": row[1]}


@handler("test.connection_cpu", queue="cpu")
def connect_cpu(ctx: StepContext) -> dict[str, object]:
    row = ctx.connection().execute("SELECT current_user::text, pg_backend_pid()").fetchone()
    return {"role": row[0], "pid": row[1]}


@handler("test.query_blocking")
def query_blocking(ctx: StepContext, *, query: str) -> None:
    ctx.connection().execute(query)


@handler("test.query_cpu", queue="cpu")
def query_cpu(ctx: StepContext, *, query: str) -> None:
    ctx.connection().execute(query)


@handler("test.hold_connection")
def hold(ctx: StepContext, *, ms: int) -> int:
    """Use it for so long; how many sessions of the role there are meanwhile."""
    connection = ctx.connection()
    time.sleep(ms / 1000)
    row = connection.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE usename = current_user AND state = 'active'"
    ).fetchone()
    return int(row[0])
