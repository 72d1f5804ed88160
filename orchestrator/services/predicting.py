"""Foreseeing which runs will be late: a duty of the clock."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from uuid import UUID

from orchestrator.domain import graph
from orchestrator.domain.slo.prediction import Ahead, forecast
from orchestrator.domain.statuses import TERMINAL_STEP
from orchestrator.selectors.versions import version_graph
from orchestrator.store import Connection, for_a_moment, predictions, slas
from orchestrator.store.predictions import Picked, Predicted, StepNow

AGAIN_S = 10.0
RUNS_AT_ONCE = 200
STEPS_AT_ONCE = 20_000
MOST_STEPS = 2000
"""Of a run that is predicted at all."""
NORMS_S = 600.0
"""How long it is believed what steps usually take."""
ENOUGH_RUNS = 5
YOUNG_S = 30.0
"""The same of a workflow of which hardly a run has succeeded yet."""
MEASURED_AT_ONCE = 10
KNOWN_SHARE = 0.5
"""Of the steps that are left, how many must be known for a prediction."""
PATH_SHOWN = 10


def predict(connection: Connection) -> int:
    """Predict the ends of awaited runs, those first whose prediction is oldest; answers how many."""
    picked = predictions.pick(connection, older_s=AGAIN_S, limit=RUNS_AT_ONCE)
    if not picked:
        return 0
    chosen: list[Picked] = []
    room = STEPS_AT_ONCE
    for run in picked:
        if run.step_count <= min(MOST_STEPS, room) and not run.is_paused:
            room -= run.step_count
            chosen.append(run)
    norms = _norms(connection, {run.workflow_id: run.tenant_id for run in chosen})
    now = slas.now(connection)
    found: defaultdict[UUID, dict[int, StepNow]] = defaultdict(dict)
    for step in predictions.steps(connection, [run.run_id for run in chosen]):
        found[step.run_id][step.ordinal] = step
    with for_a_moment():
        ends = {
            run.run_id: _end(run, found[run.run_id], norms.get(run.workflow_id, {}), now)
            for run in chosen
        }
    nothing: tuple[datetime | None, Sequence[str]] = (None, ())
    predictions.write(
        connection,
        [Predicted(run.tenant_id, run.run_id, *ends.get(run.run_id, nothing)) for run in picked],
    )
    return len(chosen)


def _end(
    run: Picked, steps: Mapping[int, StepNow], usual: Mapping[str, float], now: datetime
) -> tuple[datetime | None, Sequence[str]]:
    """When the run is expected to end, and along which steps."""
    names, children, order = _shape(run.version_id)
    ahead = []
    for ordinal, name in enumerate(names):
        step = steps.get(ordinal)
        at_it = None
        if step is not None and step.since is not None:
            at_it = max((now - step.since).total_seconds(), 0.0)
        ended = step is not None and step.state in TERMINAL_STEP
        ahead.append(Ahead(children[ordinal], ended, at_it, usual.get(name)))
    found = forecast(ahead, order)
    if found.known < KNOWN_SHARE:
        return None, ()
    begin = now if run.start_at is None else max(now, run.start_at)
    end = begin + timedelta(seconds=found.remaining_s)
    return end, [names[place] for place in found.path[:PATH_SHOWN]]


@lru_cache(maxsize=128)
def _shape(version_id: int) -> tuple[tuple[str, ...], list[tuple[int, ...]], tuple[int, ...]]:
    """A version's names and children by ordinal, and its steps, parents first."""
    steps = version_graph(version_id).steps
    parents = {step.ordinal: step.parents for step in steps}
    below = graph.children(parents)
    return (
        tuple(step.name for step in steps),
        [tuple(below[step.ordinal]) for step in steps],
        graph.topological_order(parents),
    )


def _norms(connection: Connection, workflows: Mapping[int, int]) -> dict[int, dict[str, float]]:
    """How long the steps of these workflows (with their tenants) usually take; some are measured anew."""
    known = predictions.norms(connection, list(workflows))
    fresh = {
        one.workflow_id
        for one in known
        if one.step == "" and one.age_s < (NORMS_S if one.samples >= ENOUGH_RUNS else YOUNG_S)
    }
    stale = [workflow for workflow in workflows if workflow not in fresh][:MEASURED_AT_ONCE]
    for workflow in stale:
        predictions.measure(
            connection, tenant_id=workflows[workflow], workflow_id=workflow, most=MOST_STEPS
        )
    if stale:
        known = predictions.norms(connection, list(workflows))
    found: defaultdict[int, dict[str, float]] = defaultdict(dict)
    for one in known:
        if one.step and one.p50_s is not None:
            found[one.workflow_id][one.step] = one.p50_s
    return found
