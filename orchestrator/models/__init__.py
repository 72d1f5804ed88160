"""The tables: fields, constraints, indexes.  Rules that must always hold stand in the schema."""

from orchestrator.models.events import Event
from orchestrator.models.load import Control, Hold, ServerLoad, TenantLoad
from orchestrator.models.metrics import Rollup, RollupCursor
from orchestrator.models.runs import IdempotencyKey, Run, StepRun
from orchestrator.models.signals import Signal
from orchestrator.models.workers import Duty, Handler, Worker
from orchestrator.models.workflows import VersionStep, Workflow, WorkflowVersion

__all__ = [
    "Control",
    "Duty",
    "Event",
    "Handler",
    "Hold",
    "IdempotencyKey",
    "Rollup",
    "RollupCursor",
    "Run",
    "ServerLoad",
    "Signal",
    "StepRun",
    "TenantLoad",
    "VersionStep",
    "Worker",
    "Workflow",
    "WorkflowVersion",
]
