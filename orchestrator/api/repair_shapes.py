"""Dead letters and bulk actions, as the API answers them."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from ninja import Schema

from orchestrator.api.schemas import Json


class LetterError(Schema):
    """A step's own error, its message cut to 500 characters."""

    code: str
    message: str
    type: str | None


class DeadLetter(Schema):
    """A step that was given up: it failed for good, unhandled, and its run failed."""

    id: int
    run_id: UUID
    workflow: str
    version: int
    step: str
    error: LetterError
    fingerprint: str
    attempts: int
    losses: int
    failed_at: datetime


class LetterHead(Schema):
    """The newest dead letter of a group."""

    id: int
    run_id: UUID


class DeadLetterGroup(Schema):
    """Dead letters whose errors are alike; `workflows` and `steps` name the first ten."""

    fingerprint: str
    error: LetterError
    count: int
    runs: int
    workflows: list[str]
    steps: list[str]
    first_at: datetime
    last_at: datetime
    newest: LetterHead


class Action(Schema):
    """A bulk action; `passed_over` were left alone, since they had been repaired meanwhile."""

    id: UUID
    action: str
    state: Literal["running", "finished"]
    filter: Json
    total: int
    done: int
    passed_over: int
    rate_per_s: float
    actor: str
    created_at: datetime
    finished_at: datetime | None
