"""What the parts come to as numbers, for metrics."""

from __future__ import annotations

from orchestrator import metrics
from orchestrator.metrics import Metric
from orchestrator.store import diagnosis, gauges, health
from orchestrator.store.connect import Connection


def wellness_numbers(connection: Connection) -> list[tuple[Metric, float | None]]:
    """Of the database, the outbox, canaries and drained workers; None: there is nothing to say."""
    server = gauges.server(connection)
    canaries = health.canaries(connection)
    waits = diagnosis.lock_waits(connection)
    return [
        (metrics.CANARY_SECONDS, canaries.seconds),
        (metrics.CANARY_MISSES, canaries.misses),
        (metrics.CANARY_SILENT, canaries.silent_s),
        (metrics.DATABASE_BYTES, diagnosis.size(connection).bytes),
        (metrics.DATABASE_CONNECTIONS, server.connections),
        (metrics.DATABASE_CONNECTIONS_LIMIT, server.max_connections),
        (metrics.OLDEST_SNAPSHOT, server.oldest_snapshot_s),
        (metrics.LOCK_WAIT, max((one.waits_s for one in waits), default=0.0)),
        (metrics.EVENTS_LAG, gauges.outbox(connection).oldest_s),
        (metrics.DRAINED_WORKERS, gauges.drained(connection)),
    ]
