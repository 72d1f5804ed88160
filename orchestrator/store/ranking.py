"""Which of a tenant's workflows stand out; one statement, in `sql/ranking.sql`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from orchestrator.store.connect import Connection

_RANK = (Path(__file__).parent / "sql" / "ranking.sql").read_bytes()


class Ranked(NamedTuple):
    """A workflow that is among the first of a rank, or may be the slowest."""

    name: str
    busiest: bool
    failing: bool


def outstanding(
    connection: Connection,
    *,
    tenant_id: int,
    width_s: int,
    since: datetime,
    until: datetime,
    most: int,
    held: int,
) -> list[Ranked]:
    """At most `most` busiest, `most` that fail most, and those from which the slowest are picked: the
    `held` that ran most and the `held` whose runs held connections for the longest."""
    asked = {
        "tenant": tenant_id,
        "width": width_s,
        "since": since,
        "until": until,
        "most": most,
        "held": held,
    }
    return [Ranked(*row) for row in connection.execute(_RANK, asked)]
