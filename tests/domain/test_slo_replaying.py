"""Rules of service levels on the past: replays over planted minutes."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.observations import Sight
from orchestrator.domain.slo import Burn, Firing, NoData, Slice, Sums, replay
from orchestrator.domain.slo.replaying import Machine, narrowed, window_start
from tests.domain.test_slo import DURATION, FLOOR, RATIO

DAY = 86_400
NOW = 1_800_000_000 // 3600 * 3600


def planted(*bad_minutes: int) -> dict[int, Slice]:
    """A sample each minute of the last hours: bad in these minutes before NOW, good in others."""
    return {
        NOW - 60 * ago: Slice(1, *(0, 0) if ago in bad_minutes else (1, 1)) for ago in range(1, 301)
    }


def test_it_fires_when_and_for_as_long_as_it_would_have() -> None:
    rule = replace(RATIO, window_s=600.0)
    slices = planted(100, 101)  # two of ten from the second on
    found = replay(rule, slices, since=NOW - 4 * 3600, until=NOW)
    # 2 of 10 are bad from minute 100's end until 101 has left the window
    begin = NOW - 100 * 60 + 60
    assert found.firings == (Firing(begin - 0, begin + 9 * 60),)
    assert found.bad_s == found.firing_s == 9 * 60
    patient = replace(rule, for_s=300.0)
    assert replay(patient, slices, since=NOW - 4 * 3600, until=NOW).firings == (
        Firing(begin + 300, begin + 9 * 60),
    )
    assert replay(replace(rule, for_s=600.0), slices, since=NOW - 4 * 3600, until=NOW).firings == ()
    slow = replace(rule, clear_for_s=120.0)
    assert replay(slow, slices, since=NOW - 4 * 3600, until=NOW).firings == (
        Firing(begin, begin + 11 * 60),
    )


def test_what_fires_still_has_no_end() -> None:
    rule = replace(RATIO, window_s=600.0)
    (firing,) = replay(rule, planted(1, 2, 3), since=NOW - 3600, until=NOW).firings
    assert firing.until is None


def test_a_floor_is_held_against_its_window_and_no_more() -> None:
    """Seven hours that begin at half past: of the hour in which they begin, half counts."""
    twenty = NOW - 7 * 3600, Slice(20, 20, 20)
    rule = replace(FLOOR, window_s=7 * 3600.0, threshold=11 / (7 * 3600))
    half = NOW + 1800
    found = replay(rule, dict([twenty]), since=NOW, until=half)
    (firing,) = found.firings
    assert firing == Firing(half, None), "20 until then, 10 from then on"
    few = Sums(21, 21, 21), Sums(20, 20, 20)
    assert narrowed(*few, until=half, window_s=rule.window_s).good == 21, "one is never missed"
    assert narrowed(*few, until=NOW, window_s=60.0).good == 21


def test_a_run_that_hung_counts_from_the_moment_it_was_late() -> None:
    rule = replace(DURATION, window_s=600.0)
    found = replay(rule, {}, since=NOW - 7200, until=NOW, crossings=[(NOW - 3600, NOW - 1800)])
    assert found.firings == (Firing(NOW - 3600, NOW - 1800),)
    before = [(NOW - 50 * DAY, NOW - 49 * DAY), (NOW - 60, NOW - 60), (NOW + 60, NOW + 120)]
    assert replay(rule, {}, since=NOW - 7200, until=NOW, crossings=before).firings == ()


def test_burn_rates_are_replayed_too() -> None:
    rule = replace(
        RATIO, target=0.99, window_s=3600.0, burn=(Burn(1800, 300, 10.0),), min_samples=10
    )
    slices = planted(*range(100, 112))
    found = replay(rule, slices, since=NOW - 4 * 3600, until=NOW)
    assert len(found.firings) == 1
    (firing,) = found.firings
    assert NOW - 112 * 60 < firing.since <= NOW - 108 * 60, "as soon as both windows burn"
    assert firing.until is not None
    assert firing.until <= NOW - 93 * 60, "the short window is over it first"


def test_minutes_with_too_few_samples_change_nothing() -> None:
    rule = replace(RATIO, window_s=600.0, min_samples=5, no_data=NoData.KEEP)
    bad = {NOW - 60 * ago: Slice(5, 0, 0) for ago in (60, 61)}
    found = replay(rule, bad, since=NOW - 2 * 3600, until=NOW)
    (firing,) = found.firings
    assert firing.until is None, "nobody has seen it good again"
    assert found.insufficient_s > 0


@given(
    st.lists(st.sampled_from(list(Sight)), min_size=1, max_size=60),
    st.integers(0, 5),
    st.integers(0, 5),
)
def test_a_machine_fires_after_its_time_and_never_flaps_within_it(
    sights: list[Sight], wait: int, clear: int
) -> None:
    machine = Machine(60.0 * wait, 60.0 * clear)
    for nr, sight in enumerate(sights):
        was = machine.since
        ended = machine.see(60 * nr, sight)
        if sight is Sight.INSUFFICIENT:
            assert machine.since == was
            assert ended is None
        if machine.since is not None and was is None:
            bad = [one for one in sights[: nr + 1] if one is not Sight.INSUFFICIENT]
            assert bad[-1] is Sight.BAD
            assert machine.bad_since is not None
            assert machine.since - machine.bad_since >= 60 * wait
        if ended is not None:
            assert sight is Sight.GOOD
            assert Sight.BAD not in sights[nr - clear + 1 : nr + 1]


def test_windows_are_whole_slices() -> None:
    assert window_start(NOW + 90, 600) == (NOW - 540, 60)
    assert window_start(NOW + 90, 86_400) == (NOW - 86_400, 3600)
