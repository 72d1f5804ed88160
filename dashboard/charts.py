"""Charts as numbers and paths: scales, ticks, stacked areas, lines.  A partial draws them as SVG.

Heights are pixels; widths are shares of the plot, `WIDTH` units or per cent, so that a chart fills
whatever room it gets without stretching its text."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from dashboard.words import trimmed

WIDTH = 1000.0
HEIGHT = 196.0
TOP = 10.0
BOTTOM = 24.0

_CLOCK_STEPS = (15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)
_TIME_STEPS = (
    60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800,
    1_209_600,
)  # fmt: skip


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
class TimeTick:
    """A mark on the axis of time: where (per cent from the left), its moment in seconds since 1970, from
    which the page's script tells the reader's own time, and in UTC; `form`: `hour` or `day`."""

    at: float
    moment: int
    form: str
    text: str


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened at a moment: where (per cent from the left), its class in the style sheet,
    its icon, and what it says.  `moment`: seconds since 1970, of the value that the cursor shows with it."""

    at: float
    moment: int
    kind: str
    icon: str
    text: str


@dataclass(frozen=True, slots=True)
class Note:
    """What is to be marked on charts: a moment, a class, an icon, what it says."""

    at: datetime
    kind: str
    icon: str
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
    """Everything the partial needs; `empty` where nothing is to be seen: stacked, no value above 0;
    of lines, no value."""

    name: str
    title: str
    unit: str
    stacked: bool
    empty: bool
    shapes: tuple[Shape, ...]
    x_ticks: tuple[TimeTick, ...]
    y_ticks: tuple[Tick, ...]
    times: str
    summary: str
    height: float
    top: float
    bottom: float
    marks: tuple[Mark, ...] = ()


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
    scale = nice_ticks(max(floors, default=0.0))
    return _chart(
        name, title, bands, times, unit=unit, show=show, wide=wide, is_stacked=True, scale=scale
    )


def lines(
    name: str,
    title: str,
    series: Sequence[Series],
    times: Sequence[datetime],
    *,
    unit: str,
    show: Callable[[float], str],
    wide: bool = False,
    ticks: Callable[[float], list[float]] = duration_ticks,
    least: float = 0.0,
) -> Chart:
    """A chart of lines, in seconds unless `ticks` says else, with holes where nothing was measured.

    Its scale reaches `least` at least."""
    zero = [0.0] * len(times)
    bands = [(one, zero, [value or 0.0 for value in one.values]) for one in series]
    highest = max((max(tops, default=0.0) for _, _, tops in bands), default=0.0)
    return _chart(
        name, title, bands, times,
        unit=unit, show=show, wide=wide, is_stacked=False, scale=ticks(max(highest, least)),
    )  # fmt: skip


def marked(drawn: Sequence[Chart], notes: Sequence[Note]) -> list[Chart]:
    """The charts with marks where the notes happened; those of other times are left out."""
    return [replace(chart, marks=_marks(chart, notes)) for chart in drawn]


def _marks(chart: Chart, notes: Sequence[Note]) -> tuple[Mark, ...]:
    times = [int(text) for text in chart.times.split()]
    if len(times) < 2:
        return ()
    span = times[-1] - times[0]
    marks = []
    for note in notes:
        share = (note.at.timestamp() - times[0]) / span
        if 0 <= share <= 1:
            moment = min(times, key=lambda at: abs(at - note.at.timestamp()))
            marks.append(Mark(round(share * 100, 2), moment, note.kind, note.icon, note.text))
    return tuple(marks)


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
    scale: Sequence[float],
) -> Chart:
    bottom = HEIGHT - BOTTOM
    step = WIDTH / max(len(times) - 1, 1)

    def x(nr: int) -> float:
        return round(nr * step, 2)

    def y(value: float) -> float:
        return round(bottom - value / scale[-1] * (bottom - TOP), 2)

    shapes = tuple(
        _area(one, lows, tops, x, y, show) if is_stacked else _line(one, x, y, show)
        for one, lows, tops in bands
    )
    values = [value for one, _, _ in bands for value in one.values]
    empty = not any(values) if is_stacked else all(value is None for value in values)
    said = ", ".join(f"{shape.word} {shape.latest}" for shape in shapes)
    return Chart(
        name=name,
        title=title,
        unit=unit,
        stacked=is_stacked,
        empty=empty,
        shapes=shapes,
        x_ticks=_time_axis(times, 10 if wide else 5),
        y_ticks=tuple(Tick(y(mark), trimmed(show(mark)) if mark else "0") for mark in scale),
        times=" ".join(str(int(at.timestamp())) for at in times),
        summary=f"{title}; latest: {said}" if not empty else f"{title}: nothing in this window",
        height=HEIGHT,
        top=TOP,
        bottom=bottom,
    )


def _time_axis(times: Sequence[datetime], count: int) -> tuple[TimeTick, ...]:
    if len(times) < 2:
        return ()
    span = (times[-1] - times[0]).total_seconds()
    form = "hour" if span <= 2 * 86_400 else "day"
    return tuple(
        TimeTick(
            round((at - times[0]).total_seconds() / span * 100, 2),
            int(at.timestamp()),
            form,
            f"{at:%H:%M} UTC" if form == "hour" else f"{at:%d %b}",
        )
        for at in time_ticks(times[0], times[-1], count)
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
