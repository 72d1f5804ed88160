"""Who is due how much when there is not enough for everyone, and how fair what happened was."""

from __future__ import annotations

from collections.abc import Sequence


def entitled(capacity: float, claims: Sequence[tuple[float, float]]) -> list[float]:
    """Of `capacity`, what each (weight, demand) is due: by weight, none more than its demand.

    What one does not need is shared among the others by their weights (max-min fairness).
    Source: Bertsekas, Gallager, "Data Networks", 1992, section 6.5.2."""
    due = [0.0] * len(claims)
    left = max(capacity, 0.0)
    # who needs the least for its weight is content first
    order = sorted(range(len(claims)), key=lambda nr: claims[nr][1] / claims[nr][0])
    weights = sum(weight for weight, _ in claims)
    for nr in order:
        weight, demand = claims[nr]
        due[nr] = min(demand, left * weight / weights)
        left -= due[nr]
        weights -= weight
    return due


def jain(ratios: Sequence[float]) -> float | None:
    """How alike the ratios of received to entitled are: 1 when all are the same, 1/n when one has
    everything; None where there is nothing to compare.

    Source: Jain, Chiu, Hawe, "A Quantitative Measure of Fairness", DEC TR-301, 1984."""
    squares = sum(ratio * ratio for ratio in ratios)
    return sum(ratios) ** 2 / (len(ratios) * squares) if squares else None
