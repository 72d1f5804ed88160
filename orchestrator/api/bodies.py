"""Bodies in: read within the tenant's limit, and as JSON that keeps every digit."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import IO

from django.http import HttpRequest

from orchestrator.api.doors import ApiRequest
from orchestrator.domain import jsonvalue
from orchestrator.domain.errors import InvalidRequest, MillraceError, Problem, TooLarge
from orchestrator.services.bulk import unreadable
from tenants.models import Tenant

ENVELOPE = 64 * 1024
"""What a body may be larger than the payload in it."""
MOST_LINES = 100_000
BLOCK = 1024 * 1024
IN_MEMORY = 4 * 1024 * 1024


def payload_limit(tenant: Tenant) -> int:
    """Bytes that a payload of the tenant may have.

    The tenant comes with its key, which is read anew each second: so is its quota."""
    return tenant.quota.max_payload_bytes


def read_json(request: ApiRequest, *, default: object = None) -> object:
    """The body's value; `default` for an empty one.

    Raises TooLarge, MalformedJson, DepthExceeded, InvalidRequest (what JSON can say but nobody can
    keep, such as U+0000)."""
    limit = payload_limit(request.tenant) + ENVELOPE
    declared = request.META.get("CONTENT_LENGTH") or "0"
    if declared.isdigit() and int(declared) > limit:
        raise over_payload(limit, int(declared))
    text = request.read(limit + 1)
    if len(text) > limit:
        raise over_payload(limit, len(text))
    if not text and default is not None:
        return default
    try:
        return jsonvalue.decode(text)
    except jsonvalue.BadJson as error:
        raise unreadable(error) from None


def too_large(limit: int, **facts: object) -> TooLarge:
    """More than a body may have."""
    return TooLarge(f"The body is larger than {limit:,} bytes.", limit=limit, **facts)


def over_payload(limit: int, size: int) -> TooLarge:
    """More than the tenant's payloads may have; `size`: so far as it was read."""
    return too_large(limit, quota="max_payload_bytes", value=limit - ENVELOPE, use=size)


def spool(request: HttpRequest) -> IO[bytes]:
    """The body as a file at its beginning, in memory while it is small.

    Raises TooLarge for more than 100,000 lines, before anything was made of any."""
    file = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115  (the caller closes it)
    lines = 0
    last = b""
    while block := request.read(BLOCK):
        lines += block.count(b"\n")
        last = block[-1:]
        if lines + (last != b"\n") > MOST_LINES:
            file.close()
            raise TooLarge(f"A bulk call takes at most {MOST_LINES:,} lines.", limit=MOST_LINES)
        file.write(block)
    file.seek(0)
    return file


def lines_of(file: IO[bytes], limit: int) -> Iterator[tuple[int, bytes | MillraceError]]:
    """The lines that are not empty, numbered from 1; one of more than `limit` bytes is an error."""
    number = 0
    while text := file.readline(limit + 1):
        number += 1
        if len(text) > limit and not text.endswith(b"\n"):
            size = len(text)
            while text and not text.endswith(b"\n"):
                text = file.readline(BLOCK)
                size += len(text)
            yield number, over_payload(limit, size)
        elif stripped := text.strip():
            yield number, stripped


def invalid(path: str, message: str, code: str) -> InvalidRequest:
    """A single finding."""
    return InvalidRequest(problems=[Problem(path, message, code)])
