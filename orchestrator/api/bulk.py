"""Bulk submission: lines in, lines out, as they are made."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from typing import IO

import psycopg
from asgiref.sync import sync_to_async
from django.db import Error
from django.http import StreamingHttpResponse
from ninja import Router

from orchestrator.api import documents
from orchestrator.api.bodies import ENVELOPE, lines_of, payload_limit, spool
from orchestrator.api.doors import ApiRequest, door, identify
from orchestrator.api.errors import details
from orchestrator.domain.errors import MillraceError
from orchestrator.selectors.payloads import render
from orchestrator.services.bulk import submit_bulk
from orchestrator.store.release import release
from tenants import fence
from tenants.errors import TenantsError

router = Router(tags=["runs"])
logger = logging.getLogger(__name__)

CHUNK_LINES = 1000
CHUNK_BYTES = 8 * 1024 * 1024
NDJSON = "application/x-ndjson"
SCOPE = "runs:write"
Lines = list[tuple[int, bytes | MillraceError]]


class Unavailable(MillraceError):
    """The database did not answer; whether the line was accepted is not known."""

    code = "unavailable"
    status = 503
    title = "Unavailable"


@router.post(
    "/runs/bulk",
    summary="Submit many runs",
    response={200: None},
    openapi_extra={
        **documents.route(413, body=documents.BULK_LINE, media=NDJSON),
        "description": "NDJSON, a submission a line, at most 100,000; the answer is NDJSON,"
        " a line per line: `{line, id}` or `{line, error}`.",
    },
)
@door(SCOPE)
def submit_lines(request: ApiRequest) -> StreamingHttpResponse:
    """A line per line: `{line, id}` or `{line, error}`, streamed."""
    file = spool(request)
    limit = payload_limit(request.tenant) + ENVELOPE
    return StreamingHttpResponse(_answers(request, file, limit), content_type=NDJSON)


async def _answers(request: ApiRequest, file: IO[bytes], limit: int) -> AsyncIterator[bytes]:
    lines = lines_of(file, limit)
    refused: MillraceError | TenantsError | None = None
    try:
        while chunk := await sync_to_async(_next_chunk)(lines):
            if refused is None:
                try:
                    yield await sync_to_async(_submit)(request, chunk)
                    continue
                except (MillraceError, TenantsError) as error:
                    refused = error
            yield _refusals(chunk, refused)
    finally:
        file.close()


def _next_chunk(lines: Iterator[tuple[int, bytes | MillraceError]]) -> Lines:
    chunk: Lines = []
    size = 0
    for number, text in islice(lines, CHUNK_LINES):
        chunk.append((number, text))
        size += len(text) if isinstance(text, bytes) else 0
        if size > CHUNK_BYTES:
            break
    return chunk


def _submit(request: ApiRequest, chunk: Lines) -> bytes:
    """Make a chunk's runs, as the key, its tenant and their limits are by now: a call may take minutes.

    Raises KeyInvalid, ScopeMissing, TooManyGuesses."""
    try:
        identify(request, SCOPE)
        with fence.within(request.tenant.pk):
            results = submit_bulk(tenant=request.tenant, lines=chunk, actor=request.actor)
    except (Error, psycopg.Error) as error:
        logger.warning("a bulk call's chunk was not made: %s", error)
        return _refusals(chunk, Unavailable())
    finally:
        release()
    return b"".join(
        _line({"line": result.line, "id": result.run_id})
        if result.error is None
        else _line({"line": result.line, "error": details(result.error)})
        for result in results
    )


def _refusals(chunk: Lines, error: MillraceError | TenantsError) -> bytes:
    problem = details(error)
    return b"".join(_line({"line": number, "error": problem}) for number, _ in chunk)


def _line(value: dict[str, object]) -> bytes:
    return (render(value) + "\n").encode()
