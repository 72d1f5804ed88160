"""`core.sql`: one statement on the tenant's own connection.

Values reach the statement by placeholders alone, and what it answers is bounded before it is held:
what arrives is counted as it is read, so that one huge row is not read to its end either."""

from __future__ import annotations

import asyncio
import datetime as dt
import math
import random
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import psycopg
from psycopg import errors
from psycopg.pq import TransactionStatus
from psycopg.types.json import Jsonb

from orchestrator.domain import jsonvalue
from orchestrator.handlers import Abort, StepContext, handler
from tenants.connections import AnswerTooLarge

MOST_ROWS = 100_000
LARGEST_ANSWER = 16 * 1024 * 1024
LONGEST_QUERY = 100_000
ROOM = 64 * 1024
ROOM_PER_ROW = 8
"""What the protocol may add to an answer's bytes, and to those of a row in JSON."""
CONFLICTS = (errors.SerializationFailure, errors.DeadlockDetected)
"""Nothing was done: the same may be tried at once."""
TRIES = 3
AWAY = ("08", "53000", "53100", "53200", "53300", "57P")
"""SQLSTATEs, or their beginnings, of a server that is away, full or being stopped: try again later."""
EXACT_DIGITS = 15
"""Of a decimal number that a JSON number of 64 bits keeps."""


TOO_LARGE = "core.sql: the answer is larger than {:,} bytes (max_bytes)"


class SqlFailed(Exception):
    """The server could not do it now; the step's retry policy decides."""


class SqlRefused(Abort):
    """The statement is wrong, or not allowed: the same would fail again."""


@handler("core.sql", constant=("query",))
async def sql(
    ctx: StepContext,
    *,
    query: str,
    params: list[object] | Mapping[str, object] | None = None,
    max_rows: int = 1_000,
    max_bytes: int = 1024 * 1024,
) -> dict[str, object]:
    """`{rows, row_count}`: `rows` are objects by column, `row_count` what the server counted.

    `params` fills the statement's placeholders: a list `%s`, an object `%(name)s`; a plain per cent
    sign is `%%`.  The statement is one transaction: where more rows or bytes come than allowed, or it
    fails, nothing of it has happened.  Conflicts with other transactions are tried again."""
    if not str(query).strip() or len(query) > LONGEST_QUERY:
        raise Abort("core.sql: query must be a statement")
    if not 0 <= max_rows <= MOST_ROWS:
        raise Abort(f"core.sql: max_rows must be from 0 to {MOST_ROWS:,}")
    if not 0 < max_bytes <= LARGEST_ANSWER:
        raise Abort(f"core.sql: max_bytes must be from 1 to {LARGEST_ANSWER:,}")
    values = _values(params)
    for tried in range(1, TRIES + 1):
        try:
            async with ctx.connection() as connection:
                found = await _run(connection, query, values, max_rows, max_bytes)
            ctx.log.debug("%s rows", found["row_count"])
            return found
        except CONFLICTS as error:
            if tried == TRIES:
                raise SqlFailed(_said(error)) from None
        except AnswerTooLarge:
            raise Abort(TOO_LARGE.format(max_bytes)) from None
        except psycopg.Error as error:
            raise _failure(error) from None
        await asyncio.sleep(random.uniform(0.01, 0.05) * tried)  # noqa: S311  (spread, no secret)
    raise AssertionError


async def _run(
    connection: Any, query: str, values: object, max_rows: int, max_bytes: int
) -> dict[str, object]:
    """The statement and its answer, in a transaction of its own."""
    connection.most_bytes = max_bytes + ROOM + ROOM_PER_ROW * max_rows
    async with connection.transaction(), connection.cursor() as cursor:
        # prepared, so that it is one statement: the protocol takes no second one behind a semicolon
        try:
            await cursor.execute(query, values, prepare=True)
        except psycopg.ProgrammingError:
            if connection.info.transaction_status == TransactionStatus.ACTIVE:  # it was a COPY
                await connection.close()
            raise
        if cursor.description is None:
            return {"rows": [], "row_count": max(cursor.rowcount, 0)}
        if cursor.rowcount > max_rows:
            raise Abort(f"core.sql: there are more than {max_rows:,} rows (max_rows)")
        names = [column.name for column in cursor.description]
        if len(set(names)) < len(names):
            raise Abort("core.sql: two columns have one name: give one of them another (AS)")
        rows = [dict(zip(names, map(_json, row), strict=True)) for row in await cursor.fetchall()]
        if len(jsonvalue.encode(rows)) > max_bytes:
            raise Abort(TOO_LARGE.format(max_bytes))
        return {"rows": rows, "row_count": len(rows)}


def _values(params: object) -> object:
    """The values of the placeholders, as psycopg takes them."""
    if params is None:
        return None
    if isinstance(params, list):
        return [_value(one) for one in params]
    if isinstance(params, Mapping):
        return {name: _value(one) for name, one in params.items()}
    raise Abort("core.sql: params must be a list (for %s) or an object (for %(name)s)")


def _value(value: object) -> object:
    """A list of plain values is an array; an object, or a list with anything else in it, is jsonb."""
    if isinstance(value, Mapping) or (
        isinstance(value, list) and any(isinstance(one, (list, Mapping)) for one in value)
    ):
        return Jsonb(value, dumps=jsonvalue.encode)
    return value


def _json(value: object) -> object:
    """What PostgreSQL answered, as JSON: numbers that JSON cannot hold exactly, and all other types, as text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Decimal):
        return _number(value)
    if isinstance(value, dt.datetime):
        if value.tzinfo is None:
            return value.isoformat(timespec="microseconds")
        at = value.astimezone(dt.UTC)
        return at.isoformat(timespec="microseconds").replace("+00:00", "Z")
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, dt.timedelta):
        return value.total_seconds()
    if isinstance(value, (bytes, memoryview)):
        return bytes(value).hex()
    if isinstance(value, (list, tuple)):
        return [_json(one) for one in value]
    if isinstance(value, dict):
        return {str(key): _json(one) for key, one in value.items()}
    return str(value)


def _number(value: Decimal) -> object:
    if not value.is_finite():
        return str(value)
    if value == value.to_integral_value() and value.adjusted() < 4_300:
        return int(value)
    return float(value) if len(value.as_tuple().digits) <= EXACT_DIGITS else str(value)


def _failure(error: psycopg.Error) -> Exception:
    """What a failure comes to: another attempt by the step's policy, or the end."""
    state = error.sqlstate
    away = state.startswith(AWAY) if state else isinstance(error, psycopg.OperationalError)
    return (SqlFailed if away else SqlRefused)(_said(error))


def _said(error: psycopg.Error) -> str:
    """The server's words, behind the SQLSTATE."""
    state, words = error.sqlstate, error.diag.message_primary or str(error).strip()
    detail = f" ({error.diag.message_detail})" if error.diag.message_detail else ""
    where = f"{state} {type(error).__name__}: " if state else ""
    return f"core.sql: {where}{words}{detail}"
