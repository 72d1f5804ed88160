"""Charts as numbers and paths: scales, ticks, stacked areas, lines.  A partial draws them as SVG.

Heights are pixels; widths are shares of the plot, `WIDTH` units or per cent, so that a chart fills
whatever room it gets without stretching its text."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from dashboard.words import trimmed

WIDTH = 1000.0
HEIGHT = 196.0
TOP = 10.0
BOTTOM = 24.0

_CLOCK_STEPS = (15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)
_TIME_STEPS = (60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800)


@dataclass(frozen=True, slots=True)
class Series:
    """One measure over time: its class in the style sheet, its word, a value per bucket.

    None is a hole: nothing was measured."""

    kind: str
    word: str
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis: where (pixels from the top, or per cent from the left), what it says."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Shape:
    """What is drawn for a series: its `path`, the area `under` it, lone points (per cent, pixels),
    values for the cursor."""

    kind: str
    word: str
    path: str
    under: str
    points: tuple[tuple[float, float], ...]
    values: str
    latest: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything the partial needs; `empty` where no series has a value above 0."""

    name: str
    title: str
    unit: str
    stacked: bool
    empty: bool
    shapes: tuple[Shape, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    times: str
    summary: str
    height: float
    top: float
    bottom: float


def nice_ticks(top: float, count: int = 4) -> list[float]:
    """About `count` round numbers from 0 to the first one at or above `top` (1, 2, 2.5, 5 · 10ⁿ)."""
    if top <= 0:
        return [0.0, 1.0]
    rough = top / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    return [round(step * nr, 12) for nr in range(math.ceil(top / step - 1e-9) + 1)]


def duration_ticks(top: float, count: int = 4) -> list[float]:
    """The same of seconds: past a minute, steps are those of a clock."""
    step = next((s for s in _CLOCK_STEPS if top / s <= count), None)
    if top <= 60 or step is None:
        return nice_ticks(top, count)
    return [float(step * nr) for nr in range(math.ceil(top / step - 1e-9) + 1)]


def time_ticks(since: datetime, until: datetime, count: int = 6) -> list[datetime]:
    """Round moments (UTC) within the window, at most about `count`."""
    span = (until - since).total_seconds()
    step = next((s for s in _TIME_STEPS if span / s <= count), _TIME_STEPS[-1])
    first = math.ceil(since.timestamp() / step) * step
    return [
        datetime.fromtimestamp(at, UTC) for at in range(first, int(until.timestamp()) + 1, step)
    ]


def stacked(
    name: str,
    title: str,
    series: Sequence[Series],
    times: Sequence[datetime],
    *,
    unit: str,
    show: Callable[[float], str],
    wide: bool = False,
) -> Chart:
    """A chart of areas on top of each other, the first one lowest."""
    floors = [0.0] * len(times)
    bands: list[tuple[Series, list[float], list[float]]] = []
    for one in series:
        tops = [low + (value or 0.0) for low, value in zip(floors, one.values, strict=True)]
        bands.append((one, floors, tops))
        floors = tops
    return _chart(name, title, bands, times, unit=unit, show=show, wide=wide, is_stacked=True)


def lines(
    name: str,
    title: str,
    series: Sequence[Series],
    times: Sequence[datetime],
    *,
    unit: str,
    show: Callable[[float], str],
    wide: bool = False,
) -> Chart:
    """A chart of lines, in seconds, with holes where nothing was measured."""
    zero = [0.0] * len(times)
    bands = [(one, zero, [value or 0.0 for value in one.values]) for one in series]
    return _chart(name, title, bands, times, unit=unit, show=show, wide=wide, is_stacked=False)


def _chart(
    name: str,
    title: str,
    bands: Sequence[tuple[Series, list[float], list[float]]],
    times: Sequence[datetime],
    *,
    unit: str,
    show: Callable[[float], str],
    wide: bool,
    is_stacked: bool,
) -> Chart:
    highest = max((max(tops, default=0.0) for _, _, tops in bands), default=0.0)
    marks = nice_ticks(highest) if is_stacked else duration_ticks(highest)
    bottom = HEIGHT - BOTTOM
    step = WIDTH / max(len(times) - 1, 1)

    def x(nr: int) -> float:
        return round(nr * step, 2)

    def y(value: float) -> float:
        return round(bottom - value / marks[-1] * (bottom - TOP), 2)

    shapes = tuple(
        _area(one, lows, tops, x, y, show) if is_stacked else _line(one, x, y, show)
        for one, lows, tops in bands
    )
    span = (times[-1] - times[0]).total_seconds() if len(times) > 1 else 1.0
    x_ticks = tuple(
        Tick(
            round((at - times[0]).total_seconds() / span * 100, 2),
            f"{at:%H:%M}" if span <= 2 * 86_400 else f"{at:%d %b}",
        )
        for at in (time_ticks(times[0], times[-1], 10 if wide else 5) if len(times) > 1 else ())
    )
    empty = not any(value for one, _, _ in bands for value in one.values)
    said = ", ".join(f"{shape.word} {shape.latest}" for shape in shapes)
    return Chart(
        name=name,
        title=title,
        unit=unit,
        stacked=is_stacked,
        empty=empty,
        shapes=shapes,
        x_ticks=x_ticks,
        y_ticks=tuple(Tick(y(mark), trimmed(show(mark)) if mark else "0") for mark in marks),
        times=" ".join(str(int(at.timestamp())) for at in times),
        summary=f"{title}; latest: {said}" if not empty else f"{title}: nothing in this window",
        height=HEIGHT,
        top=TOP,
        bottom=bottom,
    )


def _area(
    one: Series,
    lows: Sequence[float],
    tops: Sequence[float],
    x: Callable[[int], float],
    y: Callable[[float], float],
    show: Callable[[float], str],
) -> Shape:
    there = [f"{x(nr)},{y(top)}" for nr, top in enumerate(tops)]
    back = [f"{x(nr)},{y(low)}" for nr, low in reversed(list(enumerate(lows)))]
    path = f"M{'L'.join([*there, *back])}Z" if any(one.values) else ""
    return _shape(one, path, "", (), show)


def _line(
    one: Series,
    x: Callable[[int], float],
    y: Callable[[float], float],
    show: Callable[[float], str],
) -> Shape:
    pieces: list[list[int]] = [[]]
    for nr, value in enumerate(one.values):
        if value is None:
            pieces.append([])
        else:
            pieces[-1].append(nr)
    path, under, points = "", "", []
    for piece in pieces:
        spots = [(x(nr), y(one.values[nr] or 0.0)) for nr in piece]
        if len(spots) == 1:
            points.append((round(spots[0][0] / WIDTH * 100, 2), spots[0][1]))
        elif spots:
            joined = "L".join(f"{a},{b}" for a, b in spots)
            path += f"M{joined}"
            under += f"M{spots[0][0]},{y(0)}L{joined}L{spots[-1][0]},{y(0)}Z"
    return _shape(one, path, under, tuple(points), show)


def _shape(
    one: Series,
    path: str,
    under: str,
    points: tuple[tuple[float, float], ...],
    show: Callable[[float], str],
) -> Shape:
    known = [value for value in one.values if value is not None]
    return Shape(
        kind=one.kind,
        word=one.word,
        path=path,
        under=under,
        points=points,
        values="|".join("" if value is None else show(value) for value in one.values),
        latest=show(known[-1]) if known else "–",
    )
