"""When a limit will be reached, should use go on as it did."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

FEWEST = 3
HORIZON = timedelta(days=90)
"""Nothing is said of what would come later."""


def exhausted_at(
    points: Sequence[tuple[datetime, float]], *, limit: float, now: datetime
) -> datetime | None:
    """When a straight line through `points` (least squares), laid through the last one, reaches
    `limit`; `now` where it is reached already.  None: not within 90 days, or too little is known."""
    if points and points[-1][1] >= limit:
        return now
    if len(points) < FEWEST:
        return None
    first = points[0][0]
    xs = [(at - first).total_seconds() for at, _ in points]
    mean_x = sum(xs) / len(xs)
    mean_y = sum(value for _, value in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x in xs)
    if not spread:
        return None
    slope = sum((x - mean_x) * (y - mean_y) for x, (_, y) in zip(xs, points, strict=True)) / spread
    if slope <= 0:
        return None
    seconds = (limit - points[-1][1]) / slope
    if seconds > HORIZON.total_seconds():
        return None
    return max(now, points[-1][0] + timedelta(seconds=seconds))
