"""The tables: fields, constraints, indexes.  Rules that must always hold stand in the schema."""

from orchestrator.models.events import Event
from orchestrator.models.load import Control, Hold, ServerLoad, TenantLoad
from orchestrator.models.metrics import Rollup, RollupCursor
from orchestrator.models.pools import Breaker, Pool
from orchestrator.models.runs import IdempotencyKey, Run, StepRun
from orchestrator.models.workers import Duty, Handler, Worker
from orchestrator.models.workflows import VersionStep, Workflow, WorkflowVersion

__all__ = [
    "Breaker",
    "Control",
    "Duty",
    "Event",
    "Handler",
    "Hold",
    "IdempotencyKey",
    "Pool",
    "Rollup",
    "RollupCursor",
    "Run",
    "ServerLoad",
    "StepRun",
    "TenantLoad",
    "VersionStep",
    "Worker",
    "Workflow",
    "WorkflowVersion",
]
