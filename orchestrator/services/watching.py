"""Who watches those that watch: an alert where rules are not evaluated or people not told, and a beat
to an address elsewhere while all is well, so that its absence tells what we no longer can."""

from __future__ import annotations

import asyncio
import logging
import time

from orchestrator.domain.observations import Observation, Severity, Sight
from orchestrator.services import alerting
from orchestrator.services.receivers import WITHIN_S, NotDelivered, request
from orchestrator.store import Connection, clock, outbox
from orchestrator.store.clock import DutyState

logger = logging.getLogger(__name__)

EVALUATORS = ("evaluate", "health", "sla_count")
"""Duties that hand observations to alerting, or count for those; of which the database knows none, none
is missed."""
NOTIFIERS = ("notify", "route")
DUTIES = (*EVALUATORS, *NOTIFIERS)
UNTOLD = "People are not told of alerts."
LOOKED_BACK_S = 3600.0
"""For messages that were given up."""
RULE = "evaluator"
INTERVALS = 5
SOONEST_S = 30.0
"""A duty is late after so many of its intervals, and not before this."""
FOR_S = 15.0
"""Of trouble before the alert fires: a server that has just begun is late for a moment."""
BEAT_EVERY_S = 60.0


def watch(connection: Connection) -> int:
    """Look at the duties that alerts depend on; answers how many alerts moved."""
    states = clock.duty_states(connection, DUTIES)
    seen = [_seen(state) for state in states]
    return alerting.observe([*seen, _delivered(connection)], connection=connection)


def late_after(state: DutyState) -> float:
    """Seconds of silence after which a duty counts as late."""
    return max(INTERVALS * state.interval_s, SOONEST_S)


def trouble(state: DutyState) -> str | None:
    """What is wrong with a duty, in words; None where nothing is."""
    if state.silent_s > late_after(state):
        return f"The clock's duty {state.name} was last done {state.silent_s:.0f} s ago."
    if state.error:
        return f"The clock's duty {state.name} fails: {state.error}"
    return None


def _seen(state: DutyState) -> Observation:
    wrong = trouble(state)
    told = UNTOLD if state.name in NOTIFIERS else "Alerts are not evaluated."
    return Observation(
        tenant_id=None,
        rule=RULE,
        name=told,
        sight=Sight.GOOD if wrong is None else Sight.BAD,
        summary=wrong or f"The clock's duty {state.name} is done again.",
        labels={"duty": state.name},
        severity=Severity.CRITICAL,
        value=state.silent_s,
        threshold=late_after(state),
        unit="s",
        for_s=FOR_S,
        clear_for_s=FOR_S,
    )


def _delivered(connection: Connection) -> Observation:
    """Whether messages are taken that go through what the server's people have to keep well: its mail
    server, its own channels.  A tenant's webhook that is gone is the tenant's."""
    taken, given_up = outbox.outcomes(connection, within_s=LOOKED_BACK_S)
    is_bad = given_up > 0 and not taken
    return Observation(
        tenant_id=None,
        rule=RULE,
        name=UNTOLD,
        sight=Sight.BAD if is_bad else Sight.GOOD,
        summary=(
            f"In the last hour {given_up} messages by e-mail or to the server's channels were given"
            " up, and none was taken."
            if is_bad
            else "Messages are taken again, or none was given up for an hour."
        ),
        labels={"part": "messages"},
        severity=Severity.CRITICAL,
        value=float(given_up),
        unit="count",
        for_s=FOR_S,
        clear_for_s=FOR_S,
    )


class Watch:
    """The duty: looks, and beats to `url` (empty: nowhere) every minute while nothing is wrong."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._next = 0.0

    def __call__(self, connection: Connection) -> int:
        return watch(connection) + self.beat(connection)

    def beat(self, connection: Connection) -> int:
        """Call the address if it is time to and all is well; answers how often it was called."""
        if not self._url or time.monotonic() < self._next:
            return 0
        states = clock.duty_states(connection, DUTIES)
        if len(states) < len(DUTIES) or any(map(trouble, states)):
            return 0  # one that was never done is not well either
        if _delivered(connection).sight is Sight.BAD:
            return 0
        try:
            asyncio.run(_call(self._url))
        except (NotDelivered, TimeoutError) as error:
            logger.warning("the watchdog was not reached: %s", str(error) or "no answer")
            return 0
        self._next = time.monotonic() + BEAT_EVERY_S
        return 1


async def _call(url: str) -> None:
    async with asyncio.timeout(WITHIN_S):
        await request("POST", url, b"", {}, trusted=True)
