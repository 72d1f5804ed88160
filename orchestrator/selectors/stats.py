"""Throughput, latencies and error rates of any stretch of time, read from the rollups alone."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, cast

from django.db.models import F, Q, QuerySet, Sum
from django.utils import timezone

from orchestrator.conf import conf
from orchestrator.domain.errors import WorkflowNotFound
from orchestrator.models import Rollup, Workflow
from orchestrator.models.metrics import COUNTS, MEASURES, WIDTHS
from orchestrator.selectors.measured import (
    Bucket,
    Counts,
    Measured,
    Quantiles,
    WindowStats,
    WorkflowStats,
)
from orchestrator.selectors.sketches import Sketch, Stored
from tenants.models import Tenant

__all__ = [
    "MAX_BUCKETS", "MAX_WINDOW_S", "WINDOWS", "Bucket", "Counts", "Measured", "Quantiles", "WindowStats",
    "WorkflowStats", "measure", "measure_each", "rows_for", "source_for", "width_for", "window_stats",
    "workflow_stats",
]  # fmt: skip

WINDOWS = {"15m": 900, "1h": 3600, "6h": 21_600, "24h": 86_400, "7d": 604_800}
"""Seconds of the windows that pages and the API offer."""
MAX_BUCKETS = 120
MAX_WINDOW_S = 60 * 86_400
FINEST_S = WIDTHS[0]

_STEPS = (10, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 43_200, 86_400)
_SHARES = (0.5, 0.95, 0.99)


class _Gathering:
    """Adds up rollup rows: counts by column, sketches to be merged at the end."""

    __slots__ = ("counts", "sketches")

    def __init__(self) -> None:
        self.counts: list[float] = [0] * len(COUNTS)
        self.sketches: dict[str, list[Stored]] = {}

    def add(self, counts: Iterable[float], sketches: Iterable[tuple[str, Stored | None]]) -> None:
        self.counts = [a + b for a, b in zip(self.counts, counts, strict=True)]
        for name, sketch in sketches:
            if sketch is not None:
                self.sketches.setdefault(name, []).append(sketch)

    def measured(self, begin: int, end: int) -> Measured:
        counts = Counts(**dict(zip(COUNTS, self.counts, strict=True)))  # type: ignore[arg-type]
        found = {name: Sketch.read(self.sketches.get(name, ())) for name in MEASURES}
        return Measured(_time(begin), _time(end), counts, **found)


def width_for(window_s: int, *, at_least: int = FINEST_S) -> int:
    """The narrowest bucket, of `at_least` so many seconds, that cuts `window_s` into at most 120."""
    steps = (step for step in _STEPS if step >= at_least and window_s <= step * MAX_BUCKETS)
    return next(steps, _STEPS[-1])


def source_for(width_s: int) -> int:
    """The widest of the stored buckets that make up one of `width_s`."""
    return max(width for width in WIDTHS if width_s % width == 0)


def rows_for(window_s: int) -> int:
    """How many stored buckets of each workflow a window is read from: 288 for a day, 1,440 for 60 days."""
    return -(-window_s // source_for(width_for(window_s)))


# -- any stretch of time -----------------------------------------------------------------------


def measure(
    *,
    tenant_id: int,
    workflow_ids: Collection[int] | None,
    since: datetime,
    until: datetime,
    of: Collection[str] = MEASURES,
) -> Measured:
    """What happened from `since` up to `until`, of these workflows together (None: of the tenant).

    Both moments are rounded down to 10 s; where buckets so narrow are kept no longer, to a minute
    or an hour: the answer says which.  `of`: the sketches that are wanted, of `run`, `queue`,
    `attempt`, `ready`; the others are empty.  One statement; of a month it reads about 1,000 rows
    a workflow."""
    begin, end = _kept_from(since), _kept_from(until)
    whole = _Gathering()
    spans = list(_cover(begin, end))
    if spans:
        where = Q()
        for width, first, last in spans:
            where |= Q(width_s=width, at__gte=_time(first), at__lt=_time(last))
        for _, counts, sketches in _read(_rows(tenant_id, workflow_ids).filter(where), of):
            whole.add(counts, sketches)
    return whole.measured(begin, max(begin, end))


def measure_each(
    *,
    tenant_id: int,
    workflow_ids: Collection[int] | None,
    since: datetime,
    until: datetime,
    width_s: int,
    of: Collection[str] = MEASURES,
) -> list[Measured]:
    """The same, bucket by bucket of `width_s` seconds, oldest first; those without events are left out.

    `width_s` is a multiple of 10; the first bucket is the one that holds `since`, the last one ends at
    `until` or before.  Buckets narrower
    than what is still kept of their time are empty.  One statement."""
    if width_s <= 0 or width_s % FINEST_S:
        raise ValueError(f"a bucket's width is a multiple of {FINEST_S} seconds, not {width_s}")
    begin = int(since.timestamp()) // width_s * width_s
    end = int(until.timestamp()) // width_s * width_s
    rows = _rows(tenant_id, workflow_ids).filter(
        width_s=source_for(width_s), at__gte=_time(begin), at__lt=_time(end)
    )
    parts: defaultdict[int, _Gathering] = defaultdict(_Gathering)
    for at, counts, sketches in _read(rows, of):
        parts[at - at % width_s].add(counts, sketches)
    return [parts[at].measured(at, at + width_s) for at in sorted(parts)]


def _kept_from(moment: datetime) -> int:
    """The moment in unix seconds, rounded down to a bucket that is still kept."""
    seconds = int(moment.timestamp())
    width = _kept_width(seconds)
    return seconds // width * width


def _kept_width(seconds: int) -> int:
    """The narrowest buckets that are still kept of this moment."""
    age = timezone.now().timestamp() - seconds
    days = conf().rollup_days_by_width
    return next((one for one in WIDTHS if age < days[one] * 86_400), WIDTHS[-1])


def _cover(begin: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The stretch as few buckets: hours within, narrower ones at both ends: width, from, up to."""
    yield from _narrow(begin, end, len(WIDTHS) - 1)


def _narrow(begin: int, end: int, place: int) -> Iterator[tuple[int, int, int]]:
    if begin >= end:
        return
    width = WIDTHS[place]
    first, last = -(-begin // width) * width, end // width * width
    if place == 0 or first < last:
        yield width, first, last
    if place > 0 and first < last:
        yield from _narrow(begin, first, place - 1)
        yield from _narrow(last, end, place - 1)
    elif place > 0:
        yield from _narrow(begin, end, place - 1)


def _rows(tenant_id: int, workflow_ids: Collection[int] | None) -> QuerySet[Rollup]:
    """The tenant's rows, or these workflows'."""
    rows = Rollup.objects.filter(tenant_id=tenant_id)
    if workflow_ids is None:
        return rows.filter(workflow_id=0)
    return rows.filter(workflow_id__in=[pk for pk in workflow_ids if pk > 0])


def _read(
    rows: QuerySet[Rollup], of: Collection[str] = MEASURES
) -> Iterator[tuple[int, Sequence[float], list[tuple[str, Stored | None]]]]:
    """Each row's beginning in unix seconds, its counts in the order of COUNTS, and its sketches."""
    names = [name for name in MEASURES if name in of]
    columns = ("at", *COUNTS, *(f"{name}_sketch" for name in names))
    first = 1 + len(COUNTS)
    for row in rows.values_list(*columns):
        yield int(row[0].timestamp()), row[1:first], list(zip(names, row[first:], strict=True))


# -- windows up to now -------------------------------------------------------------------------


def window_stats(
    *,
    tenant: Tenant,
    window_s: int,
    workflows: Collection[str] = (),
    now: datetime | None = None,
    of: Collection[str] = MEASURES,
) -> WindowStats:
    """The `window_s` seconds up to `now`, of the tenant or of these workflows together; quantiles are
    there for the measures `of` that are wanted.

    Reads `rows_for` rollup rows of the tenant, or of each workflow.  Raises WorkflowNotFound,
    ValueError (window not within 1 s … 60 days)."""
    if not 1 <= window_s <= MAX_WINDOW_S:
        raise ValueError(f"a window is 1 to {MAX_WINDOW_S} seconds long, not {window_s}")
    ids = _ids(tenant, workflows) if workflows else None
    moment = now or timezone.now()
    width = width_for(window_s, at_least=_kept_width(int(moment.timestamp() - window_s)))
    end = math.ceil(moment.timestamp() / width) * width
    begin = end - -(-window_s // width) * width
    found = measure_each(
        tenant_id=tenant.pk,
        workflow_ids=ids,
        since=_time(begin),
        until=_time(end),
        width_s=width,
        of=of,
    )
    return _window(found, begin=begin, end=end, width=width, moment=moment)


def workflow_stats(
    *,
    tenant: Tenant,
    window_s: int,
    names: Collection[str] | None = None,
    limit: int = 100,
    now: datetime | None = None,
) -> list[WorkflowStats]:
    """The `limit` workflows (of these `names`) with the most finished runs in the window, most first.

    The window is rounded out to buckets of at most a tenth of it.  Counts are added up by the
    database; sketches are read of those `limit` alone."""
    moment = now or timezone.now()
    begin = int(moment.timestamp() - window_s)
    width = max(
        _kept_width(begin), *(one for one in WIDTHS if one == FINEST_S or one * 10 <= window_s)
    )
    rows = Rollup.objects.filter(
        tenant_id=tenant.pk,
        width_s=width,
        workflow_id__gt=0,
        at__gte=_time(begin // width * width),
        at__lt=moment,
    )
    if names is not None:
        asked = Workflow.objects.filter(tenant=tenant, name__in=names)
        rows = rows.filter(workflow_id__in=list(asked.values_list("pk", flat=True)))
    sums = (
        rows.values("workflow_id")
        .annotate(**{f"sum_{name}": Sum(name) for name in COUNTS})
        .annotate(finished=F("sum_runs_succeeded") + F("sum_runs_failed") + F("sum_runs_cancelled"))
        .order_by("-finished", "workflow_id")[:limit]
    )
    totals = {
        row["workflow_id"]: Counts(**{name: row[f"sum_{name}"] for name in COUNTS})
        for row in cast("Iterable[dict[str, Any]]", sums)
    }
    known = dict(Workflow.objects.filter(tenant=tenant, pk__in=totals).values_list("pk", "name"))
    sketches: defaultdict[int, list[Stored]] = defaultdict(list)
    seen = rows.filter(workflow_id__in=known, run_sketch__isnull=False)
    for pk, sketch in seen.values_list("workflow_id", "run_sketch"):
        assert sketch is not None
        sketches[pk].append(sketch)
    stats = [
        WorkflowStats(known[pk], counts, _quantiles(Sketch.read(sketches[pk])))
        for pk, counts in totals.items()
        if pk in known
    ]
    return sorted(stats, key=lambda one: (-one.totals.runs_finished, one.name))


def _ids(tenant: Tenant, names: Collection[str]) -> list[int]:
    wanted = set(names)
    found = dict(Workflow.objects.filter(tenant=tenant, name__in=wanted).values_list("name", "pk"))
    if len(found) < len(wanted):
        raise WorkflowNotFound
    return list(found.values())


def _window(
    found: Sequence[Measured], *, begin: int, end: int, width: int, moment: datetime
) -> WindowStats:
    by_time = {int(one.since.timestamp()): one for one in found}
    buckets = [_bucket(by_time.get(at), at, width) for at in range(begin, end, width)]
    totals = Counts(**{name: sum(getattr(one.counts, name) for one in found) for name in COUNTS})
    quantiles = {
        name: _quantiles(Sketch.merged(getattr(one, name) for one in found)) for name in MEASURES
    }
    elapsed = max(moment.timestamp() - begin, 1.0)
    return WindowStats(
        since=_time(begin),
        until=moment,
        width_s=width,
        buckets=tuple(buckets),
        totals=totals,
        runs_per_s=totals.runs_finished / elapsed,
        steps_per_s=totals.steps_finished / elapsed,
        **quantiles,
    )


def _bucket(found: Measured | None, at: int, width: int) -> Bucket:
    if found is None:
        return Bucket(
            _time(at), width, Counts(), Quantiles(), Quantiles(), Quantiles(), Quantiles()
        )
    quantiles = {name: _quantiles(getattr(found, name)) for name in MEASURES}
    return Bucket(_time(at), width, found.counts, **quantiles)


def _quantiles(sketch: Sketch) -> Quantiles:
    values = sketch.quantiles(_SHARES)
    return Quantiles() if values is None else Quantiles(*values)


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
