"""Shapes of schedules, their bodies and answers, for the OpenAPI document alone."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from ninja import Schema
from pydantic import Field

from orchestrator.api.documents import Part
from orchestrator.api.schemas import Json, RunStates

SCHEDULE: Part = {
    "type": "object",
    "additionalProperties": False,
    "required": ["workflow"],
    "description": "Either `cron` or `interval`; see docs/schedules.md",
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z0-9][a-z0-9._-]{0,62}$"},
        "workflow": {"type": "string"},
        "cron": {"type": "string", "description": "Five fields, or @daily and its like"},
        "interval": {"type": ["string", "number"]},
        "timezone": {"type": "string", "default": "UTC"},
        "start_at": {"type": ["string", "null"], "format": "date-time"},
        "input": {"description": "Any JSON; checked against the workflow's input_schema"},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "priority": {"type": ["integer", "null"], "minimum": 0, "maximum": 9},
        "overlap": {
            "default": "skip",
            "oneOf": [
                {"enum": ["skip", "queue", "allow", "cancel_previous"]},
                {
                    "type": "object",
                    "required": ["allow"],
                    "properties": {"allow": {"type": "integer", "minimum": 1, "maximum": 100}},
                },
            ],
        },
        "missed": {
            "default": "one",
            "oneOf": [
                {"enum": ["skip", "one", "all"]},
                {
                    "type": "object",
                    "required": ["all"],
                    "properties": {"all": {"type": "integer", "minimum": 1, "maximum": 1000}},
                },
            ],
        },
        "jitter": {"type": ["string", "number"], "default": "0s"},
    },
}
REASON: Part = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"reason": {"type": "string", "maxLength": 1000}},
}
BACKFILL: Part = {
    "type": "object",
    "additionalProperties": False,
    "required": ["from", "to"],
    "properties": {
        "from": {"type": "string", "format": "date-time"},
        "to": {"type": "string", "format": "date-time"},
    },
}


class ScheduleView(Schema):
    """When runs of a workflow begin by themselves; `next` are the next ten times."""

    name: str
    workflow: str
    cron: str | None
    interval: str | None
    timezone: str | None
    start_at: datetime | None
    input: Json
    labels: dict[str, str]
    priority: int | None
    overlap: Json
    missed: Json
    jitter: str
    state: Literal["active", "paused"]
    paused_at: datetime | None
    paused_reason: str | None
    next_at: datetime | None
    next: list[datetime]
    created_at: datetime
    updated_at: datetime
    updated_by: str


class ScheduleFireView(Schema):
    """What became of one of a schedule's times."""

    scheduled_at: datetime
    at: datetime
    outcome: Literal["started", "waiting", "skipped", "failed", "missed"]
    reason: str | None
    detail: str | None
    run_id: UUID | None
    run_state: RunStates | None
    missed: int
    since: datetime | None
    made_up: bool
    backfill_id: UUID | None


class Backfill(Schema):
    """Times of the past that were asked for; `accepted` had no run yet and get one."""

    id: UUID
    from_: datetime = Field(alias="from")
    to: datetime
    count: int
    accepted: int


class BackfillProgress(Schema):
    """How far a backfill is."""

    id: UUID
    count: int
    waiting: int
    started: int
    skipped: int
    failed: int
    first_at: datetime
    last_at: datetime
