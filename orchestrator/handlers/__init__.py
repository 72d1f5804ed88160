"""The handlers' API: what users import to write the functions that steps call.

    from orchestrator.handlers import Abort, Retry, StepContext, handler

    @handler("billing.charge", queue="io", timeout="30s")
    async def charge(ctx: StepContext, *, invoice_id: str, amount: int) -> dict: ...

A JSON value is success.  `Abort` fails without retry, `Retry` retries, `Snooze` waits without using
an attempt, `Skip` skips; any other exception follows the step's retry policy."""

from __future__ import annotations

from orchestrator.handlers.context import Beat, Pulse, StepContext, StepLog, Stop
from orchestrator.handlers.directives import Abort, Continue, Directive, Item, Retry, Skip, Snooze
from orchestrator.handlers.registry import HandlerSpec, Registry, handler, registry
from tenants.connections import ConnectionRefused

__all__ = [
    "Abort", "Beat", "ConnectionRefused", "Continue", "Directive", "HandlerSpec", "Item", "Pulse",
    "Registry", "Retry", "Skip", "Snooze", "StepContext", "StepLog", "Stop", "handler", "registry",
]  # fmt: skip
