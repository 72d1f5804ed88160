"""Counting what happened: the clock calls `roll` each second, `prune` each hour."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from fastdigest import TDigest, merge_all

from orchestrator import store
from orchestrator.store import rollups
from orchestrator.store.connect import Connection
from orchestrator.store.rollups import Counted, Key, Stretch, Sums

WIDTHS = (10, 300, 3600)
"""Seconds of a bucket: any window is read from at most 360 of them."""
KEEP_S = {10: 2 * 86_400, 300: 15 * 86_400, 3600: 400 * 86_400}
CENTROIDS = 100
"""Of a sketch: at most 1.6 KB, with an error of the 99th percentile far below 1 %."""

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
SKETCH_OF = {
    "step.running": "queue_sketch",
    "step.succeeded": "attempt_sketch",
    "step.failed": "attempt_sketch",
    "step.retrying": "attempt_sketch",
    "run.succeeded": "run_sketch",
    "run.failed": "run_sketch",
}


def roll(limit: int = 50_000, *, connection: Connection | None = None) -> int:
    """Count at most about `limit` events that are not counted yet; answers how many it moved past.

    One transaction: the buckets, the totals and the cursors change together.  Any number of
    processes may call it; each tenant is counted by one at a time."""
    database = connection or store.connection()
    with database.transaction():
        behind = _share(rollups.lock_behind(database), limit)
        if not behind:
            return 0
        buckets, totals = _sum(rollups.read(database, behind), behind)
        if buckets:
            for key, known in rollups.sketches(database, buckets).items():
                _merge(buckets[key], known)
            rollups.write(database, buckets)
        rollups.move(database, totals)
    return sum(stretch.upto - stretch.after for stretch in behind)


def prune(limit: int = 10_000, *, connection: Connection | None = None) -> int:
    """Drop at most `limit` buckets of each width that are older than any window; answers how many."""
    database = connection or store.connection()
    return sum(
        rollups.prune(database, width_s=width, age_s=age, limit=limit)
        for width, age in KEEP_S.items()
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
        _add(totals[stretches[row.tenant_id]], row)
        sketch = SKETCH_OF.get(row.type)
        digest = (
            TDigest.from_values(row.seconds, max_centroids=CENTROIDS)
            if sketch and row.seconds
            else None
        )
        for workflow in {0, row.workflow_id}:
            for width in WIDTHS:
                key = Key(row.tenant_id, workflow, width, row.at - row.at % width)
                _add(buckets[key], row)
                if sketch and digest is not None:
                    digests[key, sketch].append(digest)
    for (key, sketch), parts in digests.items():
        buckets[key].sketches[sketch] = _bytes(parts)
    return dict(buckets), totals


def _add(sums: Sums, row: Counted) -> None:
    count = COUNT_OF.get(row.type)
    if count is not None:
        sums.counts[count] += row.number
    if row.type.startswith("step.") and row.type != "step.running":
        sums.counts["worker_s"] += row.sum_s


def _merge(sums: Sums, known: dict[str, bytes]) -> None:
    """Put the bucket's own sketches into those that replace them."""
    for name, old in known.items():
        new = sums.sketches.get(name)
        if new is not None:
            sums.sketches[name] = _bytes([TDigest.from_bytes(old), TDigest.from_bytes(new)])


def _bytes(digests: list[TDigest]) -> bytes:
    whole = digests[0] if len(digests) == 1 else merge_all(digests, max_centroids=CENTROIDS)
    return bytes(whole.to_bytes())
