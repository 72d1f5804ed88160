"""Good and bad samples, and what they leave of the budget."""

from __future__ import annotations

from dataclasses import dataclass

EXACT = 1e-9
"""Shares are compared with this much room per sample: 0.07 of 100 is 7, whatever floats say."""


@dataclass(frozen=True, slots=True)
class Sums:
    """Samples of a window.  `clear`: those that a clear threshold calls good.  `late`: runs that have
    not ended and are late already; they count as bad, beside `total`."""

    total: int = 0
    good: int = 0
    clear: int = 0
    late: int = 0

    @property
    def samples(self) -> int:
        """All that count."""
        return self.total + self.late

    @property
    def bad(self) -> int:
        """Those that are not good."""
        return self.total - self.good + self.late

    @property
    def share(self) -> float | None:
        """The good ones' share; None where there is none at all."""
        return self.good / self.samples if self.samples else None


def quantile_of_ended(share: float, sums: Sums) -> float:
    """Which quantile of the samples that have ended is the `share` quantile of all of them, those that
    are late and go on being the longest; above 1: it is one of these."""
    return share * sums.samples / sums.total if sums.total else 2.0


def falls_short(good: float, samples: float, objective: float) -> bool:
    """Whether `good` of `samples` are fewer than the share `objective`."""
    return good < objective * samples - EXACT * samples


def budget_left(sums: Sums, objective: float) -> float:
    """What is left of the samples that may be bad: 1 is all, 0 none, below 0 overdrawn."""
    if not sums.bad:
        return 1.0
    allowed = (1.0 - objective) * sums.samples
    return 1.0 - sums.bad / allowed if allowed > EXACT else 0.0


def burn_rate(sums: Sums, objective: float) -> float:
    """How many times as fast as it may the budget goes: 1 uses it up by the window's end.

    Without a budget it is huge and not infinite, since JSON knows no infinity."""
    if not sums.bad:
        return 0.0
    allowed = (1.0 - objective) * sums.samples
    return sums.bad / max(allowed, EXACT)
