"""Results of a map, item by item, page by page, whatever they come to together."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from orchestrator import store
from orchestrator.domain import jsonvalue
from orchestrator.domain.errors import StepNotFound
from orchestrator.domain.maps import batch_items
from orchestrator.domain.statuses import TERMINAL_STEP
from orchestrator.models import MapState, StepRun
from orchestrator.selectors.paging import Page, seal, unseal_numbers
from orchestrator.selectors.steps import access_step
from orchestrator.store import payloads
from tenants.models import Tenant

CURSOR = "results"
PAGE_BYTES = 1024 * 1024
"""Bytes of JSON after which a page of results ends, with its batch."""
ROWS = 100


def results_page(
    *, tenant: Tenant, run_id: UUID | str, name: str, limit: int, cursor: str | None
) -> Page:
    """`{item_index, index, output}` for each item whose batch has ended, in the batches' order:
    `index` is the batch, `output` null of a failed item, `item_index` null of an unordered map.

    While the map runs the pages end before its first batch that has not; the cursor then goes on.
    Raises RunNotFound, StepNotFound (of a step that is no map too), InvalidCursor."""
    run, graph, ordinal = access_step(tenant=tenant, run_id=run_id, name=name)
    if not graph.is_map(name):
        raise StepNotFound(step=name)
    batch, skip = (1, 0) if cursor is None else unseal_numbers(CURSOR, cursor, 2)
    state = MapState.objects.filter(tenant_id=tenant.pk, run_id=run.pk, ordinal=ordinal).first()
    items: list[dict[str, object]] = []
    if state is None:
        goes_on = not run.finished_at
        return Page(items, seal(CURSOR, batch, skip) if goes_on else None)
    taken = 0
    for row in _batches(tenant, run.pk, ordinal, batch):
        begin = skip if row.batch == batch else 0
        if row.state not in TERMINAL_STEP or taken >= PAGE_BYTES or len(items) == limit:
            return Page(items, seal(CURSOR, row.batch, begin))
        text, values = _values(row, batch_items(row.batch, state.total, state.batch_size))
        taken += len(text)
        first = (row.batch - 1) * state.batch_size
        for at, value in enumerate(values[begin:], begin):
            if len(items) == limit:
                return Page(items, seal(CURSOR, row.batch, at))
            known = first + at if state.ordered else None
            items.append({"item_index": known, "index": row.batch - 1, "output": value})
        batch, skip = row.batch + 1, 0
    return Page(items, None if state.finished_at else seal(CURSOR, batch, skip))


def _batches(tenant: Tenant, run_id: UUID, ordinal: int, first: int) -> Iterator[StepRun]:
    """The batches from this one on, some at a time."""
    while True:
        rows = StepRun.objects.filter(
            tenant=tenant, run_id=run_id, ordinal=ordinal, batch__gte=max(first, 1)
        )
        found = list(rows.order_by("batch").only("batch", "state", "output")[:ROWS])
        yield from found
        if len(found) < ROWS:
            return
        first = found[-1].batch + 1


def _values(row: StepRun, count: int) -> tuple[str, list[object]]:
    """The text of a batch's results, and the results; nulls where it failed, none where none are kept."""
    if row.state != "succeeded":
        return "", [None] * count if row.state == "failed" else []
    (text,) = payloads.resolve(store.connection(), [row.output])
    values = [] if text is None else jsonvalue.stored(text)
    assert isinstance(values, list)
    return text or "", values
