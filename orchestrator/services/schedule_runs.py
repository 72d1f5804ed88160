"""The runs of schedules' times: what their versions say of them, how they are made, refused and replaced."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from orchestrator.domain import jsonvalue
from orchestrator.domain.concurrency import concurrency_key
from orchestrator.domain.definition.model import ConcurrencySpec
from orchestrator.domain.definition.policies import read_concurrency
from orchestrator.domain.definition.reader import Reader
from orchestrator.domain.errors import OverQuota
from orchestrator.domain.schemas import Validator, compile_schema
from orchestrator.domain.times import format_time
from orchestrator.store import Connection, closing, schedules
from orchestrator.store.schedules import DueSchedule, Fire
from orchestrator.store.submit import NewRun, SubmittedRun

ACTOR = "schedule"
TAKEN = "As many runs with its concurrency key run as its workflow takes, and it says `reject`."


@dataclass(frozen=True, slots=True)
class Facts:
    """What a version asks of its runs: their input's schema, and its key of concurrency."""

    validator: Validator | None
    concurrency: ConcurrencySpec | None


def read_facts(text: str) -> Facts:
    """The facts of a version with this document."""
    document = jsonvalue.decode(text)
    assert isinstance(document, dict)
    schema = document.get("input_schema")
    validator = compile_schema(schema) if isinstance(schema, dict) and schema else None
    return Facts(validator, read_concurrency(Reader(), document))


def new_run(row: DueSchedule, fire: Fire, spec: ConcurrencySpec | None) -> NewRun:
    """The run of a time; its labels say which schedule's and which time's it is.

    Raises ExpressionFailed, NotJson: its key of concurrency has no value."""
    assert fire.run_id is not None
    labels = jsonvalue.decode(row.labels)
    assert isinstance(labels, dict)
    labels |= {"schedule": row.name, "scheduled_at": format_time(fire.nominal_at)}
    if fire.backfill_id is not None:
        labels["backfill"] = str(fire.backfill_id)
    key = None
    if spec is not None:
        key = concurrency_key(
            spec,
            value=jsonvalue.decode(row.input),
            run_id=str(fire.run_id),
            labels=labels,
            tenant=row.tenant,
        )
    return NewRun(
        id=fire.run_id,
        version_id=row.version_id,
        input=row.input,
        labels=jsonvalue.encode(labels),
        priority=row.priority,
        concurrency=key,
    )


def refuse(connection: Connection, results: Sequence[SubmittedRun]) -> None:
    """Write down which times have no run after all, and why."""
    taken = [result.run_id for result in results if result.held == "reject"]
    schedules.refuse(connection, run_ids=taken, reason="concurrency", detail=TAKEN)
    over = [result for result in results if result.held == "quota"]
    if over:
        assert over[0].over is not None
        told = OverQuota(**json.loads(over[0].over)).message
        run_ids = [result.run_id for result in over]
        schedules.refuse(connection, run_ids=run_ids, reason="over_quota", detail=told)


def close(connection: Connection, tenant_id: int, run_ids: set[UUID]) -> None:
    """Cancel runs that a newer one takes the place of."""
    if run_ids:
        closing.close_runs(
            connection, tenant_id=tenant_id, run_ids=sorted(run_ids), kind="cancel", actor=ACTOR
        )
