"""Heartbeats and progress of running steps: written a few times a second, read by the next attempt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from orchestrator.store.connect import Connection
from orchestrator.store.work import Claimed

WRITE = """
SELECT engine_beat(%s::int, %s::int[], %s::uuid[], %s::int[], %s::int[], %s::int[], %s::text[])
"""
PROGRESS = """
SELECT h.tenant_id, h.run_id, h.ordinal, h.batch, h.progress
  FROM unnest(%s::int[], %s::uuid[], %s::int[], %s::int[]) AS d (tenant_id, run_id, ordinal, batch)
 CROSS JOIN LATERAL (
     SELECT o.* FROM heartbeat o
      WHERE o.run_id = d.run_id AND o.ordinal = d.ordinal AND o.batch = d.batch
        AND (o.tenant_id = d.tenant_id) IS TRUE OFFSET 0) h
 WHERE h.progress IS NOT NULL
"""


class Beat(NamedTuple):
    """A sign of life of a claimed step; `progress` is JSON text, None: none was told yet."""

    claimed: Claimed
    progress: str | None


def write(connection: Connection, worker_id: int, beats: Sequence[Beat]) -> None:
    """Write heartbeats in one statement; those of attempts that are over already are passed over."""
    rows = [beat.claimed for beat in beats]
    connection.execute(
        WRITE,
        (
            worker_id,
            [row.tenant_id for row in rows],
            [row.run_id for row in rows],
            [row.ordinal for row in rows],
            [row.batch for row in rows],
            [row.epoch for row in rows],
            [beat.progress for beat in beats],
        ),
    )


def progress(
    connection: Connection, claims: Sequence[Claimed]
) -> dict[tuple[int, UUID, int, int], str]:
    """By the claims' keys, the progress (JSON text) that attempts before them told."""
    rows = connection.execute(
        PROGRESS,
        (
            [claim.tenant_id for claim in claims],
            [claim.run_id for claim in claims],
            [claim.ordinal for claim in claims],
            [claim.batch for claim in claims],
        ),
    )
    return {(tenant, run, ordinal, batch): text for tenant, run, ordinal, batch, text in rows}
