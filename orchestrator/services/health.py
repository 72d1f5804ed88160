"""How the server is, written down by the clock, and handed to alerting.  By nobody else: what web
processes see they show, and keep to themselves."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from orchestrator.domain.health import CHECKS, DEEP, Check, State, is_alarm
from orchestrator.domain.observations import Observation, Severity, Sight
from orchestrator.selectors import diagnosis
from orchestrator.selectors import health as selector
from orchestrator.services import alerting
from orchestrator.store import Connection, health

logger = logging.getLogger(__name__)

EVERY_S = 10.0
START_S = 15.0
"""A clock that has just begun lets the workers, and its other duties, begin too: a start is no outage."""
DEEP_EVERY_S = 60.0
MIGRATIONS_EVERY_S = 3600.0
"""Looking at migrations loads them all: half a second of a core."""
GAP_S = 45.0
"""After so long nobody can say how a part was in between."""
HISTORY_DAYS = 30
MOST_CHANGES = 10_000
"""Of a part: one that flaps does not fill the table."""
FORGET_EVERY_S = 3600.0


class Sampler:
    """Looks at every part, writes down how it is, and tells alerting."""

    def __init__(self, start_s: float = START_S) -> None:
        self._forgot = 0.0
        self._begin = time.monotonic() + start_s

    def __call__(self, connection: Connection) -> int:
        """One look; answers how many parts' states changed."""
        if time.monotonic() < self._begin:
            return 0
        changed = write(connection, selector.look(), deep=False)
        now = time.monotonic()
        if not self._forgot or now - self._forgot > FORGET_EVERY_S:
            health.forget(connection, days=HISTORY_DAYS, most=MOST_CHANGES)
            self._forgot = now
        return changed


class Diagnosis:
    """The deeper look, once a minute, written down and told in the same way."""

    def __init__(self, start_s: float = START_S) -> None:
        self._migrations: Check | None = None
        self._asked = 0.0
        self._begin = time.monotonic() + start_s

    def __call__(self, connection: Connection) -> int:
        """One look; answers how many parts' states changed."""
        now = time.monotonic()
        if now < self._begin:
            return 0
        health.measure(connection)
        if self._migrations is None or now - self._asked > MIGRATIONS_EVERY_S:
            self._migrations, self._asked = diagnosis.migrated(), now
        return write(connection, [self._migrations, *diagnosis.deep_look()], deep=True)


def write(connection: Connection, checks: Sequence[Check], *, deep: bool) -> int:
    """Write down how parts are, and hand it to alerting; answers how many states changed."""
    every_s = DEEP_EVERY_S if deep else EVERY_S
    health.note_gap(connection, deep=deep, gap_s=GAP_S + 2 * every_s)
    changed = health.record(connection, checks, deep=deep)
    for check in checks:
        if check.name in changed and check.state is not State.OK:
            logger.warning("%s is %s: %s", check.name, check.state, check.detail)
    alerting.observe([observation(check) for check in checks], connection=connection)
    return len(changed)


def observation(check: Check) -> Observation:
    """What alerting is told of a part: the server's own rule `health:<part>`."""
    about = CHECKS.get(check.name) or DEEP[check.name]
    bad = is_alarm(check.name, check.state)
    return Observation(
        tenant_id=None,
        rule=f"health:{check.name}",
        name=about.title,
        sight=Sight.BAD if bad else Sight.GOOD,
        summary=f"{check.detail} {check.mend}".strip() if bad else check.detail,
        severity=Severity.CRITICAL if check.state is State.DOWN else Severity.WARNING,
        for_s=about.for_s,
        clear_for_s=about.clear_for_s,
    )
