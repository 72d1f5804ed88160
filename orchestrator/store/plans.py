"""Definitions as the workers read them."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.store.connect import Connection


def fetch(connection: Connection, version_ids: Sequence[int]) -> list[tuple[int, str, str]]:
    """For each version: its id, its tenant's slug, its canonical document (JSON text)."""
    return connection.execute(
        "SELECT v.id, t.slug, v.document FROM workflow_version v JOIN tenant t ON t.id = v.tenant_id"
        " WHERE v.id = ANY (%s::bigint[])",
        (list(version_ids),),
    ).fetchall()
