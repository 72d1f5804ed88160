"""The tables: fields, constraints, indexes.  Rules that must always hold stand in the schema."""

from orchestrator.models.alerts import Alert, AlertChange
from orchestrator.models.cache import CacheEntry, CacheFlight
from orchestrator.models.channels import (
    AlertDelivery,
    Channel,
    MaintenanceWindow,
    Notification,
    NotificationTotal,
    Silence,
)
from orchestrator.models.events import Event
from orchestrator.models.health import CanaryRun, DatabaseSize, HealthChange, HealthState
from orchestrator.models.heartbeats import Heartbeat
from orchestrator.models.load import Control, Hold, ServerLoad, TenantLoad
from orchestrator.models.logs import AttemptLog
from orchestrator.models.maps import MapPack, MapState
from orchestrator.models.metrics import Rollup, RollupCursor, TraceCursor
from orchestrator.models.payloads import Payload, SpentRun, StoredObject
from orchestrator.models.pools import Breaker, Pool
from orchestrator.models.repairs import Action, ActionItem, DeadLetter
from orchestrator.models.runs import IdempotencyKey, Run, StepRun
from orchestrator.models.schedules import Schedule, ScheduleFire
from orchestrator.models.signals import Signal
from orchestrator.models.slas import (
    Sla,
    SlaCursor,
    SlaDeadline,
    SlaProposal,
    SlaSample,
    SlaState,
    StepNorm,
)
from orchestrator.models.triggers import Trigger, TriggerDelivery
from orchestrator.models.usage import Storage, Usage
from orchestrator.models.workers import Duty, Handler, Worker
from orchestrator.models.workflows import VersionCall, VersionStep, Workflow, WorkflowVersion

__all__ = [
    "Action",
    "ActionItem",
    "Alert",
    "AlertChange",
    "AlertDelivery",
    "AttemptLog",
    "Breaker",
    "CacheEntry",
    "CacheFlight",
    "CanaryRun",
    "Channel",
    "Control",
    "DatabaseSize",
    "DeadLetter",
    "Duty",
    "Event",
    "Handler",
    "HealthChange",
    "HealthState",
    "Heartbeat",
    "Hold",
    "IdempotencyKey",
    "MaintenanceWindow",
    "MapPack",
    "MapState",
    "Notification",
    "NotificationTotal",
    "Payload",
    "Pool",
    "Rollup",
    "RollupCursor",
    "Run",
    "Schedule",
    "ScheduleFire",
    "ServerLoad",
    "Signal",
    "Silence",
    "Sla",
    "SlaCursor",
    "SlaDeadline",
    "SlaProposal",
    "SlaSample",
    "SlaState",
    "SpentRun",
    "StepNorm",
    "StepRun",
    "Storage",
    "StoredObject",
    "TenantLoad",
    "TraceCursor",
    "Trigger",
    "TriggerDelivery",
    "Usage",
    "VersionCall",
    "VersionStep",
    "Worker",
    "Workflow",
    "WorkflowVersion",
]
