from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.embedded.child import FIRST_PAUSE_S, LONGEST_PAUSE_S, Pauses


def test_ten_deaths_in_a_minute_are_mended_at_once_and_the_next_ones_ever_later() -> None:
    pauses, now, seen = Pauses(), 0.0, []
    for _ in range(20):
        now += 1
        seen.append(pauses.after_death(lived_s=1, now=now))
    assert seen[:10] == [FIRST_PAUSE_S] * 10
    assert seen[10:] == [min(FIRST_PAUSE_S * 2**n, LONGEST_PAUSE_S) for n in range(1, 11)]


def test_a_part_that_lived_for_a_minute_starts_at_once_again() -> None:
    pauses = Pauses()
    for second in range(15):
        pauses.after_death(lived_s=0, now=float(second))
    assert pauses.after_death(lived_s=61, now=100.0) == FIRST_PAUSE_S


@given(st.lists(st.floats(min_value=6.1, max_value=1000), max_size=60))
def test_fewer_than_ten_deaths_a_minute_never_wait(lives: list[float]) -> None:
    pauses, now = Pauses(), 0.0
    for lived in lives:
        now += lived
        assert pauses.after_death(lived_s=lived, now=now) == FIRST_PAUSE_S
