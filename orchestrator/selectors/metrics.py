"""The metrics' values, read from the database at each scrape."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import psycopg
from fastdigest import TDigest, merge_all
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from orchestrator import metrics
from orchestrator.metrics import Metric
from orchestrator.selectors import health
from orchestrator.store import connect, gauges
from orchestrator.store.connect import Connection
from orchestrator.store.gauges import TenantTotals

Sample = tuple[Sequence[str], float]
Family = CounterMetricFamily | GaugeMetricFamily

_QUANTILES = (0.5, 0.95, 0.99)
_RUN_OUTCOMES = {
    "succeeded": "runs_succeeded",
    "failed": "runs_failed",
    "cancelled": "runs_cancelled",
}
_STEP_OUTCOMES = {
    "succeeded": "steps_succeeded",
    "failed": "steps_failed",
    "skipped": "steps_skipped",
    "cancelled": "steps_cancelled",
}
_RANK = {health.State.OK: 0, health.State.DEGRADED: 1, health.State.DOWN: 2}


class MillraceCollector(Collector):
    """Reads everything in a few statements on a connection of its own, within seconds.

    A database that does not answer is a value (`millrace_up 0`), not an error."""

    def describe(self) -> Iterable[Family]:
        """Nothing: asking must not read the database."""
        return []

    def collect(self) -> Iterator[Family]:
        """All families; the counters grow for ever, whatever is pruned."""
        checks = health.checks()
        yield _family(metrics.HEALTH, [((check.name,), _RANK[check.state]) for check in checks])
        try:
            with connect(name="metrics") as connection:
                gauges.bound(connection, health.LIMIT_S)
                families = [*_tenants(connection), *_recent(connection), *_server(connection)]
        except psycopg.Error:
            yield _family(metrics.UP, [((), 0)])
            return
        yield _family(metrics.UP, [((), 1)])
        yield from families


def _family(metric: Metric, samples: Iterable[Sample]) -> Family:
    make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family: Family = make(metric.name, metric.help, labels=metric.labels)
    for labels, value in samples:
        family.add_metric(list(labels), value)
    return family


def _labels(totals: Sequence[TenantTotals]) -> dict[str, str]:
    """Each tenant's label: its slug, for the busiest; `other` for the rest."""
    busiest = sorted(totals, key=lambda one: (-one.counts["attempts"], one.slug))
    return {
        one.slug: one.slug if place < metrics.TENANTS_AT_MOST else metrics.OTHER
        for place, one in enumerate(busiest)
    }


def _tenants(connection: Connection) -> Iterator[Family]:
    totals = gauges.totals(connection)
    labels = _labels(totals)
    gauge: dict[Metric, Counter[str]] = defaultdict(Counter)
    count: dict[str, Counter[str]] = defaultdict(Counter)
    for one in totals:
        label = labels[one.slug]
        gauge[metrics.CONNECTIONS_IN_USE][label] += one.in_use
        gauge[metrics.CONNECTIONS_LIMIT][label] += one.max_connections
        gauge[metrics.READY_STEPS][label] += one.ready
        gauge[metrics.EVENTS_SEQ][label] += one.seq
        for name, value in one.counts.items():
            count[name][label] += value  # type: ignore[assignment]  # seconds are floats
    for metric, values in gauge.items():
        yield _family(metric, [((label,), value) for label, value in values.items()])
    for metric, column in (
        (metrics.RUNS_SUBMITTED, "submitted"),
        (metrics.ATTEMPTS, "attempts"),
        (metrics.RETRIES, "retries"),
        (metrics.LOSSES, "losses"),
        (metrics.WORKER_SECONDS, "worker_s"),
    ):
        yield _family(metric, [((label,), value) for label, value in count[column].items()])
    for metric, outcomes in ((metrics.RUNS, _RUN_OUTCOMES), (metrics.STEPS, _STEP_OUTCOMES)):
        yield _family(
            metric,
            [
                ((label, outcome), value)
                for outcome, column in outcomes.items()
                for label, value in count[column].items()
            ],
        )
    uncounted = sum(one.seq - one.counted_seq for one in totals)
    yield _family(metrics.EVENTS_UNCOUNTED, [((), max(uncounted, 0))])
    slugs = {one.tenant_id: labels[one.slug] for one in totals}
    oldest: dict[str, float] = dict.fromkeys(labels.values(), 0.0)
    for backlog in gauges.backlog(connection):
        label = slugs.get(backlog.tenant_id, metrics.OTHER)
        oldest[label] = max(oldest.get(label, 0.0), backlog.oldest_s)
    yield _family(metrics.OLDEST_READY, [((label,), value) for label, value in oldest.items()])
    yield from _pools(connection, labels)


def _pools(connection: Connection, labels: Mapping[str, str]) -> Iterator[Family]:
    """Pools by tenant (those of the rest together by name), and breakers."""
    in_use: Counter[tuple[str, str]] = Counter()
    limits: Counter[tuple[str, str]] = Counter()
    for pool in gauges.pools(connection, metrics.POOLS_AT_MOST):
        place = (labels.get(pool.slug, metrics.OTHER) if pool.slug else metrics.SERVER, pool.name)
        in_use[place] += pool.in_use
        limits[place] += pool.limit
    yield _family(metrics.POOL_IN_USE, list(in_use.items()))
    yield _family(metrics.POOL_LIMIT, list(limits.items()))
    held_off: Counter[str] = Counter()
    for slug, count in gauges.breakers(connection).items():
        held_off[labels.get(slug, metrics.OTHER)] += count
    yield _family(metrics.BREAKERS_OPEN, [((label,), held_off[label]) for label in held_off])


def _recent(connection: Connection) -> Iterator[Family]:
    totals = _labels(gauges.totals(connection))
    parts: tuple[dict[str, list[TDigest]], ...] = (
        defaultdict(list),
        defaultdict(list),
        defaultdict(list),
    )
    for row in gauges.recent(connection, metrics.RECENT_S):
        for part, sketch in zip(parts, row.sketches, strict=True):
            if sketch is not None:
                part[totals.get(row.slug, metrics.OTHER)].append(TDigest.from_bytes(bytes(sketch)))
    kinds = (metrics.QUEUE_LATENCY, metrics.ATTEMPT_DURATION, metrics.RUN_DURATION)
    for metric, part in zip(kinds, parts, strict=True):
        yield _family(
            metric,
            [
                ((label, str(quantile)), float(value))
                for label, digests in part.items()
                for quantile, value in zip(
                    _QUANTILES, merge_all(digests).quantile_vec(list(_QUANTILES)), strict=True
                )
            ],
        )


def _server(connection: Connection) -> Iterator[Family]:
    in_use, limit = gauges.use(connection)
    yield _family(metrics.SERVER_CONNECTIONS_IN_USE, [((), in_use)])
    yield _family(metrics.SERVER_CONNECTIONS_LIMIT, [((), limit)])
    workers = gauges.workers(connection)
    states = Counter(worker.state for worker in workers)
    yield _family(metrics.WORKERS, [((state,), states[state]) for state in ("active", "draining")])
    yield _family(metrics.STEPS_IN_FLIGHT, [((), sum(worker.in_flight for worker in workers))])
    yield _family(metrics.LATE_RESULTS_REFUSED, [((), gauges.refused(connection))])
    duties = gauges.duties(connection)
    leaks = sum(duty.changed for duty in duties if duty.name == "reconcile")
    yield _family(metrics.SLOT_LEAKS_REPAIRED, [((), leaks)])
    yield _family(metrics.DUTY_TICKS, [((duty.name,), duty.ticks) for duty in duties])
    yield _family(
        metrics.DUTY_SILENT,
        [((duty.name,), duty.silent_s) for duty in duties if duty.silent_s is not None],
    )
