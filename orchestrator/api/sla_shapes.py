"""Shapes of SLAs, their bodies and answers, for the OpenAPI document alone."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from ninja import Schema
from pydantic import Field

from orchestrator.api.documents import Part

_DURATION = {"type": ["string", "number"]}
_PROPERTIES: dict[str, object] = {
    "name": {"type": "string", "pattern": "^[a-z0-9][a-z0-9._-]{0,62}$"},
    "description": {"type": "string", "maxLength": 1000},
    "kind": {
        "enum": [
            "queue_latency",
            "run_duration",
            "success_ratio",
            "freshness",
            "p95_threshold",
            "throughput_floor",
            "error_rate_ceiling",
            "readiness_p95",
        ]
    },
    "workflows": {"type": "array", "items": {"type": "string"}, "maxItems": 100},
    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
    "threshold": {
        "type": ["string", "number", "null"],
        "description": "A duration, a share, or runs per second, as the kind says",
    },
    "target": {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 1},
    "window": {**_DURATION, "default": "1h"},
    "min_samples": {"type": "integer", "minimum": 1, "default": 1},
    "no_data": {"enum": ["ok", "bad", "keep"]},
    "for": {**_DURATION, "default": "0s"},
    "clear_for": {**_DURATION, "default": "0s"},
    "clear_threshold": {"type": ["string", "number", "null"]},
    "burn": {
        "description": "true for the usual pairs, 1h/5m × 14.4 and 6h/30m × 6",
        "oneOf": [
            {"type": "boolean"},
            {
                "type": "array",
                "maxItems": 4,
                "items": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["long", "short", "factor"],
                    "properties": {
                        "long": _DURATION,
                        "short": _DURATION,
                        "factor": {"type": "number", "minimum": 1, "maximum": 1000},
                    },
                },
            },
        ],
    },
    "severity": {"enum": ["warning", "critical"], "default": "warning"},
    "enabled": {"type": "boolean", "default": True},
}
SLA: Part = {
    "type": "object",
    "additionalProperties": False,
    "required": ["kind"],
    "description": "A rule; see docs/slas.md",
    "properties": _PROPERTIES,
}

Kinds = Literal[
    "queue_latency",
    "run_duration",
    "success_ratio",
    "freshness",
    "p95_threshold",
    "throughput_floor",
    "error_rate_ceiling",
    "readiness_p95",
]


class BurnPair(Schema):
    """Two windows, and how many times as fast as it may the budget goes in both when it fires."""

    long: str
    short: str
    factor: float


class BurnRates(BurnPair):
    """The same with the rates of now."""

    long_rate: float
    short_rate: float
    burning: bool


class SlaStatus(Schema):
    """What a rule came to when it was last looked at.  `value` and `limit` are in `unit`."""

    state: Literal["good", "bad", "insufficient", "pending", "disabled"]
    at: datetime | None
    since: datetime | None
    value: float | None
    limit: float | None
    unit: Literal["s", "share", "per_s"] | None
    samples: int | None
    good: int | None
    late: int | None
    no_data: bool | None
    objective: float | None
    budget_left: float | None
    burn: list[BurnRates]
    error: str | None


class SlaView(Schema):
    """A rule of a service level with its status."""

    name: str
    description: str
    kind: Kinds
    workflows: list[str]
    labels: dict[str, str]
    threshold: str | float | None
    target: float | None
    window: str
    min_samples: int
    no_data: Literal["ok", "bad", "keep"]
    for_: str = Field(alias="for")
    clear_for: str
    clear_threshold: str | float | None
    burn: list[BurnPair]
    severity: Literal["warning", "critical"]
    enabled: bool
    promise: str
    status: SlaStatus
    created_at: datetime
    updated_at: datetime
    updated_by: str


class Awaited(Schema):
    """A run that goes on: when it is late, when it is expected to end, and along which steps."""

    run_id: UUID
    due_at: datetime
    expected_at: datetime | None
    path: list[str]


class Percentile(Schema):
    """The seconds within which a share of the window's samples lies."""

    share: float | None
    value_s: float | None


class SlaDetail(SlaView):
    """The same with the runs that are late, and those that are predicted to be."""

    percentile: Percentile
    late: list[Awaited]
    predicted: list[Awaited]


class Interval(Schema):
    """When a rule would have fired; `until` null: it would fire still.  `run_ids`: up to 5 runs that were
    bad around it, of the newest 20."""

    since: datetime
    until: datetime | None
    run_ids: list[UUID]


class SlaPreview(Schema):
    """What a rule would have done in the last 14 days.

    `complete`: whether it could be looked back so far; `exact_since`: from when on it was counted
    from the events, before that from the rollups' sketches."""

    since: datetime
    until: datetime
    complete: bool
    exact_since: datetime
    firings: int
    intervals: list[Interval]
    bad_s: int
    firing_s: int
    insufficient_s: int
    samples: int
    good: int
    run_ids: list[UUID]


class Proposal(Schema):
    """A rule that fits a workflow's first week."""

    workflow: str
    kind: Kinds
    threshold: str
    p95_s: float
    runs: int
    made_at: datetime
