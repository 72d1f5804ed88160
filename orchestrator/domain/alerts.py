"""The states of an alert, and when it moves: plain functions, with the time passed in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from orchestrator.domain.observations import Sight


class AlertState(StrEnum):
    """The state of an alert.  A rule that has no open alert is ok.

    ```mermaid
    stateDiagram-v2
        [*] --> pending: bad
        pending --> firing: bad for `for`
        pending --> ok: good, or its rule is gone
        firing --> acknowledged: a person
        firing --> resolved: good for `clear_for`, a person, or its rule is gone
        acknowledged --> resolved: good for `clear_for`, a person, or its rule is gone
        ok --> [*]
        resolved --> [*]
    ```

    `ok` ends an alert that never fired, `resolved` one that did.  Both are final: what comes after is
    another alert.  Silenced is no state but a mark beside it.
    """

    PENDING = "pending"
    FIRING = "firing"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"
    OK = "ok"


OPEN: frozenset[AlertState] = frozenset(
    {AlertState.PENDING, AlertState.FIRING, AlertState.ACKNOWLEDGED}
)
ALARMED: frozenset[AlertState] = frozenset({AlertState.FIRING, AlertState.ACKNOWLEDGED})
"""States of which people are told."""

MOVES: Mapping[AlertState, frozenset[AlertState]] = {
    AlertState.PENDING: frozenset({AlertState.FIRING, AlertState.OK}),
    AlertState.FIRING: frozenset({AlertState.ACKNOWLEDGED, AlertState.RESOLVED}),
    AlertState.ACKNOWLEDGED: frozenset({AlertState.RESOLVED}),
    AlertState.RESOLVED: frozenset(),
    AlertState.OK: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an open alert stands: bad since when, and, while it clears, good since when."""

    state: AlertState
    bad_since: datetime
    good_since: datetime | None = None


def look(
    standing: Standing | None,
    sight: Sight,
    *,
    now: datetime,
    for_: timedelta,
    clear_for: timedelta,
) -> tuple[Standing | None, tuple[AlertState, ...]]:
    """One look at a rule: where its alert stands now (None: there is none), and the moves to there.

    `standing` None: the rule has no open alert.  A closed standing is answered once, with the move
    that closed it."""
    if sight is Sight.INSUFFICIENT:
        return standing, ()
    if sight is Sight.BAD:
        return _bad(standing, now, for_)
    if standing is None:
        return None, ()
    return _good(standing, now, clear_for)


def _bad(
    standing: Standing | None, now: datetime, for_: timedelta
) -> tuple[Standing, tuple[AlertState, ...]]:
    moves: tuple[AlertState, ...] = ()
    if standing is None:
        standing, moves = Standing(AlertState.PENDING, now), (AlertState.PENDING,)
    if standing.state is AlertState.PENDING:
        if now - standing.bad_since < for_:
            return standing, moves
        return replace(standing, state=AlertState.FIRING), (*moves, AlertState.FIRING)
    return replace(standing, good_since=None), moves


def _good(
    standing: Standing, now: datetime, clear_for: timedelta
) -> tuple[Standing, tuple[AlertState, ...]]:
    if standing.state is AlertState.PENDING:
        return replace(standing, state=AlertState.OK, good_since=now), (AlertState.OK,)
    since = now if standing.good_since is None else standing.good_since
    if now - since < clear_for:
        return replace(standing, good_since=since), ()
    return replace(standing, state=AlertState.RESOLVED, good_since=since), (AlertState.RESOLVED,)


def closed(state: AlertState) -> AlertState:
    """How an open alert ends whose rule is gone."""
    return AlertState.OK if state is AlertState.PENDING else AlertState.RESOLVED


def canonical(labels: Mapping[str, str]) -> str:
    """Labels as the one text that equal labels have."""
    return json.dumps(dict(labels), sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def fingerprint(labels: Mapping[str, str]) -> str:
    """What tells one set of labels from another: 32 hexadecimal digits."""
    return hashlib.sha256(canonical(labels).encode()).hexdigest()[:32]
