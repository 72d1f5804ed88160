"""Handlers that steps may call, as people and programs see them.  Not a tenant's: all may call them."""

from __future__ import annotations

from datetime import timedelta

from django.db.models.functions import Now

from orchestrator.domain.durations import format_duration
from orchestrator.handlers import HandlerSpec, registry
from orchestrator.models import Handler
from orchestrator.selectors.workers import live_workers

KNOWN_FOR = timedelta(days=7)


def handlers_view() -> list[dict[str, object]]:
    """Every known handler by name: `{name, kind, queue, timeout, batch, parameters, required,
    accepts_any, workers, seen_at}`; `workers` is how many live ones have it."""
    alive = [number for worker in live_workers() for number in worker.handler_ids]
    found = {spec.name: _here(spec) for spec in registry.all()}
    for row in Handler.objects.filter(seen_at__gte=Now() - KNOWN_FOR):
        found[row.name] = _registered(row, alive.count(row.pk))
    return [found[name] for name in sorted(found)]


def _here(spec: HandlerSpec) -> dict[str, object]:
    return {
        "name": spec.name,
        "kind": spec.kind,
        "queue": spec.queue,
        "timeout": None if spec.timeout is None else format_duration(spec.timeout),
        "batch": spec.batch,
        "parameters": list(spec.parameters),
        "required": list(spec.required),
        "accepts_any": spec.accepts_any,
        "workers": 0,
        "seen_at": None,
    }


def _registered(row: Handler, workers: int) -> dict[str, object]:
    timeout = None if row.timeout_ms is None else timedelta(milliseconds=row.timeout_ms)
    return {
        "name": row.name,
        "kind": row.kind,
        "queue": row.queue,
        "timeout": None if timeout is None else format_duration(timeout),
        "batch": row.batch,
        "parameters": list(row.signature.get("parameters", ())),
        "required": list(row.signature.get("required", ())),
        "accepts_any": bool(row.signature.get("accepts_any", False)),
        "workers": workers,
        "seen_at": row.seen_at,
    }
