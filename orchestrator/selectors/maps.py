"""Maps of a run, in the shapes that users see: how far each is, and what its own row means.

While its batches run, a map's own row is `waiting` with the reason `map`: it holds no connection.
What users see is `running`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from django.db.models import Q, QuerySet

from orchestrator.models import MapState, StepRun
from orchestrator.selectors.payloads import Payload, payload
from orchestrator.selectors.versions import VersionGraph
from tenants.models import Tenant

MAPPING = "map"
"""The wait reason of a map's own row while its batches run."""


@dataclass(frozen=True, slots=True)
class MapView:
    """`counts`: {total, done, failed, in_flight}; `errors`: the first failed items, null if none."""

    counts: dict[str, int]
    errors: Payload | None = None


def map_views(
    *, tenant: Tenant, steps: Collection[StepRun], graph: VersionGraph
) -> dict[int, MapView]:
    """By ordinal, how far the maps among these step runs of one run are; zeros before the beginning."""
    ordinals = {row.ordinal for row in steps if graph.steps[row.ordinal].is_map and row.batch == 0}
    if not ordinals:
        return {}
    return map_counts(tenant=tenant, run_id=next(iter(steps)).run_id, ordinals=ordinals)


def map_counts(*, tenant: Tenant, run_id: UUID, ordinals: Collection[int]) -> dict[int, MapView]:
    """By ordinal, how far these maps of a run are; zeros before the beginning."""
    if not ordinals:
        return {}
    nothing = MapView({"total": 0, "done": 0, "failed": 0, "in_flight": 0})
    found = dict.fromkeys(ordinals, nothing)
    states = MapState.objects.filter(tenant_id=tenant.pk, run_id=run_id, ordinal__in=ordinals)
    for state in states:
        counts = {
            "total": state.total,
            "done": state.done,
            "failed": state.failed,
            "in_flight": state.in_flight,
        }
        found[state.ordinal] = MapView(counts, payload(state.errors))
    return found


def is_mapping(row: StepRun) -> bool:
    """Whether this is a map's own row whose batches run."""
    return row.wait_reason == MAPPING


def state_of(state: str, wait_reason: str | None) -> str:
    """A step run's state as users see it."""
    return "running" if wait_reason == MAPPING else state


def in_state(rows: QuerySet[StepRun], state: str) -> QuerySet[StepRun]:
    """Those that users see in this state."""
    if state == "running":
        return rows.filter(Q(state="running") | Q(state="waiting", wait_reason=MAPPING))
    if state == "waiting":
        return rows.filter(state="waiting").exclude(wait_reason=MAPPING)
    return rows.filter(state=state)


def batch_index(batch: int | None) -> int | None:
    """A batch's index, from 0; null for a row that is no batch."""
    return batch - 1 if batch is not None and batch > 0 else None
