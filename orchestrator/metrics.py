"""Every metric of the product by name.  `docs/metrics.md` lists them for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TENANTS_AT_MOST = 50
"""Tenants with a label of their own: those with the most attempts; the rest together are `other`."""
OTHER = "other"
SERVER = "-"
"""The tenant label of the server's pools (no slug: it does not begin with a letter)."""
POOLS_AT_MOST = 500
"""Pools with values of their own: those with the most places in use."""
RECENT_S = 60.0
"""What the quantiles look back on."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric's name, kind, labels and meaning; the unit is the name's suffix."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    labels: tuple[str, ...] = ()


UP = Metric("millrace_up", "gauge", "1 when the database answered this scrape, else 0.")
CONNECTIONS_IN_USE = Metric(
    "millrace_connections_in_use", "gauge", "Connections that a tenant holds.", ("tenant",)
)
CONNECTIONS_LIMIT = Metric(
    "millrace_connections_limit", "gauge", "A tenant's max_connections.", ("tenant",)
)
SERVER_CONNECTIONS_IN_USE = Metric(
    "millrace_server_connections_in_use", "gauge", "Connections held on the whole server."
)
SERVER_CONNECTIONS_LIMIT = Metric(
    "millrace_server_connections_limit", "gauge", "The server's total of connections."
)
READY_STEPS = Metric(
    "millrace_ready_steps", "gauge", "Step runs that wait for a connection.", ("tenant",)
)
OLDEST_READY = Metric(
    "millrace_oldest_ready_seconds", "gauge", "How long the foremost ready step waits.", ("tenant",)
)
POOL_IN_USE = Metric(
    "millrace_pool_in_use", "gauge", "Places of a pool that are in use.", ("tenant", "pool")
)
POOL_LIMIT = Metric(
    "millrace_pool_limit", "gauge", "A pool's limit; 0 is paused.", ("tenant", "pool")
)
BREAKERS_OPEN = Metric(
    "millrace_breakers_open",
    "gauge",
    "Hosts that core.http steps of a tenant wait for.",
    ("tenant",),
)
RUNS_SUBMITTED = Metric(
    "millrace_runs_submitted_total", "counter", "Runs that were accepted.", ("tenant",)
)
RUNS = Metric("millrace_runs_total", "counter", "Runs that ended.", ("tenant", "outcome"))
STEPS = Metric("millrace_steps_total", "counter", "Steps that ended.", ("tenant", "outcome"))
ATTEMPTS = Metric("millrace_attempts_total", "counter", "Steps that were started.", ("tenant",))
RETRIES = Metric(
    "millrace_retries_total", "counter", "Attempts that failed and are to be repeated.", ("tenant",)
)
LOSSES = Metric("millrace_losses_total", "counter", "Attempts whose process died.", ("tenant",))
WORKER_SECONDS = Metric(
    "millrace_worker_seconds_total", "counter", "Seconds that connections were held.", ("tenant",)
)
EVENTS_SEQ = Metric(
    "millrace_events_seq", "gauge", "Position of a tenant's last event.", ("tenant",)
)
EVENTS_UNCOUNTED = Metric(
    "millrace_events_uncounted", "gauge", "Events that the rollups have not counted yet."
)
QUEUE_LATENCY = Metric(
    "millrace_queue_latency_seconds",
    "gauge",
    "From ready to start, of the steps of the last minute.",
    ("tenant", "quantile"),
)
ATTEMPT_DURATION = Metric(
    "millrace_attempt_duration_seconds",
    "gauge",
    "From start to end, of the attempts of the last minute.",
    ("tenant", "quantile"),
)
RUN_DURATION = Metric(
    "millrace_run_duration_seconds",
    "gauge",
    "From start to end, of the runs of the last minute.",
    ("tenant", "quantile"),
)
LATE_RESULTS_REFUSED = Metric(
    "millrace_late_results_refused_total", "counter", "Late results of earlier claims, refused."
)
WORKERS = Metric("millrace_workers", "gauge", "Processes that run steps.", ("state",))
STEPS_IN_FLIGHT = Metric(
    "millrace_steps_in_flight", "gauge", "Steps that the workers say they run."
)
SLOT_LEAKS_REPAIRED = Metric(
    "millrace_slot_leaks_repaired_total",
    "counter",
    "Counts that the reconciler found wrong; 0 is expected.",
)
DUTY_TICKS = Metric(
    "millrace_duty_ticks_total", "counter", "How often the clock did a duty.", ("duty",)
)
DUTY_SILENT = Metric(
    "millrace_duty_silent_seconds", "gauge", "Since a duty last wrote down a tick.", ("duty",)
)
HEALTH = Metric("millrace_health", "gauge", "A part's state: 0 ok, 1 degraded, 2 down.", ("check",))

ALL: tuple[Metric, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Metric)
)
