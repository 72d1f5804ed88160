"""Throughput, latencies and error rates of a window, read from the rollups alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import UTC, datetime

from django.utils import timezone
from fastdigest import TDigest, merge_all

from orchestrator.domain.errors import WorkflowNotFound
from orchestrator.models import Rollup, Workflow
from orchestrator.models.metrics import COUNTS
from tenants.models import Tenant

WINDOWS = {"15m": 900, "1h": 3600, "6h": 21_600, "24h": 86_400, "7d": 604_800}
"""Seconds of the windows that pages and the API offer."""
MAX_BUCKETS = 120
MAX_WINDOW_S = 60 * 86_400

_STEPS = (10, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 43_200, 86_400)
_SKETCHES = ("queue_sketch", "attempt_sketch", "run_sketch")


@dataclass(frozen=True, slots=True)
class Counts:
    """How many of each kind; see the model for their meaning."""

    submitted: int = 0
    runs_succeeded: int = 0
    runs_failed: int = 0
    runs_cancelled: int = 0
    attempts: int = 0
    steps_succeeded: int = 0
    steps_failed: int = 0
    steps_skipped: int = 0
    steps_cancelled: int = 0
    retries: int = 0
    losses: int = 0
    worker_s: float = 0.0

    @property
    def runs_finished(self) -> int:
        """Runs that ended, however they did."""
        return self.runs_succeeded + self.runs_failed + self.runs_cancelled

    @property
    def steps_finished(self) -> int:
        """Steps that ran and ended by themselves."""
        return self.steps_succeeded + self.steps_failed

    @property
    def error_rate(self) -> float | None:
        """Failed of those runs that succeeded or failed, 0 to 1; None where none did."""
        decided = self.runs_succeeded + self.runs_failed
        return self.runs_failed / decided if decided else None


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Seconds; None where nothing was measured."""

    p50_s: float | None = None
    p95_s: float | None = None
    p99_s: float | None = None


@dataclass(frozen=True, slots=True)
class Bucket:
    """`width_s` seconds from `at` on.  The last one of a window may be still filling."""

    at: datetime
    width_s: int
    counts: Counts
    run: Quantiles
    attempt: Quantiles
    queue: Quantiles


@dataclass(frozen=True, slots=True)
class WindowStats:
    """A window of time, oldest bucket first, without holes (empty buckets are there)."""

    since: datetime
    until: datetime
    width_s: int
    buckets: tuple[Bucket, ...]
    totals: Counts
    run: Quantiles
    attempt: Quantiles
    queue: Quantiles
    runs_per_s: float
    steps_per_s: float

    @property
    def error_rate(self) -> float | None:
        """Failed of those runs that succeeded or failed, 0 to 1; None where none did."""
        return self.totals.error_rate


@dataclass(frozen=True, slots=True)
class WorkflowStats:
    """A workflow's part in a window."""

    name: str
    totals: Counts
    run: Quantiles


class _Gathering:
    """Adds up rollup rows: counts by column, sketches to be merged at the end."""

    __slots__ = ("counts", "sketches")

    def __init__(self) -> None:
        self.counts: list[float] = [0] * len(COUNTS)
        self.sketches: tuple[list[bytes], ...] = tuple([] for _ in _SKETCHES)

    def add(self, counts: Iterable[float], sketches: Iterable[bytes | memoryview | None]) -> None:
        self.counts = [a + b for a, b in zip(self.counts, counts, strict=True)]
        for kept, sketch in zip(self.sketches, sketches, strict=True):
            if sketch is not None:
                kept.append(bytes(sketch))

    def totals(self) -> Counts:
        return Counts(**dict(zip(COUNTS, self.counts, strict=True)))  # type: ignore[arg-type]

    def digests(self) -> tuple[TDigest | None, ...]:
        return tuple(_merged([TDigest.from_bytes(one) for one in kept]) for kept in self.sketches)


def width_for(window_s: int) -> int:
    """The narrowest bucket that cuts `window_s` into at most 120."""
    return next((step for step in _STEPS if window_s <= step * MAX_BUCKETS), _STEPS[-1])


def window_stats(
    *, tenant: Tenant, window_s: int, workflow: str | None = None, now: datetime | None = None
) -> WindowStats:
    """The `window_s` seconds up to `now`, of the tenant or of one workflow.

    Reads at most a few hundred rollup rows.  Raises WorkflowNotFound, ValueError (window not
    within 1 s … 60 days)."""
    if not 1 <= window_s <= MAX_WINDOW_S:
        raise ValueError(f"a window is 1 to {MAX_WINDOW_S} seconds long, not {window_s}")
    workflow_id = 0
    if workflow is not None:
        found = (
            Workflow.objects.filter(tenant=tenant, name=workflow)
            .values_list("pk", flat=True)
            .first()
        )
        if found is None:
            raise WorkflowNotFound
        workflow_id = found
    moment = now or timezone.now()
    width = width_for(window_s)
    end = (int(moment.timestamp()) // width + 1) * width
    begin = end - -(-window_s // width) * width
    parts: defaultdict[int, _Gathering] = defaultdict(_Gathering)
    for at, counts, sketches in _rows(tenant, workflow_id, width, begin, end):
        parts[at - (at - begin) % width].add(counts, sketches)
    return _window(parts, begin=begin, end=end, width=width, moment=moment)


def workflow_stats(
    *, tenant: Tenant, window_s: int, now: datetime | None = None
) -> list[WorkflowStats]:
    """Each workflow that did anything in the window, most runs first."""
    moment = now or timezone.now()
    width = 300 if window_s <= WINDOWS["6h"] else 3600
    begin = int(moment.timestamp() - window_s) // width * width
    parts: defaultdict[int, _Gathering] = defaultdict(_Gathering)
    rows = Rollup.objects.filter(
        tenant_id=tenant.pk, width_s=width, workflow_id__gt=0, at__gte=_time(begin)
    ).values_list("workflow_id", *COUNTS, *_SKETCHES)
    for row in rows:
        parts[row[0]].add(row[1 : 1 + len(COUNTS)], row[1 + len(COUNTS) :])
    names = dict(Workflow.objects.filter(tenant=tenant, pk__in=parts).values_list("pk", "name"))
    stats = [
        WorkflowStats(names[pk], part.totals(), _quantiles(part.digests()[2]))
        for pk, part in parts.items()
        if pk in names
    ]
    return sorted(stats, key=lambda one: (-one.totals.runs_finished, one.name))


def _rows(
    tenant: Tenant, workflow_id: int, width: int, begin: int, end: int
) -> Iterable[tuple[int, tuple[float, ...], tuple[bytes | None, ...]]]:
    source = 10 if width < 300 else 300 if width < 3600 else 3600
    rows = Rollup.objects.filter(
        tenant_id=tenant.pk,
        workflow_id=workflow_id,
        width_s=source,
        at__gte=_time(begin),
        at__lt=_time(end),
    ).values_list("at", *COUNTS, *_SKETCHES)
    for row in rows:
        yield int(row[0].timestamp()), row[1 : 1 + len(COUNTS)], row[1 + len(COUNTS) :]


def _window(
    parts: dict[int, _Gathering], *, begin: int, end: int, width: int, moment: datetime
) -> WindowStats:
    whole = _Gathering()
    digests: tuple[list[TDigest], ...] = tuple([] for _ in _SKETCHES)
    buckets = []
    for at in range(begin, end, width):
        part = parts.get(at)
        if part is None:
            buckets.append(
                Bucket(_time(at), width, Counts(), Quantiles(), Quantiles(), Quantiles())
            )
            continue
        whole.add(part.counts, (None,) * len(_SKETCHES))
        merged = part.digests()
        for kept, digest in zip(digests, merged, strict=True):
            if digest is not None:
                kept.append(digest)
        buckets.append(
            Bucket(
                _time(at),
                width,
                part.totals(),
                run=_quantiles(merged[2]),
                attempt=_quantiles(merged[1]),
                queue=_quantiles(merged[0]),
            )
        )
    totals = whole.totals()
    queue, attempt, run = (_quantiles(_merged(kept)) for kept in digests)
    elapsed = max(moment.timestamp() - begin, 1.0)
    return WindowStats(
        since=_time(begin),
        until=moment,
        width_s=width,
        buckets=tuple(buckets),
        totals=totals,
        run=run,
        attempt=attempt,
        queue=queue,
        runs_per_s=totals.runs_finished / elapsed,
        steps_per_s=totals.steps_finished / elapsed,
    )


def _merged(digests: list[TDigest]) -> TDigest | None:
    if not digests:
        return None
    return digests[0] if len(digests) == 1 else merge_all(digests)


def _quantiles(digest: TDigest | None) -> Quantiles:
    if digest is None:
        return Quantiles()
    return Quantiles(*(max(float(one), 0.0) for one in digest.quantile_vec([0.5, 0.95, 0.99])))


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


assert (
    tuple(field.name for field in fields(Counts)) == COUNTS
)  # the columns and their reading agree
