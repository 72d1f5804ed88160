"""What was measured: counts, quantiles, buckets, windows."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime

from orchestrator.models.metrics import COUNTS
from orchestrator.selectors.sketches import Sketch


@dataclass(frozen=True, slots=True)
class Counts:
    """How many of each kind; see the model for their meaning."""

    submitted: int = 0
    runs_succeeded: int = 0
    runs_failed: int = 0
    runs_cancelled: int = 0
    runs_timed_out: int = 0
    attempts: int = 0
    steps_succeeded: int = 0
    steps_failed: int = 0
    steps_skipped: int = 0
    steps_cancelled: int = 0
    retries: int = 0
    timeouts: int = 0
    losses: int = 0
    events: int = 0
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
class Measured:
    """What happened from `since` up to `until`: counts, and sketches of seconds.

    `run`: start to end, of runs that succeeded or failed.  `queue`: ready to start, of steps.
    `attempt`: start to end, of attempts neither cancelled nor lost.  `ready`: from the end of a
    step's code to the moment in which whatever waited for it was made ready."""

    since: datetime
    until: datetime
    counts: Counts
    run: Sketch
    queue: Sketch
    attempt: Sketch
    ready: Sketch


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
    ready: Quantiles


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
    ready: Quantiles
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


assert (
    tuple(field.name for field in fields(Counts)) == COUNTS
)  # the columns and their reading agree
