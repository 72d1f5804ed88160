"""Every metric of the product by name.  `docs/metrics.md` lists them for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TENANTS_AT_MOST = 50
"""Tenants with a label of their own: those with the most attempts in the last day; the rest are `other`."""
OTHER = "other"
HIDDEN = ""
"""Where one tenant asks: the label of all others; no value with it is served."""
SERVER = "-"
"""The tenant label of the server's pools (no slug: it does not begin with a letter)."""
POOLS_AT_MOST = 500
"""Pools with values of their own: those with the most places in use."""
SLAS_AT_MOST = 500
"""SLAs with a budget of their own: those of the tenants that have a label, the first by id."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric's name, kind, labels and meaning; the unit is the name's suffix."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()

    @property
    def samples(self) -> tuple[str, ...]:
        """The names under which it is served."""
        if self.kind == "histogram":
            return tuple(f"{self.name}_{part}" for part in ("bucket", "count", "sum"))
        return (self.name,)


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
UNCLAIMED = Metric(
    "millrace_unclaimed_seconds",
    "gauge",
    "How long the foremost ready step waits that could run: its tenant and the server have room.",
    ("tenant",),
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
ACTIVE_RUNS = Metric(
    "millrace_active_runs", "gauge", "Runs of a tenant that have not ended.", ("tenant",)
)
ENTITLED_SHARE = Metric(
    "millrace_entitled_share",
    "gauge",
    "Of all connections held in the last whole minute, what was a tenant's due, 0 to 1.",
    ("tenant",),
)
RECEIVED_SHARE = Metric(
    "millrace_received_share",
    "gauge",
    "Of all connections held in the last whole minute, what a tenant held, 0 to 1.",
    ("tenant",),
)
FAIRNESS = Metric(
    "millrace_fairness_jain",
    "gauge",
    "Jain's index of received over entitled in the last whole minute: 1 is fair.",
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
TIMEOUTS = Metric(
    "millrace_timeouts_total",
    "counter",
    "Attempts that took, or were silent for, too long.",
    ("tenant",),
)
RUNS_TIMED_OUT = Metric(
    "millrace_runs_timed_out_total",
    "counter",
    "Runs that failed by their timeout or deadline.",
    ("tenant",),
)
LOSSES = Metric("millrace_losses_total", "counter", "Attempts whose process died.", ("tenant",))
WORKER_SECONDS = Metric(
    "millrace_worker_seconds_total", "counter", "Seconds that connections were held.", ("tenant",)
)
CONNECTION_WAITS = Metric(
    "millrace_connection_waits_total",
    "counter",
    "Steps to which PostgreSQL did not give their tenant's connection at once.",
    ("tenant",),
)
CONNECTION_WAIT_SECONDS = Metric(
    "millrace_connection_wait_seconds_total",
    "counter",
    "Seconds that running steps waited for their tenant's connection.",
    ("tenant",),
)
EVENTS = Metric("millrace_events_total", "counter", "Events that were counted.", ("tenant",))
EVENTS_SEQ = Metric(
    "millrace_events_seq", "gauge", "Position of a tenant's last event.", ("tenant",)
)
EVENTS_UNCOUNTED = Metric(
    "millrace_events_uncounted", "gauge", "Events that the rollups have not counted yet."
)
QUEUE_LATENCY = Metric(
    "millrace_queue_latency_seconds", "histogram", "From ready to start, of steps.", ("tenant",)
)
READINESS = Metric(
    "millrace_readiness_seconds",
    "histogram",
    "From the end of a step's code until what waited for it was ready.",
    ("tenant",),
)
ATTEMPT_DURATION = Metric(
    "millrace_attempt_duration_seconds",
    "histogram",
    "From start to end, of attempts neither cancelled nor lost.",
    ("tenant",),
)
RUN_DURATION = Metric(
    "millrace_run_duration_seconds",
    "histogram",
    "From start to end, of runs that succeeded or failed.",
    ("tenant",),
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
    "millrace_duty_silent_seconds",
    "gauge",
    "Since a duty was done, as it was last written down.",
    ("duty",),
)
DUTY_INTERVAL = Metric(
    "millrace_duty_interval_seconds", "gauge", "How often a duty is to be done.", ("duty",)
)
ALERTS = Metric(
    "millrace_alerts",
    "gauge",
    "Open alerts: pending, firing, acknowledged, silenced.",
    ("tenant", "severity", "state"),
)
NOTIFICATIONS = Metric(
    "millrace_notifications_total",
    "counter",
    "Messages to channels that ended: sent, failed.",
    ("kind", "outcome"),
)
NOTIFICATIONS_DUE = Metric(
    "millrace_notifications_due", "gauge", "Messages to channels that are due and not sent."
)
NOTIFICATIONS_LATE = Metric(
    "millrace_notifications_late_seconds", "gauge", "For how long the oldest of them is due."
)
HTTP_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
HTTP_SECONDS = Metric(
    "millrace_http_request_duration_seconds",
    "histogram",
    "From a request to the beginning of its answer.",
    ("method", "route", "status"),
)
HEALTH = Metric("millrace_health", "gauge", "A part's state: 0 ok, 1 degraded, 2 down.", ("check",))
CANARY_SECONDS = Metric(
    "millrace_canary_seconds", "gauge", "From submission to end of the last canary run that ended."
)
CANARY_MISSES = Metric(
    "millrace_canary_misses", "gauge", "Canary runs in a row that were late or failed."
)
CANARY_SILENT = Metric(
    "millrace_canary_silent_seconds", "gauge", "Since the last canary run was sent."
)
DATABASE_BYTES = Metric("millrace_database_bytes", "gauge", "Size of the database.")
DATABASE_CONNECTIONS = Metric(
    "millrace_database_connections", "gauge", "Client connections that PostgreSQL has."
)
DATABASE_CONNECTIONS_LIMIT = Metric(
    "millrace_database_connections_limit", "gauge", "PostgreSQL's max_connections."
)
OLDEST_SNAPSHOT = Metric(
    "millrace_oldest_snapshot_seconds", "gauge", "Age of the database's oldest snapshot."
)
LOCK_WAIT = Metric(
    "millrace_lock_wait_seconds",
    "gauge",
    "How long the longest waits for a lock, 0 if nobody does.",
)
EVENTS_LAG = Metric(
    "millrace_events_lag_seconds", "gauge", "Age of the oldest event that is not counted."
)
DRAINED_WORKERS = Metric(
    "millrace_drained_workers", "gauge", "Processes that staff told to take nothing more."
)

SLA_RULES = Metric(
    "millrace_sla_rules",
    "gauge",
    "Enabled SLAs of a tenant by what they came to.",
    ("tenant", "state"),
)
SLA_LATE_RUNS = Metric(
    "millrace_sla_late_runs",
    "gauge",
    "Runs and steps that are late for an SLA and have not ended.",
    ("tenant",),
)
SLA_BUDGET_LEFT = Metric(
    "millrace_sla_budget_left_ratio",
    "gauge",
    "What is left of an SLA's budget: 1 all, 0 nothing, below 0 overdrawn.",
    ("tenant", "sla"),
)
SLA_BEHIND = Metric(
    "millrace_sla_behind_seconds",
    "gauge",
    "How old the oldest event is that the SLAs have not counted yet.",
)

ALL: tuple[Metric, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Metric)
)
