"""Nominal times: cron with zones and summer time, intervals, what was missed, jitter, overlap."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.calendar import (
    MOST_COUNTED,
    BadCalendar,
    Cron,
    Every,
    Missed,
    check_cron,
    check_zone,
    describe,
    fire_at,
    first,
    look,
    newest,
    times,
    upcoming,
)
from orchestrator.domain.overlap import MOST_QUEUED, Decision, Overlap, decide

MINUTE = timedelta(minutes=1)
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def local(expression: str, zone: str, after: str, count: int) -> list[str]:
    """The next times as the zone's clocks show them."""
    where = ZoneInfo(zone)
    since = datetime.fromisoformat(after).replace(tzinfo=where)
    found = upcoming(Cron(expression, zone), since, count)
    return [f"{at.astimezone(where):%d %H:%M %z}" for at in found]


# 2026 in Berlin: 29 March 02:00 becomes 03:00, 25 October 03:00 becomes 02:00.
@pytest.mark.parametrize(
    ("expression", "after", "expected"),
    [
        # a time of the day in the gap: the first moment after it
        ("30 2 * * *", "2026-03-28T12:00", ["29 03:00 +0200", "30 02:30 +0200"]),
        ("0 2,3 * * *", "2026-03-28T12:00", ["29 03:00 +0200", "30 02:00 +0200"]),
        ("15 2,3 * * *", "2026-03-28T12:00", ["29 03:00 +0200", "29 03:15 +0200"]),
        # a time of the day in the fold: the first of the two
        ("30 2 * * *", "2026-10-24T12:00", ["25 02:30 +0200", "26 02:30 +0100"]),
        # time that goes by: nothing in the gap, all of the fold
        ("*/30 * * * *", "2026-03-29T01:00", ["29 01:30 +0100", "29 03:00 +0200"]),
        ("*/30 2 * * *", "2026-03-28T12:00", ["30 02:00 +0200", "30 02:30 +0200"]),
        (
            "*/30 2 * * *",
            "2026-10-24T12:00",
            ["25 02:00 +0200", "25 02:30 +0200", "25 02:00 +0100", "25 02:30 +0100"],
        ),
        ("0 * * * *", "2026-10-25T01:30", ["25 02:00 +0200", "25 02:00 +0100", "25 03:00 +0100"]),
    ],
)
def test_summer_time(expression: str, after: str, expected: list[str]) -> None:
    assert local(expression, "Europe/Berlin", after, len(expected)) == expected


def test_the_second_half_of_the_fold_repeats_no_time_of_the_day() -> None:
    second = datetime(2026, 10, 25, 1, 10, tzinfo=UTC)  # 02:10, for the second time
    assert upcoming(Cron("30 2 * * *", "Europe/Berlin"), second, 1) == [
        datetime(2026, 10, 26, 1, 30, tzinfo=UTC)
    ]


def test_a_midnight_that_is_leapt_over() -> None:
    # Beirut: 29 March 2026, 00:00 becomes 01:00
    assert local("0 0 * * *", "Asia/Beirut", "2026-03-28T12:00", 2) == [
        "29 01:00 +0300",
        "30 00:00 +0300",
    ]
    assert local("*/30 0 * * 0", "Asia/Beirut", "2026-03-28T12:00", 1) == ["05 00:00 +0300"]
    assert local("*/30 * * * 0", "Asia/Beirut", "2026-03-28T12:00", 2) == [
        "29 01:00 +0300",
        "29 01:30 +0300",
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("@daily", "0 0 * * *"),
        ("@HOURLY", "0 * * * *"),
        ("  5   4 * * sun ", "5 4 * * sun"),
        ("0 0 29 2 *", "0 0 29 2 *"),
        ("0 9 * * MON-FRI", "0 9 * * MON-FRI"),
        ("0 0 L * *", "0 0 L * *"),
        ("0 12 * * 5#2", "0 12 * * 5#2"),
    ],
)
def test_expressions(text: str, found: str) -> None:
    assert check_cron(text) == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no cron"),
        ("* * * *", "has 4 fields"),
        ("0 * * * * *", "has 6 fields"),
        ("60 * * * *", "bad minute"),
        ("* 24 * * *", "bad hour"),
        ("* * 31 2 *", "bad day-of-month"),
        ("@often", "has 1 fields"),
        ("* * * * ²", "no cron"),
        ("*/0 * * * *", "bad minute"),
        ("0," * 150 + "0 * * * *", "no cron"),
        ("0 0 */31 * 1#5", "never comes"),
    ],
)
def test_what_is_no_expression(text: str, said: str) -> None:
    with pytest.raises(BadCalendar, match=said):
        check_cron(text)


@given(st.text(alphabet="0123456789*/,-#LWMONJA ", max_size=30))
def test_any_text_is_an_expression_or_says_why_not(text: str) -> None:
    try:
        found = check_cron(text)
    except BadCalendar:
        return
    assert next(times(Cron(found), NOON)) > NOON


def test_zones() -> None:
    assert check_zone("America/New_York") == "America/New_York"
    for wrong in ("Mars/Olympus", "", "../etc/passwd", "localtime", "CEST"):
        with pytest.raises(BadCalendar, match="zone"):
            check_zone(wrong)


zones = st.sampled_from(
    [
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "Asia/Beirut",
        "Australia/Lord_Howe",
        "Asia/Kolkata",
    ]
)
expressions = st.sampled_from(
    ["* * * * *", "*/7 * * * *", "30 2 * * *", "0 */3 * * *", "15 0,2,23 * * 1-5", "0 0 1 * *"]
)
moments = st.integers(0, 6 * 366 * 86_400).map(lambda s: NOON + timedelta(seconds=s))


@given(expressions, zones, moments)
def test_times_rise_and_stand_on_the_clocks(expression: str, zone: str, after: datetime) -> None:
    found = upcoming(Cron(expression, zone), after, 6)
    assert found[0] > after
    assert all(one < other for one, other in pairwise(found))
    assert all(at.second == at.microsecond == 0 for at in found)


@given(expressions, zones, moments, st.integers(1, 50), st.integers(1, 100_000))
def test_the_newest_are_the_last_of_all(
    expression: str, zone: str, since: datetime, most: int, minutes: int
) -> None:
    until = since + minutes * MINUTE
    timing = Cron(expression, zone)
    found = newest(timing, since=since, until=until, most=most)
    assert len(found) <= most
    assert all(since <= at <= until for at in found)
    if found:
        assert next(times(timing, found[-1])) > until
        assert upcoming(timing, found[0] - timedelta(microseconds=1), len(found)) == found
    if len(found) < most:
        assert next(times(timing, since - timedelta(microseconds=1))) == (
            found[0] if found else next(times(timing, until))
        )


def test_intervals_keep_their_beat() -> None:
    every = Every(timedelta(minutes=15), NOON)
    assert upcoming(every, NOON - timedelta(days=1), 2) == [NOON, NOON + 15 * MINUTE]
    assert upcoming(every, NOON, 1) == [NOON + 15 * MINUTE]
    assert upcoming(every, NOON + 16 * MINUTE, 1) == [NOON + 30 * MINUTE]
    late = NOON + timedelta(days=3650)
    assert newest(every, since=NOON, until=late, most=2) == [late - 15 * MINUTE, late]
    assert newest(every, since=NOON, until=NOON + MINUTE, most=5) == [NOON]
    assert newest(every, since=NOON + MINUTE, until=NOON + 2 * MINUTE, most=5) == []


def test_the_first_time_is_after_now_and_not_before_the_start() -> None:
    hourly = Cron("0 * * * *")
    assert first(hourly, now=NOON, start_at=None) == NOON + timedelta(hours=1)
    assert first(hourly, now=NOON, start_at=NOON + timedelta(hours=5)) == NOON + timedelta(hours=5)
    assert first(hourly, now=NOON, start_at=NOON - timedelta(hours=5)) == NOON + timedelta(hours=1)


@pytest.mark.parametrize(
    ("missed", "limit", "fired", "given_up"),
    [
        (Missed.SKIP, 1, 0, 5),
        (Missed.ONE, 1, 1, 4),
        (Missed.ALL, 100, 5, 0),
        (Missed.ALL, 3, 3, 2),
    ],
)
def test_what_was_missed(missed: Missed, limit: int, fired: int, given_up: int) -> None:
    due = look(
        Cron("* * * * *"),
        next_at=NOON + MINUTE,
        now=NOON + 5.5 * MINUTE,
        missed=missed,
        limit=limit,
    )
    assert (len(due.fire), len(due.missed)) == (fired, given_up)
    assert due.late == (missed is not Missed.SKIP)
    assert due.next_at == due.look_at == NOON + 6 * MINUTE
    every = sorted((*due.fire, *due.missed))
    assert every == [NOON + n * MINUTE for n in range(1, 6)]
    assert due.fire == tuple(every[5 - fired :])


def test_looking_in_time_too_early_and_far_too_late() -> None:
    timing = Cron("* * * * *")
    early = look(timing, next_at=NOON, now=NOON - timedelta(seconds=1), missed=Missed.ONE)
    assert (early.fire, early.missed, early.next_at, early.look_at) == ((), (), NOON, NOON)
    in_time = look(timing, next_at=NOON, now=NOON + timedelta(seconds=4), missed=Missed.SKIP)
    assert (in_time.fire, in_time.late) == ((NOON,), False)
    month = look(timing, next_at=NOON, now=NOON + timedelta(days=30), missed=Missed.SKIP)
    assert len(month.missed) + len(month.fire) == MOST_COUNTED
    both = look(
        timing, next_at=NOON, now=NOON + 2 * MINUTE + timedelta(seconds=1), missed=Missed.SKIP
    )
    assert (both.missed, both.fire) == ((NOON, NOON + MINUTE), (NOON + 2 * MINUTE,))


def test_an_expression_that_ends() -> None:
    assert list(times(Cron("0 0 */31 * 1#5"), NOON)) == []
    assert fire_at(Cron("0 0 */31 * 1#5"), NOON, jitter=MINUTE, seed="") < NOON + MINUTE
    over = look(Cron("0 0 */31 * 1#5"), next_at=NOON, now=NOON, missed=Missed.ONE)
    assert (over.fire, over.next_at, over.look_at) == ((), None, None)


@given(st.integers(0, 7200), st.text(max_size=5), st.integers(0, 1000))
def test_jitter_keeps_the_order_and_every_clock_says_the_same(
    jitter_s: int, seed: str, number: int
) -> None:
    timing, at = Cron("*/10 * * * *"), NOON + number * 10 * MINUTE
    jitter = timedelta(seconds=jitter_s)
    fired = fire_at(timing, at, jitter=jitter, seed=seed)
    assert at <= fired <= at + min(jitter, 10 * MINUTE)
    assert fired == fire_at(timing, at, jitter=jitter, seed=seed)
    before = fired - timedelta(microseconds=1)
    if before >= at:
        held = look(timing, next_at=at, now=before, missed=Missed.ONE, jitter=jitter, seed=seed)
        assert (held.fire, held.next_at, held.look_at) == ((), at, fired)
    due = look(timing, next_at=at, now=fired, missed=Missed.ONE, jitter=jitter, seed=seed)
    assert due.fire == (at,)
    assert due.look_at is not None
    assert due.look_at >= at + 10 * MINUTE


@pytest.mark.parametrize(
    ("overlap", "limit", "active", "waiting", "made_up", "decision"),
    [
        (Overlap.SKIP, 1, 0, 0, False, Decision.START),
        (Overlap.SKIP, 1, 1, 0, False, Decision.SKIP),
        (Overlap.SKIP, 1, 1, 0, True, Decision.WAIT),
        (Overlap.SKIP, 1, 0, 1, False, Decision.SKIP),
        (Overlap.QUEUE, 1, 0, 0, False, Decision.START),
        (Overlap.QUEUE, 1, 1, 0, False, Decision.WAIT),
        (Overlap.QUEUE, 1, 0, 1, False, Decision.WAIT),
        (Overlap.QUEUE, 1, 1, MOST_QUEUED, False, Decision.SKIP),
        (Overlap.QUEUE, 1, 1, MOST_QUEUED, True, Decision.WAIT),
        (Overlap.ALLOW, 2, 1, 0, False, Decision.START),
        (Overlap.ALLOW, 2, 2, 0, False, Decision.SKIP),
        (Overlap.ALLOW, 2, 2, 0, True, Decision.WAIT),
        (Overlap.CANCEL_PREVIOUS, 1, 0, 0, False, Decision.START),
        (Overlap.CANCEL_PREVIOUS, 1, 1, 9, False, Decision.REPLACE),
        (Overlap.CANCEL_PREVIOUS, 1, 1, 0, True, Decision.WAIT),
        (Overlap.CANCEL_PREVIOUS, 1, 0, 0, True, Decision.START),
    ],
)
def test_overlap(
    overlap: Overlap, limit: int, active: int, waiting: int, made_up: bool, decision: Decision
) -> None:
    found = decide(overlap, limit, active=active, waiting=waiting, made_up=made_up)
    assert found is decision


def test_times_that_are_made_up_for_wait_besides() -> None:
    def of(waiting: int, besides: int) -> Decision:
        return decide(Overlap.QUEUE, 1, active=1, waiting=waiting, besides=besides)

    assert of(MOST_QUEUED + 8, 9) is Decision.WAIT
    assert of(MOST_QUEUED + 9, 9) is Decision.SKIP


def test_in_words() -> None:
    assert describe(Cron("30 2 * * *", "Europe/Berlin")) == "At 02:30 every day, Europe/Berlin"
    assert describe(Every(timedelta(minutes=15), NOON)) == "Every 15m"
