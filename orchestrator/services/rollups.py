"""Counting what happened: the clock calls `roll` each second, `prune` every ten minutes."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from functools import partial

from fastdigest import TDigest, merge_all

from orchestrator import store
from orchestrator.conf import Conf
from orchestrator.metrics import TENANTS_AT_MOST
from orchestrator.models.metrics import HISTOGRAM_BOUNDS_S, WIDTHS
from orchestrator.services.portions import all_of
from orchestrator.store import rollups
from orchestrator.store.connect import Connection
from orchestrator.store.rollups import Counted, Key, Stretch, Sums

CENTROIDS = 100
"""Of a sketch: at most 1.6 KB (docs/decisions/rollups.md has its error)."""

COUNT_OF = {
    "run.queued": "submitted",
    "run.succeeded": "runs_succeeded",
    "run.failed": "runs_failed",
    "run.cancelled": "runs_cancelled",
    "step.running": "attempts",
    "step.succeeded": "steps_succeeded",
    "step.failed": "steps_failed",
    "step.skipped": "steps_skipped",
    "step.cancelled": "steps_cancelled",
    "step.retrying": "retries",
    "step.lost": "losses",
}
MEASURE_OF = {
    "step.running": "queue",
    "step.succeeded": "attempt",
    "step.failed": "attempt",
    "step.retrying": "attempt",
    "run.succeeded": "run",
    "run.failed": "run",
}


def roll(limit: int = 50_000, *, connection: Connection | None = None) -> int:
    """Count at most about `limit` events that are not counted yet; answers how many it moved past.

    One transaction: the buckets, the totals and the cursors change together.  Any number of
    processes may call it; each tenant is counted by one at a time."""
    database = connection or store.connection()
    with database.transaction():
        behind = _share(rollups.lock_behind(database, TENANTS_AT_MOST), limit)
        if not behind:
            return 0
        buckets, totals = _sum(rollups.read(database, behind), behind)
        if buckets:
            for key, known in rollups.sketches(database, buckets).items():
                _merge(buckets[key], known)
            rollups.write(database, buckets)
        others = [totals[stretch] for stretch in behind if not stretch.own]
        rollups.move(database, totals | ({rollups.OTHERS: _together(others)} if others else {}))
    return sum(stretch.upto - stretch.after for stretch in behind)


def label(connection: Connection) -> int:
    """See who has a label of its own in metrics, and bring the totals up to what databases told."""
    rollups.waits(connection)
    return rollups.label(connection, TENANTS_AT_MOST)


def prune(conf: Conf, limit: int = 10_000, *, connection: Connection | None = None) -> int:
    """Drop the buckets of each width that are kept no longer, `limit` at a time; answers how many.

    What is dropped is in the wider buckets too: they were counted at the same time."""
    database = connection or store.connection()
    return sum(
        all_of(partial(rollups.prune, database, width_s=width, age_s=days * 86_400, limit=limit))
        for width, days in conf.rollup_days_by_width.items()
    )


def _share(behind: Sequence[Stretch], limit: int) -> list[Stretch]:
    """Cut the stretches to `limit` events in all: those that are short whole, the rest alike."""
    left, shares = limit, []
    for place, stretch in enumerate(sorted(behind, key=lambda one: one.upto - one.after)):
        share = min(stretch.upto - stretch.after, max(left // (len(behind) - place), 1))
        left -= share
        shares.append(stretch._replace(upto=stretch.after + share))
    return shares


def _sum(
    counted: Sequence[Counted], behind: Sequence[Stretch]
) -> tuple[dict[Key, Sums], dict[Stretch, Sums]]:
    """The events as buckets (each width, of the workflow and of the tenant) and as totals."""
    buckets: defaultdict[Key, Sums] = defaultdict(Sums)
    stretches = {stretch.tenant_id: stretch for stretch in behind}
    totals = {stretch: Sums() for stretch in behind}
    digests: defaultdict[tuple[Key, str], list[TDigest]] = defaultdict(list)
    for row in counted:
        total = totals[stretches[row.tenant_id]]
        _add(total, row)
        measured = _measured(row)
        for measure, values in measured.items():
            _count(total, measure, values)
        sketches = {
            f"{measure}_sketch": TDigest.from_values(values, max_centroids=CENTROIDS)
            for measure, values in measured.items()
        }
        for workflow in {0, row.workflow_id}:
            for width in WIDTHS:
                key = Key(row.tenant_id, workflow, width, row.at - row.at % width)
                _add(buckets[key], row)
                for sketch, digest in sketches.items():
                    digests[key, sketch].append(digest)
    for (key, sketch), parts in digests.items():
        buckets[key].sketches[sketch] = _bytes(parts)
    return dict(buckets), totals


def _measured(row: Counted) -> dict[str, list[float]]:
    """The seconds that these events tell, by measure."""
    found = {}
    if row.seconds and row.type in MEASURE_OF:
        found[MEASURE_OF[row.type]] = row.seconds
    if row.lags:
        found["ready"] = row.lags
    return found


def _count(total: Sums, measure: str, values: list[float]) -> None:
    ordered = sorted(values)
    histogram = total.histograms[measure]
    for place, bound in enumerate(HISTOGRAM_BOUNDS_S):
        histogram[place] += bisect_right(ordered, bound)
    histogram[-1] += len(ordered)
    total.seconds[measure] += sum(ordered)


def _add(sums: Sums, row: Counted) -> None:
    sums.counts["events"] += row.number
    count = COUNT_OF.get(row.type)
    if count is not None:
        sums.counts[count] += row.number
    if row.late:
        sums.counts["runs_timed_out" if row.type.startswith("run.") else "timeouts"] += row.number
    if row.type.startswith("step.") and row.type != "step.running":
        sums.counts["worker_s"] += row.sum_s


def _together(totals: Sequence[Sums]) -> Sums:
    whole = Sums()
    for one in totals:
        for name, count in one.counts.items():
            whole.counts[name] += count
        for name, seconds in one.seconds.items():
            whole.seconds[name] += seconds
            whole.histograms[name] = [
                a + b for a, b in zip(whole.histograms[name], one.histograms[name], strict=True)
            ]
    return whole


def _merge(sums: Sums, known: dict[str, bytes]) -> None:
    """Put the bucket's own sketches into those that replace them."""
    for name, old in known.items():
        new = sums.sketches.get(name)
        if new is not None:
            sums.sketches[name] = _bytes([TDigest.from_bytes(old), TDigest.from_bytes(new)])


def _bytes(digests: list[TDigest]) -> bytes:
    whole = digests[0] if len(digests) == 1 else merge_all(digests, max_centroids=CENTROIDS)
    return bytes(whole.to_bytes())
