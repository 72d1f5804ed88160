"""What tenants use: looked at, added to buckets, counted anew, dropped when it is old."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from orchestrator.store.connect import Connection

WIDTHS = (60, 300, 3600)
"""Seconds of a bucket."""
_FOLDER = Path(__file__).parent / "sql"
_LOOK, _ADD = ((_FOLDER / f"usage_{name}.sql").read_bytes() for name in ("look", "add"))
# Index: payload_sizes, of which nothing but the entries is read.
_MEASURE = """
WITH found AS (SELECT tenant_id, sum(size)::bigint AS bytes FROM payload GROUP BY tenant_id),
gone AS (
    DELETE FROM storage s WHERE NOT EXISTS (SELECT 1 FROM found f WHERE f.tenant_id = s.tenant_id)
)
INSERT INTO storage (tenant_id, bytes, measured_at)
SELECT tenant_id, bytes, clock_timestamp() FROM found
    ON CONFLICT (tenant_id) DO UPDATE SET bytes = excluded.bytes, measured_at = excluded.measured_at
"""
# Index: usage_age.
_PRUNE = """
DELETE FROM usage WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM usage
     WHERE width_s = %s::int AND at < now() - make_interval(secs => %s::float8) LIMIT %s::int))
"""


class Seen(NamedTuple):
    """A tenant's load at one moment; `total` is the server's limit of connections."""

    tenant_id: int
    weight: float
    max_connections: int
    in_use: int
    ready: int
    active_runs: int
    storage_bytes: int
    total: int
    suspended: bool


@dataclass(slots=True)
class Measured:
    """What is added to a tenant's bucket: sums, and peaks of which the greatest stays."""

    entitled_s: float = 0.0
    received_s: float = 0.0
    connections: int = 0
    active_runs: int = 0
    waiting_steps: int = 0
    storage_bytes: int = 0
    requests: int = 0
    bytes: int = 0


def look(connection: Connection) -> list[Seen]:
    """The load of every tenant that does anything."""
    return [Seen(*row) for row in _cursor(connection).execute(_LOOK).fetchall()]


def add(connection: Connection, measured: Sequence[tuple[int, int, Measured]]) -> None:
    """Add (tenant id, unix seconds, what was measured) to the buckets of every width."""
    if not measured:
        return
    rows = [one for _, _, one in measured]
    params = {
        "widths": list(WIDTHS),
        "tenants": [tenant_id for tenant_id, _, _ in measured],
        "ats": [at for _, at, _ in measured],
        "entitled": [float(one.entitled_s) for one in rows],
        "received": [float(one.received_s) for one in rows],
        "connections": [one.connections for one in rows],
        "active_runs": [one.active_runs for one in rows],
        "waiting_steps": [one.waiting_steps for one in rows],
        "storage": [one.storage_bytes for one in rows],
        "requests": [one.requests for one in rows],
        "bytes": [one.bytes for one in rows],
    }
    _cursor(connection).execute(_ADD, params)


def measure_storage(connection: Connection) -> int:
    """Count the bytes that each tenant keeps beside its rows; answers of how many tenants."""
    return _cursor(connection).execute(_MEASURE).rowcount


def prune(connection: Connection, *, width_s: int, age_s: float, limit: int) -> int:
    """Drop at most `limit` buckets of a width that began over `age_s` ago; answers how many."""
    return _cursor(connection).execute(_PRUNE, (width_s, age_s, limit)).rowcount


def _cursor(connection: Connection) -> psycopg.Cursor[tuple[Any, ...]]:
    """A cursor that binds on the server (Django's connections bind on the client)."""
    return psycopg.Cursor(connection)
