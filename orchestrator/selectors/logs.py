"""What a run's handlers logged, in the order in which it was written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from uuid import UUID

from orchestrator import store
from orchestrator.domain import jsonvalue
from orchestrator.domain.errors import StepNotFound
from orchestrator.domain.maps import SOURCE
from orchestrator.domain.steplog import LEVELS, level_word
from orchestrator.models import Run
from orchestrator.selectors.events import CALLS
from orchestrator.selectors.maps import batch_index
from orchestrator.selectors.paging import DEFAULT_LIMIT, Page, seal_number, unseal_number
from orchestrator.selectors.payloads import Payload
from orchestrator.selectors.runs import access_run
from orchestrator.selectors.versions import VersionGraph, version_graph
from orchestrator.store import logs
from orchestrator.store.logs import LogQuery, LogRow
from tenants.models import Tenant

CURSOR = "logs"
PARTS = {**CALLS, SOURCE: "source"}


@dataclass(frozen=True, slots=True)
class LogFilters:
    """What narrows a run's lines; every field that is set must hold.

    `index`: a map's batch; `attempt`: that one alone; `level`: the lowest; `text`: in the message."""

    step: str | None = None
    index: int | None = None
    attempt: int | None = None
    level: str | None = None
    text: str | None = None


NO_FILTERS = LogFilters()


def log_query(run: Run, filters: LogFilters, *, after: int | None = None) -> LogQuery:
    """The filters as the store asks.  Raises StepNotFound."""
    ordinal = None
    if filters.step is not None:
        ordinal = version_graph(run.version_id).ordinals.get(filters.step)
        if ordinal is None:
            raise StepNotFound(step=filters.step)
    return LogQuery(
        ordinal=ordinal,
        batch=None if filters.index is None else filters.index + 1,
        attempt=filters.attempt,
        level=LEVELS[filters.level] if filters.level else 0,
        text=filters.text,
        after=after,
    )


def logs_page(
    *,
    tenant: Tenant,
    run_id: UUID | str,
    filters: LogFilters = NO_FILTERS,
    limit: int = DEFAULT_LIMIT,
    cursor: str | None = None,
    after: int | None = None,
) -> Page:
    """Lines of a run, oldest first: `{id, at, step, index, attempt, level, message, fields}`.

    A page that looked through many lines for few that fit may hold less than `limit`; `after` is the id
    behind which the first one begins.
    Raises RunNotFound, StepNotFound, InvalidCursor."""
    run = access_run(tenant=tenant, run_id=run_id)
    after = after if cursor is None else unseal_number(CURSOR, cursor)
    found = logs.read(
        store.connection(),
        tenant_id=tenant.pk,
        run_id=run.pk,
        query=log_query(run, filters, after=after),
        limit=limit,
    )
    graph = version_graph(run.version_id)
    rows = [line_view(row, graph) for row in found.rows]
    return Page(rows, None if found.more_from is None else seal_number(CURSOR, found.more_from))


def following_logs(
    *, tenant: Tenant, run_id: UUID, filters: LogFilters, after: int, limit: int
) -> tuple[list[dict[str, object]], int, bool]:
    """Lines behind the id `after`, up to which id was looked, and whether there is more at once.

    Of a run that is no longer kept: none."""
    run = Run.objects.filter(tenant=tenant, pk=run_id).first()
    if run is None:
        return [], after, False
    query = log_query(run, filters, after=after)
    found = logs.read(
        store.connection(), tenant_id=tenant.pk, run_id=run_id, query=query, limit=limit
    )
    graph = version_graph(run.version_id)
    seen = found.rows[-1].id if found.rows else after
    lines = [line_view(row, graph) for row in found.rows]
    return lines, found.more_from or seen, found.more_from is not None


def newest_logs(
    *,
    tenant: Tenant,
    run_id: UUID | str,
    filters: LogFilters = NO_FILTERS,
    limit: int = DEFAULT_LIMIT,
    before: int | None = None,
) -> tuple[list[dict[str, object]], int | None]:
    """The newest lines of a run (older than the id `before`), oldest of them first, and before which
    id there may be more (None: there are none).  Raises RunNotFound, StepNotFound."""
    run = access_run(tenant=tenant, run_id=run_id)
    query = replace(log_query(run, filters), before=before)
    found = logs.read(
        store.connection(),
        tenant_id=tenant.pk,
        run_id=run.pk,
        query=query,
        limit=limit,
        newest=True,
    )
    graph = version_graph(run.version_id)
    return [line_view(row, graph) for row in reversed(found.rows)], found.more_from


def line_view(row: LogRow, graph: VersionGraph) -> dict[str, object]:
    """A line as the API shows it."""
    return {
        "id": row.id,
        "at": row.at,
        "step": graph.name(row.ordinal),
        "index": batch_index(row.batch),
        "attempt": row.attempt,
        "level": level_word(row.level),
        "message": row.message,
        "fields": _told(row),
    }


def _told(row: LogRow) -> Payload | dict[str, object]:
    """The line's fields; `compensate`, `undo` or `source` is true where it is not the step's own
    handler's."""
    if row.batch >= 0:
        return {} if row.fields is None else Payload(row.fields)
    known = {} if row.fields is None else jsonvalue.decode(row.fields)
    assert isinstance(known, dict)
    return {PARTS[row.batch]: True, **known}
