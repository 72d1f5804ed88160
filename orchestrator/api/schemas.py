"""The shapes of answers, for the OpenAPI document alone: answers themselves are written by
`selectors.payloads.render`, since what a user's JSON says must pass unread."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, Literal, TypeVar
from uuid import UUID

from ninja import Schema

Item = TypeVar("Item")
RunStates = Literal["queued", "running", "paused", "succeeded", "failed", "cancelled"]
StepStates = Literal[
    "blocked", "ready", "running", "waiting", "succeeded", "failed", "skipped", "cancelled"
]
Json = Any


class Finding(Schema):
    """A problem's place: a JSON Pointer into the body, or a parameter's name."""

    path: str
    message: str
    code: str


class ProblemDetails(Schema):
    """RFC 9457, with `code` and, for validation, `errors`."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list[Finding] | None = None


class ListOf(Schema, Generic[Item]):
    """A page; `next_cursor` is null on the last one."""

    items: list[Item]
    next_cursor: str | None


class Published(Schema):
    """A version of a workflow; `warnings` stands there where it has some: it names secrets that there
    are not yet."""

    name: str
    version: int
    checksum: str
    warnings: list[Finding] = []


class WorkflowHead(Schema):
    """A workflow with its newest version."""

    name: str
    version: int
    checksum: str
    steps: int
    created_at: datetime
    published_at: datetime
    paused_at: datetime | None
    archived_at: datetime | None


class WorkflowDetail(WorkflowHead):
    """The same with the definition, as it was published."""

    definition: dict[str, Json]


class VersionHead(Schema):
    """A version of a workflow, and who published it when."""

    name: str
    version: int
    checksum: str
    steps: int
    created_at: datetime
    created_by: str


class VersionDetail(VersionHead):
    """The same with the definition, as it was published."""

    definition: dict[str, Json]


class Cause(Schema):
    """A step's own error."""

    code: str
    message: str
    type: str | None


class RunError(Schema):
    """Why a run did not succeed."""

    code: str
    message: str
    step: str | None
    cause: Cause | None


class StepCounts(Schema):
    """How many of a run's steps are in which state."""

    total: int
    blocked: int
    ready: int
    running: int
    waiting: int
    succeeded: int
    failed: int
    skipped: int
    cancelled: int


class Waiting(Schema):
    """Why a step is not running, or a run has not begun: since when, and what would free it."""

    reason: Literal[
        "retry",
        "snooze",
        "sleep",
        "signal",
        "child",
        "repeat",
        "start_at",
        "concurrency",
        "compensate",
        "cache",
        "connections",
        "total_connections",
        "pool",
        "breaker",
        "max_parallel",
        "paused",
        "no_worker",
        "queue",
    ]
    since: datetime | None
    until: datetime | None
    detail: str


class Parent(Schema):
    """The run, and its step, that waits for a child run."""

    run_id: UUID
    step: str


class UndoView(Schema):
    """What became of undoing a run or a step; null where that has not been begun."""

    state: Literal["running", "succeeded", "failed"]
    error: Json
    finished_at: datetime | None


class Run(Schema):
    """One execution of a version."""

    id: UUID
    workflow: str
    version: int
    state: RunStates
    input: Json
    output: Json
    error: RunError | None
    labels: dict[str, str]
    priority: int
    steps: StepCounts
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    paused_at: datetime | None
    start_at: datetime | None
    waiting: Waiting | None
    deadline: datetime | None
    closing: Literal["cancel", "fail_fast", "timeout", "deadline", "upstream"] | None
    undo: UndoView | None
    parent: Parent | None


class MapCounts(Schema):
    """How far a map is: items, but `in_flight`, which counts batches."""

    total: int
    done: int
    failed: int
    in_flight: int


class ItemError(Schema):
    """An item of a map that failed."""

    item_index: int
    code: str
    message: str


class StepRun(Schema):
    """A step in a run; with `?step`, a batch of a map: `index` counts from 0.  `calls` is what its `kind`
    says; `repeats` how often it has succeeded without `repeat.until`; `child_run_id` the newest child
    run of a workflow step."""

    name: str
    index: int | None
    handler: str | None
    kind: Literal["handler", "workflow", "signal", "sleep"]
    calls: str
    queue: str
    trigger_rule: str
    state: StepStates
    reason: str | None
    cached: bool
    attempt: int
    max_attempts: int
    repeats: int
    output: Json
    error: Json
    handled: bool
    waiting: Waiting | None
    depends_on: list[str]
    ready_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    worker: str | None
    child_run_id: UUID | None
    progress: Json
    heartbeat_at: datetime | None
    undo: UndoView | None
    map: MapCounts | None
    errors: list[ItemError] | None


class MapResult(Schema):
    """What a map's item came to: null if it failed.  `index` is its batch; `item_index` is null where
    the map is not `ordered`."""

    item_index: int | None
    index: int
    output: Json


class Attempt(Schema):
    """One try of a step run; lost, snoozed and given-back ones use up no number."""

    attempt: int
    state: Literal[
        "running",
        "succeeded",
        "failed",
        "skipped",
        "cancelled",
        "lost",
        "snoozed",
        "repeated",
        "given_back",
    ]
    worker: str | None
    started_at: datetime
    finished_at: datetime | None
    duration_s: float | None
    error: Json


class GraphNode(Schema):
    """A step of a run's graph."""

    name: str
    ordinal: int
    handler: str | None
    trigger_rule: str
    state: StepStates
    attempt: int
    max_attempts: int
    ready_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    undo: UndoView | None
    map: MapCounts | None


class Graph(Schema):
    """A run's graph; an edge is [parent, child]."""

    nodes: list[GraphNode]
    edges: list[list[str]]


class Event(Schema):
    """What happened; `id` is its position in its tenant."""

    id: int
    at: datetime
    type: str
    run_id: UUID | None
    step: str | None
    index: int | None
    attempt: int | None
    actor: str | None
    data: Json


class LogLine(Schema):
    """A line that a handler logged; `id` grows in the order in which a run's lines were written."""

    id: int
    at: datetime
    step: str
    index: int | None
    attempt: int
    level: Literal["debug", "info", "warning", "error", "critical"]
    message: str
    fields: Json


class HandlerView(Schema):
    """A handler; `workers` is how many live ones have it."""

    name: str
    kind: Literal["async", "blocking", "cpu"]
    queue: str | None
    timeout: str | None
    batch: bool
    parameters: list[str]
    required: list[str]
    accepts_any: bool
    workers: int
    seen_at: datetime | None


class WorkerView(Schema):
    """A live worker process."""

    name: str
    state: str
    queues: list[str]
    in_flight: int
    started_at: datetime
    seen_at: datetime
