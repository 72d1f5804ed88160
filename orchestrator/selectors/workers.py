"""Worker processes, as people and programs see them.  Not a tenant's: they serve all."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models.functions import Now

from orchestrator.conf import conf
from orchestrator.models import Worker


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A worker process: `state` is active, draining or gone; `seen_at` its last renewal."""

    id: int
    name: str
    host: str
    pid: int
    state: str
    queues: tuple[str, ...]
    handler_ids: frozenset[int]
    in_flight: int
    refused_count: int
    started_at: datetime
    seen_at: datetime
    drain_at: datetime | None = None
    """When staff told it to take nothing more."""


def live_workers() -> list[WorkerRow]:
    """Workers whose lease is fresh, by name."""
    fresh = Now() - timedelta(seconds=conf().lease_s)
    return [
        _row(worker)
        for worker in Worker.objects.exclude(state="gone")
        .filter(seen_at__gte=fresh)
        .order_by("name")
    ]


def recent_workers(*, limit: int = 100) -> list[WorkerRow]:
    """Live workers and those that were seen last, newest first."""
    return [_row(worker) for worker in Worker.objects.order_by("-seen_at")[:limit]]


def _row(worker: Worker) -> WorkerRow:
    return WorkerRow(
        id=worker.id,
        name=worker.name,
        host=worker.host,
        pid=worker.pid,
        state=worker.state,
        queues=tuple(worker.queues),
        handler_ids=frozenset(worker.handler_ids),
        in_flight=worker.in_flight,
        refused_count=worker.refused_count,
        started_at=worker.started_at,
        seen_at=worker.seen_at,
        drain_at=worker.drain_at,
    )
