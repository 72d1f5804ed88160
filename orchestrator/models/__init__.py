"""The tables: fields, constraints, indexes.  Rules that must always hold stand in the schema."""

from orchestrator.models.events import Event
from orchestrator.models.load import Control, Hold, ServerLoad, TenantLoad
from orchestrator.models.metrics import Rollup, RollupCursor
from orchestrator.models.repairs import Action, ActionItem, DeadLetter
from orchestrator.models.runs import IdempotencyKey, Run, StepRun
from orchestrator.models.workers import Duty, Handler, Worker
from orchestrator.models.workflows import VersionStep, Workflow, WorkflowVersion

__all__ = [
    "Action",
    "ActionItem",
    "Control",
    "DeadLetter",
    "Duty",
    "Event",
    "Handler",
    "Hold",
    "IdempotencyKey",
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
