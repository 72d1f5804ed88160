"""The state machine of alerts, by itself: whatever is seen in whatever order and at whatever pace."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from orchestrator.domain.alerts import (
    MOVES,
    OPEN,
    AlertState,
    Standing,
    canonical,
    closed,
    fingerprint,
    look,
)
from orchestrator.domain.observations import Sight

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
SECONDS = st.floats(0, 100).map(lambda s: timedelta(seconds=round(s, 3)))


class Alerts(RuleBasedStateMachine):
    """One rule with one set of labels, looked at again and again by the clock of this test."""

    @initialize(for_=SECONDS, clear_for=SECONDS)
    def begin(self, for_: timedelta, clear_for: timedelta) -> None:
        self.for_, self.clear_for = for_, clear_for
        self.now = NOON
        self.standing: Standing | None = None
        self.history: list[AlertState] = []
        self.bad_since: datetime | None = None
        self.good_since: datetime | None = None
        """Of the model: since when every look that said anything was bad, or good."""

    @rule(passed=SECONDS, sight=st.sampled_from(Sight))
    def see(self, passed: timedelta, sight: Sight) -> None:
        self.now += passed
        if sight is Sight.BAD:
            self.bad_since, self.good_since = self.bad_since or self.now, None
        elif sight is Sight.GOOD:
            self.bad_since, self.good_since = None, self.good_since or self.now
        before = self.standing
        after, moves = look(before, sight, now=self.now, for_=self.for_, clear_for=self.clear_for)
        if sight is Sight.INSUFFICIENT:
            assert (after, moves) == (before, ())
        self._moved(before, moves)
        if AlertState.FIRING in moves:
            assert self.bad_since is not None, "fires while it is bad alone"
            assert self.now - self.bad_since >= self.for_, "and was so for long enough"
        if AlertState.RESOLVED in moves:
            assert self.good_since is not None
            assert self.now - self.good_since >= self.clear_for
        self.standing = None if after is None or after.state not in OPEN else after
        if sight is Sight.BAD and self.now - (self.bad_since or self.now) >= self.for_:
            assert self.standing is not None, "what is bad for long enough has an alert"
            assert self.standing.state is not AlertState.PENDING
        if sight is Sight.GOOD and self.now - (self.good_since or self.now) >= self.clear_for:
            assert self.standing is None, "what is good for long enough has none"

    @rule()
    def acknowledge(self) -> None:
        if self.standing is not None and self.standing.state is AlertState.FIRING:
            acknowledged = Standing(
                AlertState.ACKNOWLEDGED, self.standing.bad_since, self.standing.good_since
            )
            self._moved(self.standing, (AlertState.ACKNOWLEDGED,))
            self.standing = acknowledged

    def _moved(self, before: Standing | None, moves: tuple[AlertState, ...]) -> None:
        """Every move is one that the machine has; one alert after the other."""
        state = None if before is None else before.state
        for move in moves:
            if state is None:
                assert move is AlertState.PENDING
            else:
                assert move in MOVES[state], (state, move)
            state = move
        if before is not None and before.state is AlertState.ACKNOWLEDGED:
            assert moves in ((), (AlertState.RESOLVED,)), "seen to until it is over"

    @invariant()
    def only_open_ones_stand(self) -> None:
        standing = getattr(self, "standing", None)
        assert standing is None or standing.state in OPEN


TestAlerts = Alerts.TestCase


def test_one_good_look_ends_what_was_pending_alone() -> None:
    pending = Standing(AlertState.PENDING, NOON)
    after, moves = look(pending, Sight.GOOD, now=NOON, for_=timedelta(60), clear_for=timedelta(60))
    assert moves == (AlertState.OK,)
    assert after is not None
    assert after.state is AlertState.OK


def test_a_bad_look_begins_the_clearing_anew() -> None:
    minute = timedelta(minutes=1)
    firing = Standing(AlertState.FIRING, NOON)

    def see(standing: Standing | None, sight: Sight, minutes: float) -> Standing | None:
        at = NOON + minutes * minute
        return look(standing, sight, now=at, for_=minute, clear_for=2 * minute)[0]

    clearing = see(firing, Sight.GOOD, 1)
    again = see(clearing, Sight.BAD, 2)
    assert again == firing
    longer = see(see(again, Sight.GOOD, 3), Sight.GOOD, 4.9)
    assert longer is not None
    assert longer.state is AlertState.FIRING
    ended = see(longer, Sight.GOOD, 5)
    assert ended is not None
    assert ended.state is AlertState.RESOLVED


@pytest.mark.parametrize(
    ("state", "end"),
    [
        (AlertState.PENDING, AlertState.OK),
        (AlertState.FIRING, AlertState.RESOLVED),
        (AlertState.ACKNOWLEDGED, AlertState.RESOLVED),
    ],
)
def test_the_end_of_a_rule_ends_its_alert(state: AlertState, end: AlertState) -> None:
    assert closed(state) is end
    assert end in MOVES[state]


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=4))
def test_equal_labels_have_one_fingerprint(labels: dict[str, str]) -> None:
    shuffled = dict(reversed(list(labels.items())))
    assert canonical(labels) == canonical(shuffled)
    assert fingerprint(labels) == fingerprint(shuffled)
    assert fingerprint({**labels, "one more": "1"}) != fingerprint(labels)
