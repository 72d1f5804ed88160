"""Shapes of triggers, their bodies and answers, for the OpenAPI document alone."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from ninja import Schema

from orchestrator.api.documents import Part
from orchestrator.api.schemas import Json, RunStates

TRIGGER: Part = {
    "type": "object",
    "additionalProperties": False,
    "required": ["workflow"],
    "description": "See docs/triggers.md",
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z0-9][a-z0-9._-]{0,62}$"},
        "workflow": {"type": "string"},
        "scheme": {"enum": ["millrace", "github"], "default": "millrace"},
        "input": {"description": "Any JSON with `${{ body.… }}`; null: the whole body"},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "priority": {"type": ["integer", "null"], "minimum": 0, "maximum": 9},
        "dedup_key": {"type": ["string", "null"], "description": "One `${{ … }}` expression"},
        "rate": {"type": "string", "default": "600/1m"},
        "enabled": {"type": "boolean", "default": True},
    },
}
ROTATE: Part = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "keep": {
            "type": ["string", "number"],
            "default": "24h",
            "description": "How long the secret before still counts",
        }
    },
}


class Refusals(Schema):
    """Requests that were refused for their signature or time, counted at most once a second."""

    count: int
    last_at: datetime | None
    last_reason: str | None


class TriggerView(Schema):
    """A trigger, without its secret."""

    name: str
    workflow: str
    address: str
    scheme: Literal["millrace", "github"]
    input: Json
    labels: dict[str, str]
    priority: int | None
    dedup_key: str | None
    rate: str
    enabled: bool
    previous_secret_until: datetime | None
    refused: Refusals
    created_at: datetime
    updated_at: datetime
    updated_by: str


class TriggerSecret(TriggerView):
    """A trigger with its secret, which is shown this once."""

    secret: str


class DeliveryView(Schema):
    """What became of a signed request."""

    id: int
    at: datetime
    outcome: Literal["started", "duplicate", "failed"]
    code: str | None
    detail: str | None
    run_id: UUID | None
    run_state: RunStates | None
    bytes: int
    origin: str
