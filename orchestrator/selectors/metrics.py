"""The metrics' values, read from the database at each scrape."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import psycopg
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector

from orchestrator import metrics
from orchestrator.metrics import Metric
from orchestrator.models.metrics import HISTOGRAM_BOUNDS_S
from orchestrator.selectors import health
from orchestrator.selectors.fairness import fairness
from orchestrator.selectors.health.numbers import wellness_numbers
from orchestrator.selectors.sla_metrics import sla_samples
from orchestrator.store import connect, gauges
from orchestrator.store.connect import Connection
from tenants import fence

Sample = tuple[Sequence[str], float]
Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily

LIMIT_S = 5.0
"""What all statements of a scrape may take together."""
_BOUNDS = (*map(str, HISTOGRAM_BOUNDS_S), "+Inf")
_COUNTERS = {
    metrics.RUNS_SUBMITTED: "submitted",
    metrics.RUNS_TIMED_OUT: "runs_timed_out",
    metrics.ATTEMPTS: "attempts",
    metrics.RETRIES: "retries",
    metrics.TIMEOUTS: "timeouts",
    metrics.LOSSES: "losses",
    metrics.EVENTS: "events",
    metrics.WORKER_SECONDS: "worker_s",
    metrics.CONNECTION_WAITS: "connection_waits",
    metrics.CONNECTION_WAIT_SECONDS: "connection_wait_s",
}
_HISTOGRAMS = {
    metrics.QUEUE_LATENCY: "queue",
    metrics.READINESS: "ready",
    metrics.ATTEMPT_DURATION: "attempt",
    metrics.RUN_DURATION: "run",
}
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

    `only`: the slug of the one tenant whose values may be seen, beside the server's; None: all.
    A database that does not answer is a value (`millrace_up 0`), not an error."""

    def __init__(self, only: str | None = None) -> None:
        self._only = only

    def describe(self) -> Iterable[Family]:
        """Nothing: asking must not read the database."""
        return []

    def collect(self) -> Iterator[Family]:
        """All families; the counters grow for ever, whatever is pruned."""
        checks = health.checks()
        yield _family(metrics.HEALTH, [((check.name,), _RANK[check.state]) for check in checks])
        until = time.monotonic() + LIMIT_S
        try:
            with connect(name="metrics", role=fence.MONITOR) as connection:
                families: list[Family] = []
                for part in (_tenants, _since_beginning, _server, _wellness):
                    gauges.bound(connection, max(until - time.monotonic(), 0.001))
                    families += part(connection, self._only)
        except psycopg.Error:
            yield _family(metrics.UP, [((), 0)])
            return
        yield _family(metrics.UP, [((), 1)])
        yield from families if self._only is None else _of(self._only, families)


def _of(slug: str, families: Iterable[Family]) -> Iterator[Family]:
    """What is this tenant's, or nobody's."""
    for family in families:
        family.samples = [one for one in family.samples if one.labels.get("tenant", slug) == slug]
        yield family


def _family(metric: Metric, samples: Iterable[Sample]) -> Family:
    make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family: CounterMetricFamily | GaugeMetricFamily = make(
        metric.name, metric.help, labels=metric.labels
    )
    for labels, value in samples:
        family.add_metric(list(labels), value)
    return family


def _tenants(connection: Connection, only: str | None) -> Iterator[Family]:
    rows = gauges.tenants(connection)
    if only is None:
        labels = {one.slug: one.slug if one.own else metrics.OTHER for one in rows}
    else:
        labels = {one.slug: one.slug if one.slug == only else metrics.HIDDEN for one in rows}
    gauge: dict[Metric, Counter[str]] = defaultdict(Counter)
    for one in rows:
        label = labels[one.slug]
        gauge[metrics.CONNECTIONS_IN_USE][label] += one.in_use
        gauge[metrics.CONNECTIONS_LIMIT][label] += one.max_connections
        gauge[metrics.READY_STEPS][label] += one.ready
        gauge[metrics.ACTIVE_RUNS][label] += one.active_runs
        gauge[metrics.EVENTS_SEQ][label] += one.seq
    for metric, values in gauge.items():
        yield _family(metric, [((label,), value) for label, value in values.items()])
    uncounted = sum(one.seq - one.counted_seq for one in rows)
    yield _family(metrics.EVENTS_UNCOUNTED, [((), max(uncounted, 0))])
    yield from _backlog(connection, {one.tenant_id: labels[one.slug] for one in rows})
    yield from _pools(connection, labels, only)
    yield from _shares(connection, labels)
    for metric, samples in sla_samples(connection, labels):
        yield _family(metric, samples)
    yield from _alerts(connection, labels)


def _backlog(connection: Connection, labels: Mapping[int, str]) -> Iterator[Family]:
    """How long ready steps wait, by tenants' ids: at all, and although they could run."""
    in_use, limit = gauges.use(connection)
    oldest: dict[str, float] = dict.fromkeys(labels.values(), 0.0)
    unclaimed = dict(oldest)
    for one in gauges.backlog(connection):
        label = labels.get(one.tenant_id, metrics.OTHER)
        oldest[label] = max(oldest.get(label, 0.0), one.oldest_s)
        if one.room and in_use < limit:
            unclaimed[label] = max(unclaimed.get(label, 0.0), one.oldest_s)
    for metric, values in ((metrics.OLDEST_READY, oldest), (metrics.UNCLAIMED, unclaimed)):
        yield _family(metric, [((label,), value) for label, value in values.items()])


def _since_beginning(connection: Connection, only: str | None) -> Iterator[Family]:
    """Counters and histograms: of each tenant with a label, and of the others together."""
    totals = {one.slug or metrics.OTHER: one for one in gauges.totals(connection, only)}
    for metric, column in _COUNTERS.items():
        yield _family(metric, [((label,), one.counts[column]) for label, one in totals.items()])
    for metric, outcomes in ((metrics.RUNS, _RUN_OUTCOMES), (metrics.STEPS, _STEP_OUTCOMES)):
        yield _family(
            metric,
            [
                ((label, outcome), one.counts[column])
                for outcome, column in outcomes.items()
                for label, one in totals.items()
            ],
        )
    for metric, measure in _HISTOGRAMS.items():
        family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for label, one in totals.items():
            counts, total_s = one.histograms[measure]
            places = zip(_BOUNDS, counts or [0] * len(_BOUNDS), strict=True)
            family.add_metric([label], list(places), total_s)
        yield family


def _alerts(connection: Connection, labels: Mapping[str, str]) -> Iterator[Family]:
    """Open alerts, and what was told of them."""
    open_: Counter[tuple[str, str, str]] = Counter()
    for slug, severity, state, count in gauges.alerts(connection):
        tenant = slug if slug == metrics.SERVER else labels.get(slug, metrics.OTHER)
        open_[tenant, severity, state] += count
    yield _family(metrics.ALERTS, list(open_.items()))
    ended = [((kind, outcome), count) for kind, outcome, count in gauges.notifications(connection)]
    yield _family(metrics.NOTIFICATIONS, ended)
    due, late = gauges.unsent(connection)
    yield _family(metrics.NOTIFICATIONS_DUE, [((), due)])
    yield _family(metrics.NOTIFICATIONS_LATE, [((), late)])


def _pools(connection: Connection, labels: Mapping[str, str], only: str | None) -> Iterator[Family]:
    """Pools by tenant (those of the rest together by name), and breakers."""
    in_use: Counter[tuple[str, str]] = Counter()
    limits: Counter[tuple[str, str]] = Counter()
    for pool in gauges.pools(connection, metrics.POOLS_AT_MOST, only):
        place = (labels.get(pool.slug, metrics.OTHER) if pool.slug else metrics.SERVER, pool.name)
        in_use[place] += pool.in_use
        limits[place] += pool.limit
    yield _family(metrics.POOL_IN_USE, list(in_use.items()))
    yield _family(metrics.POOL_LIMIT, list(limits.items()))
    held_off: Counter[str] = Counter()
    for slug, count in gauges.breakers(connection).items():
        held_off[labels.get(slug, metrics.OTHER)] += count
    yield _family(metrics.BREAKERS_OPEN, [((label,), held_off[label]) for label in held_off])


def _shares(connection: Connection, labels: Mapping[str, str]) -> Iterator[Family]:
    """What tenants were due and got in the last whole minute."""
    rows = gauges.shares(connection)
    seen = fairness(rows)
    due: Counter[str] = Counter()
    got: Counter[str] = Counter()
    for row in rows:
        if row.tenant_id in seen.shares:
            share, label = seen.shares[row.tenant_id], labels.get(row.slug, metrics.OTHER)
            due[label] += share.entitled  # type: ignore[assignment]  # shares are floats
            got[label] += share.received  # type: ignore[assignment]
    yield _family(metrics.ENTITLED_SHARE, [((label,), value) for label, value in due.items()])
    yield _family(metrics.RECEIVED_SHARE, [((label,), value) for label, value in got.items()])
    yield _family(metrics.FAIRNESS, [] if seen.jain is None else [((), seen.jain)])


def _server(connection: Connection, _only: str | None) -> Iterator[Family]:
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
    yield _family(metrics.DUTY_INTERVAL, [((duty.name,), duty.interval_s) for duty in duties])
    yield _family(
        metrics.DUTY_SILENT,
        [((duty.name,), duty.silent_s) for duty in duties if duty.silent_s is not None],
    )


def _wellness(connection: Connection, _only: str | None) -> Iterator[Family]:
    """How the database and the canaries are."""
    for metric, value in wellness_numbers(connection):
        yield _family(metric, [] if value is None else [((), value)])
