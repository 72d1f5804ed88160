"""Payloads by size: up to 8 KiB in their row, up to 1 MiB compressed in a table, above in the storage.

A row holds `\\x01` and the payload's id in place of a large text.  JSON escapes control characters, so
no JSON text holds that by itself, and a reference may also stand inside a text that SQL has put
together of several (a run's default output, a map's).  Whoever reads one resolves it."""

from __future__ import annotations

import logging
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from django.core.files.base import ContentFile
from django.core.files.storage import storages
from uuid_utils.compat import uuid7

from orchestrator.store.connect import Connection

logger = logging.getLogger(__name__)

INLINE = 8 * 1024
"""Bytes of JSON that stay in the row."""
IN_TABLE = 1024 * 1024
"""Bytes of JSON that stay in the database."""
LEAST_LIMIT = 1024
"""Bytes that every tenant's `max_payload_bytes` allows (see Quota)."""
MARK = "\x01"
LEVEL = 1
"""zlib's quickest: most of what is gained, at 100 MB/s."""
_REFERENCE = re.compile(MARK + r"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})")

KEEP = """
INSERT INTO payload (id, tenant_id, run_id, size, data, object_key)
SELECT %(id)s::uuid, %(tenant_id)s::int, %(run_id)s::uuid, %(size)s::bigint, %(data)s::bytea, %(object_key)s::text
  FROM quota q WHERE q.tenant_id = %(tenant_id)s::int AND (NOT %(limited)s::bool OR q.max_payload_bytes >= %(size)s::bigint)
ON CONFLICT (id) DO NOTHING
RETURNING 1
"""
LIMIT = "SELECT max_payload_bytes FROM quota WHERE tenant_id = %s::int"
SMALL_LIMITS = "SELECT tenant_id, max_payload_bytes FROM quota WHERE tenant_id = ANY (%s::int[]) AND max_payload_bytes < %s"
ANNOUNCE = "INSERT INTO stored_object (key) VALUES (%s::text) ON CONFLICT DO NOTHING"
SIZES = "SELECT id, size FROM payload WHERE id = ANY (%s::uuid[])"
FETCH = "SELECT id, data, object_key, body FROM payload WHERE id = ANY (%s::uuid[])"
# An object that nobody needs is looked at twice: a payload that shares it may just be being made.
MARK_ORPHANS = """
UPDATE stored_object o SET orphaned_at = clock_timestamp()
 WHERE o.orphaned_at IS NULL AND o.created_at < clock_timestamp() - interval '1 hour'
   AND NOT EXISTS (SELECT 1 FROM payload p WHERE p.object_key = o.key)
"""
ORPHANS = """
SELECT o.key FROM stored_object o
 WHERE o.orphaned_at < clock_timestamp() - interval '5 minutes'
   AND NOT EXISTS (SELECT 1 FROM payload p WHERE p.object_key = o.key)
 ORDER BY o.orphaned_at LIMIT %s::int
"""


class PayloadTooLarge(ValueError):
    """A payload of more bytes than the tenant's `max_payload_bytes`."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"{size:,} bytes of JSON are more than the tenant's {limit:,}")


class PayloadUnreadable(Exception):
    """A payload that a row refers to cannot be read: `gone` for good, or the storage does not give it."""

    def __init__(self, message: str, *, gone: bool = False) -> None:
        super().__init__(message)
        self.gone = gone


@dataclass(frozen=True, slots=True)
class Large:
    """A large text in its new place; `insert` makes it known once its run is there."""

    id: UUID
    size: int
    data: bytes | None
    object_key: str | None

    @property
    def reference(self) -> str:
        """What stands for it in a row."""
        return f"{MARK}{self.id}"


def is_large(text: str | None) -> bool:
    """Whether a text has more bytes than stay in its row."""
    return _is_beyond(text, INLINE)


def _is_beyond(text: str | None, most: int) -> bool:
    if text is None or len(text) <= most // 4:
        return False
    return len(text) > most or (not text.isascii() and len(text.encode()) > most)


def small_limits(connection: Connection, texts: Iterable[tuple[int, str | None]]) -> dict[int, int]:
    """The `max_payload_bytes` of those tenants whose (tenant, text) may be beyond it though it stays in
    its row.  What is smaller than any limit may be, as most outputs are, asks nothing."""
    tenants = {tenant_id for tenant_id, text in texts if _is_beyond(text, LEAST_LIMIT)}
    if not tenants:
        return {}
    return dict(connection.execute(SMALL_LIMITS, (list(tenants), INLINE)).fetchall())


def place(connection: Connection, *, tenant_id: int, text: str) -> Large | None:
    """Compress a text, or put it into the storage; nothing refers to it yet.

    None: the storage does not take it, so that it has to stay in its row."""
    number, data = uuid7(), text.encode()
    if len(data) <= IN_TABLE:
        return Large(number, len(data), zlib.compress(data, LEVEL), None)
    key = f"{tenant_id}/{datetime.now(UTC):%Y-%m-%d}/{number}.json"
    connection.execute(ANNOUNCE, (key,))
    try:
        storages["payloads"].save(key, ContentFile(data))
    except Exception as error:
        logger.warning(
            "the storage of payloads does not take %s, it stays in its row: %s", key, error
        )
        return None
    return Large(number, len(data), None, key)


def insert(
    connection: Connection, large: Large, *, tenant_id: int, run_id: UUID, limited: bool = True
) -> None:
    """Make a placed text known as a payload of the run.

    Raises PayloadTooLarge where it has more bytes than the tenant may keep, if that is `limited`."""
    values = {
        "id": large.id,
        "tenant_id": tenant_id,
        "run_id": run_id,
        "size": large.size,
        "data": large.data,
        "object_key": large.object_key,
        "limited": limited,
    }
    if connection.execute(KEEP, values).fetchone() is None:
        row = connection.execute(LIMIT, (tenant_id,)).fetchone()
        raise PayloadTooLarge(large.size, row[0] if row else 0)


def keep(
    connection: Connection, *, tenant_id: int, run_id: UUID, text: str, limited: bool = True
) -> str:
    """What stands for a large text in a row: a reference to where it now is.  Raises PayloadTooLarge."""
    large = place(connection, tenant_id=tenant_id, text=text)
    if large is None:
        return text
    insert(connection, large, tenant_id=tenant_id, run_id=run_id, limited=limited)
    return large.reference


def has_reference(texts: Iterable[str | None]) -> bool:
    """Whether any of these refers to a payload."""
    return any(text is not None and MARK in text for text in texts)


def resolve(connection: Connection, texts: Sequence[str | None]) -> list[str | None]:
    """The texts with what their references stand for.  Raises PayloadUnreadable."""
    wanted = _references(texts)
    if not wanted:
        return list(texts)
    known: dict[str, str] = {}
    while wanted:  # a part of a map's output may have references itself
        rows = connection.execute(FETCH, ([UUID(found) for found in wanted],)).fetchall()
        found = {str(number): _read(*place) for number, *place in rows}
        if missing := wanted - found.keys():
            raise PayloadUnreadable(f"the payload {min(missing)} is not there", gone=True)
        known |= found
        wanted = _references(found.values()) - known.keys()

    def full(text: str) -> str:
        return _REFERENCE.sub(lambda found: full(known[found[1]]), text) if MARK in text else text

    return [None if text is None else full(text) for text in texts]


def sizes(connection: Connection, texts: Sequence[str | None]) -> list[int]:
    """About how many bytes each text has when it is resolved; large ones are not fetched for it."""
    known: dict[str, int] = {}
    if wanted := _references(texts):
        rows = connection.execute(SIZES, (list(wanted),)).fetchall()
        known = {str(found): int(size) for found, size in rows}

    def size(text: str) -> int:
        found = _REFERENCE.findall(text) if MARK in text else ()
        return len(text) + sum(known.get(one, 0) for one in found)

    return [0 if text is None else size(text) for text in texts]


def _references(texts: Iterable[str | None]) -> set[str]:
    """The ids of the payloads that these refer to."""
    return {found for text in texts if text and MARK in text for found in _REFERENCE.findall(text)}


def _read(data: bytes | None, key: str | None, body: str | None) -> str:
    if body is not None:
        return body
    if data is not None:
        return zlib.decompress(data).decode()
    assert key is not None
    try:
        with storages["payloads"].open(key, "rb") as file:
            return bytes(file.read()).decode()
    except FileNotFoundError as error:
        raise PayloadUnreadable(f"{key} is not in the storage any more", gone=True) from error
    except Exception as error:
        raise PayloadUnreadable(f"the storage does not give {key}: {error}") from error


def sweep(connection: Connection, *, limit: int) -> int:
    """Delete objects that no payload needs, first the object and then what is known of it; how many.

    What the storage does not delete now stays known, and is tried again by the next sweep."""
    connection.execute(MARK_ORPHANS)
    keys = [row[0] for row in connection.execute(ORPHANS, (limit,)).fetchall()]
    for count, key in enumerate(keys):
        try:
            storages["payloads"].delete(key)
        except Exception as error:
            logger.warning("the storage of payloads does not delete %s: %s", key, error)
            return count
        connection.execute("DELETE FROM stored_object WHERE key = %s::text", (key,))
    return len(keys)
