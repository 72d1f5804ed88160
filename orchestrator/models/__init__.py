"""The tables: fields, constraints, indexes.  Rules that must always hold stand in the schema."""

from orchestrator.models.events import Event
from orchestrator.models.load import Control, Hold, ServerLoad, TenantLoad
from orchestrator.models.metrics import Rollup, RollupCursor
from orchestrator.models.runs import IdempotencyKey, Run, StepRun
from orchestrator.models.schedules import Schedule, ScheduleFire
from orchestrator.models.triggers import Trigger, TriggerDelivery
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
    "Schedule",
    "ScheduleFire",
    "ServerLoad",
    "StepRun",
    "TenantLoad",
    "Trigger",
    "TriggerDelivery",
    "VersionStep",
    "Worker",
    "Workflow",
    "WorkflowVersion",
]
