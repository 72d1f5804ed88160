"""What a rule of a service level says, and what each kind of rule measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from orchestrator.domain.observations import Severity

P95 = 0.95


class Kind(StrEnum):
    """What is promised."""

    QUEUE_LATENCY = "queue_latency"
    """A share of steps starts within `threshold` of being ready."""
    RUN_DURATION = "run_duration"
    """A share of runs ends within `threshold` of its start."""
    SUCCESS_RATIO = "success_ratio"
    """A share of runs succeeds."""
    FRESHNESS = "freshness"
    """A share of runs has succeeded within `threshold` of being accepted."""
    P95_THRESHOLD = "p95_threshold"
    """The 95th percentile of runs' durations is at most `threshold`."""
    THROUGHPUT_FLOOR = "throughput_floor"
    """At least `threshold` runs succeed per second."""
    ERROR_RATE_CEILING = "error_rate_ceiling"
    """At most the share `threshold` of runs fails."""
    READINESS_P95 = "readiness_p95"
    """The 95th percentile of the time from a step's last parent's end until it is ready is at most
    `threshold`."""


class NoData(StrEnum):
    """What a window without any sample says."""

    OK = "ok"
    BAD = "bad"
    KEEP = "keep"
    """Nothing: an alert stays as it is."""


class Measure(StrEnum):
    """What is counted for a rule."""

    QUEUE = "queue"
    """Steps that were started, with the seconds that they were ready before."""
    RUN = "run"
    """Runs that succeeded or failed, with the seconds from their start to their end."""
    OUTCOME = "outcome"
    """Runs that succeeded or failed."""
    FRESH = "fresh"
    """The same with the seconds since they were accepted."""
    RATE = "rate"
    """Runs that succeeded."""
    READY = "ready"
    """Steps that became ready after a parent, with the seconds that this took."""


class Bound(StrEnum):
    """What a threshold is."""

    NONE = "none"
    SECONDS = "seconds"
    SHARE = "share"
    RATE = "rate"


@dataclass(frozen=True, slots=True)
class Nature:
    """What belongs to a kind.

    `unit` is of its value, `threshold` what its threshold is; `takes_target`: the share is its own;
    `falls`: the value is bad when it is low; `per_run`: each run has its own time by which it is
    late."""

    measure: Measure
    unit: str
    threshold: Bound
    takes_target: bool = False
    falls: bool = True
    per_run: bool = False


NATURES: Mapping[Kind, Nature] = {
    Kind.QUEUE_LATENCY: Nature(Measure.QUEUE, "share", Bound.SECONDS, takes_target=True),
    Kind.RUN_DURATION: Nature(Measure.RUN, "share", Bound.SECONDS, takes_target=True, per_run=True),
    Kind.SUCCESS_RATIO: Nature(Measure.OUTCOME, "share", Bound.NONE, takes_target=True),
    Kind.FRESHNESS: Nature(Measure.FRESH, "share", Bound.SECONDS, takes_target=True, per_run=True),
    Kind.P95_THRESHOLD: Nature(Measure.RUN, "s", Bound.SECONDS, falls=False, per_run=True),
    Kind.THROUGHPUT_FLOOR: Nature(Measure.RATE, "per_s", Bound.RATE),
    Kind.ERROR_RATE_CEILING: Nature(Measure.OUTCOME, "share", Bound.SHARE, falls=False),
    Kind.READINESS_P95: Nature(Measure.READY, "s", Bound.SECONDS, falls=False),
}


@dataclass(frozen=True, slots=True)
class Burn:
    """A pair of windows, in seconds: it burns when the budget went `factor` times as fast as it may
    in both, the long one (it matters) and the short one (it goes on)."""

    long_s: float
    short_s: float
    factor: float


BURNS = (Burn(3600, 300, 14.4), Burn(21_600, 1800, 6))
"""Pairs for a budget of 30 days, of which an hour of the first takes 2 %, six of the second 5 %.
Source: Google, "The Site Reliability Workbook", chapter 5."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which runs count: those of these workflows (none: all) that carry all these labels."""

    workflow_ids: tuple[int, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as it is judged.

    `threshold`: seconds, a share, or runs per second, as its kind says.  `target`: the share that is
    promised, where the kind takes one.  `clear_threshold`, in the value's unit: a value that was bad
    is good again only past it."""

    kind: Kind
    threshold: float | None = None
    target: float | None = None
    window_s: float = 3600.0
    min_samples: int = 1
    no_data: NoData = NoData.OK
    for_s: float = 0.0
    clear_for_s: float = 0.0
    clear_threshold: float | None = None
    burn: tuple[Burn, ...] = ()
    severity: Severity = Severity.WARNING

    @property
    def nature(self) -> Nature:
        """What belongs to its kind."""
        return NATURES[self.kind]

    @property
    def objective(self) -> float | None:
        """The share of samples that is to be good; None where there is none (throughput)."""
        if self.kind is Kind.THROUGHPUT_FLOOR:
            return None
        if self.kind is Kind.ERROR_RATE_CEILING:
            assert self.threshold is not None
            return 1.0 - self.threshold
        return self.target if self.nature.takes_target else P95

    @property
    def limit(self) -> float | None:
        """What its value is held against, in the value's unit."""
        return self.target if self.nature.takes_target else self.threshold

    @property
    def seconds(self) -> float | None:
        """How long a good sample may take; None where time does not matter."""
        return self.threshold if self.nature.threshold is Bound.SECONDS else None

    @property
    def spans(self) -> tuple[float, ...]:
        """How long its own window is, and the two of each of its pairs."""
        pairs = (side for pair in self.burn for side in (pair.long_s, pair.short_s))
        return (self.window_s, *pairs)

    @property
    def bad_when_empty(self) -> bool:
        """Whether a window in which nothing was counted may make it bad."""
        return self.no_data is NoData.BAD or self.kind is Kind.THROUGHPUT_FLOOR

    @property
    def clear_seconds(self) -> float | None:
        """How long a sample may take that counts towards being good again."""
        if self.nature.unit == "s" and self.clear_threshold is not None:
            return self.clear_threshold
        return self.seconds
