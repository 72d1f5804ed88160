"""What a rule would have done: its judgement, minute by minute, over what was counted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import NamedTuple

from orchestrator.domain.observations import Sight
from orchestrator.domain.slo.budget import EXACT, Sums
from orchestrator.domain.slo.judging import judge
from orchestrator.domain.slo.rules import Kind, Rule

MINUTE = 60
HOUR = 3600
FINE_S = 6 * HOUR
"""Windows up to this long are counted by the minute, longer ones by the hour."""


class Slice(NamedTuple):
    """Samples of one minute."""

    total: int
    good: int
    clear: int


class Firing(NamedTuple):
    """When it would have fired, and until when (None: it would fire still); unix seconds."""

    since: int
    until: int | None


@dataclass(frozen=True, slots=True)
class Replay:
    """The firings, how long the rule was bad, and how many minutes said nothing."""

    firings: tuple[Firing, ...]
    bad_s: int
    firing_s: int
    insufficient_s: int


def window_start(until: int, window_s: float) -> tuple[int, int]:
    """Where the window that ends at `until` begins, and the width of the slices it is counted by.

    Whole slices: at least the window, and at most a slice more."""
    width = MINUTE if window_s <= FINE_S else HOUR
    return int(until - window_s) // width * width, width


def narrowed(wide: Sums, whole: Sums, *, until: int, window_s: float) -> Sums:
    """What a floor is judged by: `wide` is of all slices that the window touches, `whole` of those that
    lie in it.

    Of the first slice as much counts as the window's part of it: a rate is not of more than its window.
    It is rounded up, so that what comes once in a window is never missed."""
    begin, width = window_start(until, window_s)
    part = (begin + width - (until - window_s)) / width
    good = whole.good + math.ceil((wide.good - whole.good) * part - EXACT)
    return replace(wide, total=good, good=good, clear=good)


@dataclass(slots=True)
class Machine:
    """When a rule fires: bad for `for_s`, until it was good for `clear_for_s`."""

    for_s: float
    clear_for_s: float
    since: int | None = None
    bad_since: int | None = None
    good_since: int | None = None

    def see(self, at: int, sight: Sight) -> Firing | None:
        """One look; answers the firing that has ended by it."""
        if sight is Sight.BAD:
            self.good_since = None
            self.bad_since = at if self.bad_since is None else self.bad_since
            if self.since is None and at - self.bad_since >= self.for_s:
                self.since = at
        elif sight is Sight.GOOD:
            self.bad_since = None
            if self.since is not None:
                self.good_since = at if self.good_since is None else self.good_since
                if at - self.good_since >= self.clear_for_s:
                    ended = Firing(self.since, at)
                    self.since = self.good_since = None
                    return ended
        return None


def replay(
    rule: Rule,
    slices: Mapping[int, Slice],
    *,
    since: int,
    until: int,
    crossings: Sequence[tuple[int, int]] = (),
) -> Replay:
    """The rule from `since` to `until` (unix seconds, whole minutes), looked at each minute's end.

    `slices`: by their minute's beginning, also before `since`, as far as windows reach back.
    `crossings`: from when to when runs were late that had not ended."""
    reach = int(max(rule.spans)) + HOUR
    begin = (since - reach) // HOUR * HOUR
    count = (until - begin) // MINUTE
    steps = [slices.get(begin + nr * MINUTE) for nr in range(count)]
    totals, goods, clears = (
        [0, *accumulate(one[part] if one else 0 for one in steps)] for part in range(3)
    )
    late = _late(crossings, begin, count)

    def sums(until_nr: int, window_s: float, *, skipped: int = 0) -> Sums:
        start, width = window_start(begin + until_nr * MINUTE, window_s)
        first = min(max((start + skipped * width - begin) // MINUTE, 0), until_nr)
        return Sums(
            totals[until_nr] - totals[first],
            goods[until_nr] - goods[first],
            clears[until_nr] - clears[first],
            late[until_nr],
        )

    def own(until_nr: int) -> Sums:
        found = sums(until_nr, rule.window_s)
        if rule.kind is not Kind.THROUGHPUT_FLOOR:
            return found
        whole = sums(until_nr, rule.window_s, skipped=1)
        until_s = begin + until_nr * MINUTE
        return narrowed(found, whole, until=until_s, window_s=rule.window_s)

    machine = Machine(rule.for_s, rule.clear_for_s)
    firings: list[Firing] = []
    was_bad = False
    bad = said_nothing = 0
    for nr in range((since - begin) // MINUTE + 1, count + 1):
        pairs = [(sums(nr, pair.long_s), sums(nr, pair.short_s)) for pair in rule.burn]
        sight = judge(rule, own(nr), pairs, was_bad=was_bad).sight
        bad += sight is Sight.BAD
        said_nothing += sight is Sight.INSUFFICIENT
        if sight is not Sight.INSUFFICIENT:
            was_bad = sight is Sight.BAD
        ended = machine.see(begin + nr * MINUTE, sight)
        if ended is not None:
            firings.append(ended)
    if machine.since is not None:
        firings.append(Firing(machine.since, None))
    firing_s = sum((one.until or until) - one.since for one in firings)
    return Replay(tuple(firings), bad * MINUTE, firing_s, said_nothing * MINUTE)


def _late(crossings: Sequence[tuple[int, int]], begin: int, count: int) -> list[int]:
    """How many runs were late at each minute's end."""
    changes = [0] * (count + 2)
    for late_at, ended_at in crossings:
        first = max(-(-(late_at - begin) // MINUTE), 0)
        last = -(-(ended_at - begin) // MINUTE)
        if first < last and first <= count:
            changes[first] += 1
            changes[min(last, count + 1)] -= 1
    return list(accumulate(changes))[: count + 1]
