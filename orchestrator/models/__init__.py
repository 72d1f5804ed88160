"""The tables: fields, constraints, indexes.  Rules that must always hold stand in the schema."""

from orchestrator.models.cache import CacheEntry, CacheFlight
from orchestrator.models.events import Event
from orchestrator.models.heartbeats import Heartbeat
from orchestrator.models.load import Control, Hold, ServerLoad, TenantLoad
from orchestrator.models.maps import MapPack, MapState
from orchestrator.models.metrics import Rollup, RollupCursor
from orchestrator.models.payloads import Payload, SpentRun, StoredObject
from orchestrator.models.pools import Breaker, Pool
from orchestrator.models.runs import IdempotencyKey, Run, StepRun
from orchestrator.models.schedules import Schedule, ScheduleFire
from orchestrator.models.triggers import Trigger, TriggerDelivery
from orchestrator.models.workers import Duty, Handler, Worker
from orchestrator.models.workflows import VersionCall, VersionStep, Workflow, WorkflowVersion

__all__ = [
    "Breaker",
    "CacheEntry",
    "CacheFlight",
    "Control",
    "Duty",
    "Event",
    "Handler",
    "Heartbeat",
    "Hold",
    "IdempotencyKey",
    "MapPack",
    "MapState",
    "Payload",
    "Pool",
    "Rollup",
    "RollupCursor",
    "Run",
    "Schedule",
    "ScheduleFire",
    "ServerLoad",
    "SpentRun",
    "StepRun",
    "StoredObject",
    "TenantLoad",
    "Trigger",
    "TriggerDelivery",
    "VersionCall",
    "VersionStep",
    "Worker",
    "Workflow",
    "WorkflowVersion",
]
