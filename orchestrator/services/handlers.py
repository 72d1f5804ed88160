"""Which handlers are known: registered by a worker lately, or importable here."""

from __future__ import annotations

from datetime import timedelta
from typing import cast

from django.db.models.functions import Now

from orchestrator.domain.definition import HandlerInfo, HandlerKind, Handlers
from orchestrator.handlers import registry
from orchestrator.models import Handler

KNOWN_FOR = timedelta(days=7)


def known_handlers() -> Handlers:
    """A look-up by name of what publishing needs to know of a handler; None: nobody has it.

    One statement for any number of look-ups.  A worker's word counts before this process's:
    workers run the steps."""
    rows = {row.name: _info(row) for row in Handler.objects.filter(seen_at__gte=Now() - KNOWN_FOR)}
    return lambda name: rows.get(name) or registry.info(name)


def _info(row: Handler) -> HandlerInfo:
    return HandlerInfo(
        name=row.name,
        queue=row.queue,
        timeout=None if row.timeout_ms is None else timedelta(milliseconds=row.timeout_ms),
        parameters=tuple(row.signature.get("parameters", ())),
        required=tuple(row.signature.get("required", ())),
        accepts_any=bool(row.signature.get("accepts_any", False)),
        batch=row.batch,
        kind=cast("HandlerKind", row.kind),
        constant=tuple(row.signature.get("constant", ())),
    )
