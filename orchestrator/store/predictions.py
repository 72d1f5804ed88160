"""Runs that are awaited: which to predict next, how far they are, how long their steps usually take."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from orchestrator.store.connect import Connection

_MEASURE = (Path(__file__).parent / "sql" / "norms_measure.sql").read_bytes()
# Index: sla_deadline_predicted, run's key.
_PICK = b"""
SELECT d.run_id, min(d.tenant_id), min(o.workflow_id), min(o.version_id), min(o.step_count),
       bool_or(o.state = 'paused'), min(o.start_at)
  FROM (SELECT p.run_id, p.tenant_id FROM sla_deadline p
         WHERE p.predicted_at IS NULL OR p.predicted_at < clock_timestamp() - make_interval(secs => %s::float8)
         ORDER BY p.predicted_at NULLS FIRST LIMIT %s::int) d
  JOIN run o ON o.id = d.run_id
 GROUP BY d.run_id
"""
# Index: step_run's key.
_STEPS = b"""
SELECT s.run_id, s.ordinal, s.state, coalesce(s.ready_at, s.started_at)
  FROM unnest(%s::uuid[]) AS d (run_id)
 CROSS JOIN LATERAL (
       SELECT p.* FROM step_run p WHERE p.run_id = d.run_id AND p.batch = 0 OFFSET 0) s
"""
# Index: step_norm's key.
_NORMS = b"""
SELECT n.workflow_id, n.step, n.p50_s, n.sample_count, extract(epoch FROM clock_timestamp() - n.measured_at)::float8
  FROM step_norm n WHERE n.workflow_id = ANY (%s::bigint[])
"""
# Index: sla_deadline_run.
_WRITE = b"""
UPDATE sla_deadline p
   SET predicted_at = clock_timestamp(), expected_at = d.expected_at,
       path = CASE WHEN d.path = '' THEN '{}' ELSE string_to_array(d.path, ' ') END
  FROM unnest(%s::int[], %s::uuid[], %s::timestamptz[], %s::text[]) AS d (tenant_id, run_id, expected_at, path)
 WHERE p.tenant_id = d.tenant_id AND p.run_id = d.run_id
"""
# Index: sla_deadline_predicted; runs that are gone, or ended unseen, are awaited no more.
_SWEEP = b"""
DELETE FROM sla_deadline p WHERE (p.sla_id, p.run_id) IN (
    SELECT d.sla_id, d.run_id FROM sla_deadline d
     WHERE NOT EXISTS (SELECT 1 FROM run o WHERE o.id = d.run_id
                          AND (o.finished_at IS NULL OR o.finished_at > now() - interval '5 minutes'))
     ORDER BY d.predicted_at NULLS FIRST LIMIT %s::int)
"""


class Picked(NamedTuple):
    """A run to be predicted."""

    run_id: UUID
    tenant_id: int
    workflow_id: int
    version_id: int
    step_count: int
    is_paused: bool
    start_at: datetime | None


class StepNow(NamedTuple):
    """How far a step of a run is; `since`: when it became ready, or was started."""

    run_id: UUID
    ordinal: int
    state: str
    since: datetime | None


class Norm(NamedTuple):
    """How long a step usually takes, by so many runs; step '' says that its workflow was measured `age_s`
    seconds ago."""

    workflow_id: int
    step: str
    p50_s: float | None
    samples: int
    age_s: float


class Predicted(NamedTuple):
    """When a run is expected to end (None: not known), and the first steps of its critical path."""

    tenant_id: int
    run_id: UUID
    expected_at: datetime | None
    path: Sequence[str]


def pick(connection: Connection, *, older_s: float, limit: int) -> list[Picked]:
    """The awaited runs whose prediction is oldest."""
    return [Picked(*row) for row in connection.execute(_PICK, (older_s, limit)).fetchall()]


def steps(connection: Connection, run_ids: Sequence[UUID]) -> list[StepNow]:
    """The steps of these runs."""
    return [StepNow(*row) for row in connection.execute(_STEPS, (list(run_ids),)).fetchall()]


def norms(connection: Connection, workflow_ids: Sequence[int]) -> list[Norm]:
    """How long these workflows' steps usually take."""
    return [Norm(*row) for row in connection.execute(_NORMS, (list(workflow_ids),)).fetchall()]


def measure(connection: Connection, *, tenant_id: int, workflow_id: int, most: int) -> None:
    """Measure a workflow's steps anew."""
    connection.execute(_MEASURE, {"tenant": tenant_id, "workflow": workflow_id, "most": most})


def write(connection: Connection, predicted: Sequence[Predicted]) -> None:
    """Write predictions down, one or more."""
    columns = (
        [one.tenant_id for one in predicted],
        [one.run_id for one in predicted],
        [one.expected_at for one in predicted],
        [" ".join(one.path) for one in predicted],
    )
    connection.execute(_WRITE, columns)


def sweep(connection: Connection, *, limit: int) -> int:
    """Await no more the runs that are gone; answers how many."""
    return connection.execute(_SWEEP, (limit,)).rowcount
