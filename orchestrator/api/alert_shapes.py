"""Alerts, channels, silences and maintenance windows, as the API takes and answers them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from ninja import Schema

from orchestrator.api.documents import Part, parameter

AlertStates = Literal["pending", "firing", "acknowledged", "resolved", "ok"]
Severities = Literal["warning", "critical"]

COMMENT: Part = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"comment": {"type": "string", "maxLength": 1000}},
}
MATCH: Part = {
    "type": "object",
    "additionalProperties": {"type": "string"},
    "maxProperties": 20,
    "description": "Patterns with * and ? by `rule`, `name`, `severity` or a label; all must hold",
}
CHANNEL: Part = {
    "type": "object",
    "additionalProperties": False,
    "required": ["kind"],
    "description": "See docs/alerts.md",
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z0-9][a-z0-9._-]{0,62}$"},
        "kind": {"enum": ["email", "webhook", "slack", "apprise"]},
        "to": {"type": "array", "items": {"type": "string", "format": "email"}, "maxItems": 20},
        "url": {"type": "string", "writeOnly": True, "description": "Never shown again"},
        "severity": {"enum": ["warning", "critical"], "default": "warning"},
        "match": MATCH,
        "group_by": {"type": "array", "items": {"type": "string"}, "default": ["rule"]},
        "group_wait": {"type": ["string", "number"], "default": "10s"},
        "repeat": {"type": ["string", "number", "null"], "default": "4h"},
        "resolved": {"type": "boolean", "default": True},
        "enabled": {"type": "boolean", "default": True},
    },
}
SILENCE: Part = {
    "type": "object",
    "additionalProperties": False,
    "required": ["match", "reason"],
    "description": "`ends_at` or `duration`, 30 days at most",
    "properties": {
        "match": MATCH,
        "reason": {"type": "string", "maxLength": 500},
        "starts_at": {"type": "string", "format": "date-time"},
        "ends_at": {"type": "string", "format": "date-time"},
        "duration": {"type": ["string", "number"]},
    },
}
WINDOW: Part = {
    "type": "object",
    "additionalProperties": False,
    "required": ["match"],
    "description": "`cron`, `duration` and `timezone`, or `starts_at` and `ends_at`",
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z0-9][a-z0-9._-]{0,62}$"},
        "match": MATCH,
        "reason": {"type": "string", "maxLength": 500},
        "cron": {"type": "string"},
        "duration": {"type": ["string", "number"]},
        "timezone": {"type": "string", "default": "UTC"},
        "starts_at": {"type": "string", "format": "date-time"},
        "ends_at": {"type": "string", "format": "date-time"},
        "enabled": {"type": "boolean", "default": True},
    },
}
ALERT_FILTERS = (
    parameter("state", "A state, or several with commas; may be given more than once"),
    parameter("severity", "warning or critical"),
    parameter("rule", "A rule's identity, such as sla:17"),
    parameter("workflow", "Name of a workflow: the label of that name"),
    parameter("silenced", "true or false", kind="boolean"),
)


class AlertView(Schema):
    """An alert: a rule that is, or was, bad for one set of labels."""

    id: UUID
    rule: str
    name: str
    labels: dict[str, str]
    severity: Severities
    state: AlertStates
    silenced: bool
    muted_by: str | None
    value: float | None
    threshold: float | None
    unit: str
    summary: str
    run_ids: list[UUID]
    started_at: datetime
    fired_at: datetime | None
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    resolved_at: datetime | None
    resolved_by: str | None


class AlertChangeView(Schema):
    """A line of an alert's timeline: a state, or escalated, muted, unmuted, notified, not_notified."""

    at: datetime
    kind: str
    actor: str | None
    detail: str


class AlertStory(AlertView):
    """An alert with its timeline, oldest first."""

    timeline: list[AlertChangeView]


class ChannelView(Schema):
    """A channel; `place` is what of its address may be shown."""

    name: str
    kind: Literal["email", "webhook", "slack", "apprise"]
    to: list[str]
    place: str
    severity: Severities
    match: dict[str, str]
    group_by: list[str]
    group_wait: str
    repeat: str | None
    resolved: bool
    enabled: bool
    created_at: datetime
    updated_at: datetime
    updated_by: str


class ChannelSecret(ChannelView):
    """A channel with its secret, which is shown this once; null where it signs nothing."""

    secret: str | None


class NotificationView(Schema):
    """What became of a message to a channel."""

    id: UUID
    notice: Literal["firing", "repeat", "resolved", "test"]
    state: Literal["collecting", "sending", "sent", "failed", "dropped"]
    attempts: int
    next_at: datetime | None
    answer: str
    alerts: list[UUID]
    created_at: datetime
    ended_at: datetime | None


class SilenceView(Schema):
    """A silence."""

    id: UUID
    match: dict[str, str]
    reason: str
    author: str
    state: Literal["coming", "active", "over"]
    starts_at: datetime
    ends_at: datetime
    created_at: datetime


class WindowView(Schema):
    """A maintenance window; `open_until` while it is open."""

    name: str
    match: dict[str, str]
    reason: str
    cron: str | None
    timezone: str | None
    duration: str | None
    starts_at: datetime | None
    ends_at: datetime | None
    enabled: bool
    open_until: datetime | None
    next_at: datetime | None
    created_at: datetime
    updated_at: datetime
    updated_by: str
