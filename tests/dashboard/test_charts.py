from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dashboard import charts, words

START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
TIMES = [START + timedelta(minutes=nr) for nr in range(4)]


@pytest.mark.parametrize(
    ("top", "ticks"),
    [
        (0, [0, 1]),
        (1, [0, 0.25, 0.5, 0.75, 1]),
        (3.4, [0, 1, 2, 3, 4]),
        (97, [0, 25, 50, 75, 100]),
        (0.004, [0, 0.001, 0.002, 0.003, 0.004]),
    ],
)
def test_ticks_are_round_and_reach_the_top(top: float, ticks: list[float]) -> None:
    assert charts.nice_ticks(top) == pytest.approx(ticks)


def test_time_ticks_are_round_moments_within_the_window() -> None:
    ticks = charts.time_ticks(START + timedelta(seconds=7), START + timedelta(hours=1))
    assert [f"{at:%H:%M:%S}" for at in ticks] == [
        "12:10:00",
        "12:20:00",
        "12:30:00",
        "12:40:00",
        "12:50:00",
        "13:00:00",
    ]


def test_areas_stand_on_each_other() -> None:
    drawn = charts.stacked(
        "n",
        "Runs",
        [charts.Series("is-a", "a", (1, 1, 1, 1)), charts.Series("is-b", "b", (1, 1, 1, 3))],
        TIMES,
        unit="",
        show=words.rate,
    )
    assert not drawn.empty
    bottom, top = drawn.bottom, drawn.top
    quarter = (bottom - top) / 4
    assert drawn.shapes[0].path.startswith(f"M0.0,{bottom - quarter}L")
    assert f"1000.0,{top}" in drawn.shapes[1].path
    assert f"1000.0,{bottom - quarter}" in drawn.shapes[1].path
    assert [tick.text for tick in drawn.y_ticks] == ["0", "1", "2", "3", "4"]
    assert drawn.shapes[1].values == "1.0|1.0|1.0|3.0"


def test_lines_have_holes_and_lone_points() -> None:
    series = charts.Series("is-p50", "p50", (0.5, None, 1.0, 2.0))
    drawn = charts.lines("n", "Duration", [series], TIMES, unit="", show=words.duration)
    (shape,) = drawn.shapes
    assert shape.path.count("M") == 1
    assert [x for x, _ in shape.points] == [0.0]
    assert shape.values == "500 ms||1.00 s|2.00 s"
    assert drawn.summary == "Duration; latest: p50 2.00 s"


def test_an_empty_chart_says_so() -> None:
    series = charts.Series("is-p50", "p50", (None,) * 4)
    drawn = charts.lines("n", "Duration", [series], TIMES, unit="", show=words.duration)
    assert drawn.empty
    assert drawn.summary == "Duration: nothing in this window"


def test_a_line_of_zeros_is_something() -> None:
    series = charts.Series("is-failed", "failed", (0.0, None, 0.0, 0.0))
    drawn = charts.lines(
        "n", "Errors", [series], TIMES,
        unit="", show=words.percent, ticks=charts.nice_ticks, least=0.02,
    )  # fmt: skip
    assert not drawn.empty
    assert [tick.text for tick in drawn.y_ticks] == ["0", "0.5 %", "1 %", "1.5 %", "2 %"]
    assert drawn.summary == "Errors; latest: failed 0 %"


def test_what_happened_is_marked_where_it_happened() -> None:
    series = charts.Series("is-p50", "p50", (1.0, 2.0, 3.0, 4.0))
    drawn = charts.lines("n", "Duration", [series], TIMES, unit="", show=words.duration)
    notes = [
        charts.Note(START + timedelta(seconds=at), "is-version", "workflows", f"at {at}")
        for at in (-1, 0, 70, 180, 181)
    ]
    (chart,) = charts.marked([drawn], notes)
    assert [(mark.at, mark.text) for mark in chart.marks] == [
        (0.0, "at 0"),
        (38.89, "at 70"),
        (100.0, "at 180"),
    ]
    moments = [mark.moment - int(START.timestamp()) for mark in chart.marks]
    assert moments == [0, 60, 180]
    alone = charts.lines(
        "n", "D", [charts.Series("is-p50", "p50", (1.0,))], TIMES[:1], unit="", show=words.duration
    )
    assert charts.marked([alone], notes)[0].marks == ()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0, "0 ms"),
        (0.0042, "4.2 ms"),
        (0.34, "340 ms"),
        (0.9999, "1.00 s"),
        (2.412, "2.41 s"),
        (42.04, "42.0 s"),
        (59.9, "1 m"),
        (200, "3 m 20 s"),
        (7500, "2 h 5 m"),
        (86_400, "1 d"),
        (273_600, "3 d 4 h"),
        (-1, "0 ms"),
    ],
)
def test_durations_in_words(seconds: float | None, text: str) -> None:
    assert words.duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (7, "7"), (4210, "4,210"), (38_200, "38.2k"), (1_400_000, "1.4M")],
)
def test_counts_in_words(value: float | None, text: str) -> None:
    assert words.count(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0, "0"), (0.001, "<0.01"), (0.04, "0.04"), (3.21, "3.2"), (184.2, "184")],
)
def test_rates_in_words(value: float | None, text: str) -> None:
    assert words.rate(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0, "0 %"), (0.003, "0.3 %"), (0.12, "12 %")]
)
def test_shares_in_words(value: float | None, text: str) -> None:
    assert words.percent(value) == text


@pytest.mark.parametrize(
    ("text", "short"),
    [("8.00 s", "8 s"), ("2.50", "2.5"), ("100", "100"), ("10 ms", "10 ms"), ("0.40", "0.4")],
)
def test_axis_numbers_are_short(text: str, short: str) -> None:
    assert words.trimmed(text) == short


def test_ids_shorten_in_the_middle() -> None:
    assert words.short_id("01a1fc6c-9ead-7127-af4c-71f35e8c8db8") == "01a1fc6c…8db8"
    assert words.short_id("short") == "short"


@pytest.mark.parametrize(
    ("top", "marks"),
    [
        (3.0, [0, 1, 2, 3]),
        (45.0, [0, 20, 40, 60]),
        (90.0, [0, 30, 60, 90]),
        (2000.0, [0, 600, 1200, 1800, 2400]),
        (40_000.0, [0, 10_800, 21_600, 32_400, 43_200]),
    ],
)
def test_ticks_of_long_durations_are_a_clocks(top: float, marks: list[float]) -> None:
    assert charts.duration_ticks(top) == marks
