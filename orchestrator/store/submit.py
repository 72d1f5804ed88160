"""Submitting runs: one statement for one run or ten thousand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from orchestrator import tracing
from orchestrator.store import payloads
from orchestrator.store.connect import Connection

T = TypeVar("T")
SUBMIT = """
SELECT run_id, replayed, same, created_at, held, over, wake
  FROM engine_submit(%s::int, %s::uuid[], %s::bigint[], %s::text[], %s::text[], %s::smallint[],
                     %s::timestamptz[], %s::text[], %s::text[], %s::text, %s::timestamptz[], %s::text[],
                     p_origin => %s::text, p_workflows => %s::text[], p_traces => %s::text[])
 ORDER BY idx
"""


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run to be made.  `input` and `labels` are JSON texts; `priority` None = the version's;
    `concurrency`: what its workflow's `concurrency.key` came to."""

    id: UUID
    version_id: int
    input: str = "{}"
    labels: str = "{}"
    priority: int | None = None
    deadline_at: datetime | None = None
    key: str | None = None
    fingerprint: str | None = None
    start_at: datetime | None = None
    concurrency: str | None = None
    workflow: str | None = None
    """Its workflow's name, for an entry of its own in the audit log."""


@dataclass(frozen=True, slots=True)
class SubmittedRun:
    """`replayed`: the key was known and this is its first run (`created_at` is then None);
    `same`: its body was the same; `held`: why it waits before its first step (start_at, concurrency),
    or why it was not made: reject (its key's places are taken), quota.  `over` is JSON text of the
    quota that took no more: `{quota, value, use, retry_after}`."""

    run_id: UUID
    replayed: bool
    same: bool
    created_at: datetime | None
    held: str | None = None
    over: str | None = None

    @property
    def refused(self) -> bool:
        """Whether it was not made."""
        return self.held in ("reject", "quota")


@dataclass(frozen=True, slots=True)
class Submitted:
    """What became of each new run, in order, and the queues to wake once it is committed."""

    results: list[SubmittedRun]
    wake: list[str]


def submit(
    connection: Connection,
    *,
    tenant_id: int,
    runs: Sequence[NewRun],
    actor: str | None,
    origin: str | None = None,
) -> Submitted:
    """Make the runs inside the caller's transaction, or one of their own, under the tenant's mutex.

    `origin`: where it was asked from (an address, or empty), for the audit log; None: nobody asked."""
    large = {
        run.id: placed
        for run in runs
        if payloads.is_large(run.input)
        and (placed := payloads.place(connection, tenant_id=tenant_id, text=run.input))
    }
    if not large:
        return _submit(connection, tenant_id, runs, [run.input for run in runs], actor, origin)
    inputs = [large[run.id].reference if run.id in large else run.input for run in runs]
    with connection.transaction():
        made = _submit(connection, tenant_id, runs, inputs, actor, origin)
        for run, result in zip(runs, made.results, strict=True):
            if run.id in large and run.id == result.run_id and not result.refused:
                payloads.insert(
                    connection, large[run.id], tenant_id=tenant_id, run_id=run.id, limited=False
                )
    return made


def _submit(
    connection: Connection,
    tenant_id: int,
    runs: Sequence[NewRun],
    inputs: Sequence[str],
    actor: str | None,
    origin: str | None,
) -> Submitted:
    rows = connection.execute(
        SUBMIT,
        (
            tenant_id,
            [run.id for run in runs],
            [run.version_id for run in runs],
            list(inputs),
            [run.labels for run in runs],
            [run.priority for run in runs],
            [run.deadline_at for run in runs],
            [run.key for run in runs],
            [run.fingerprint for run in runs],
            actor,
            _any([run.start_at for run in runs]),
            _any([run.concurrency for run in runs]),
            origin,
            _any([run.workflow for run in runs]),
            tracing.for_runs([run.id for run in runs]),
        ),
    ).fetchall()
    return Submitted(
        [SubmittedRun(*row[:6]) for row in rows], list(rows[0][6] or ()) if rows else []
    )


def _any(values: list[T]) -> list[T] | None:
    """The values, unless there are none: then the engine need not look at them."""
    return values if any(value is not None for value in values) else None
