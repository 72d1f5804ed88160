"""The last answers of this process, used again for a moment, with since when each is what it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Lock

from django.utils import timezone

from orchestrator.domain.health import CHECKS, Check, State
from orchestrator.selectors.health import inside, looking, outside
from orchestrator.store import connect, gauges, health
from orchestrator.store.connect import Connection
from orchestrator.store.health import Recorded
from tenants import fence

READY_S = 0.5
"""How long "requests can be served" holds: whoever may ask costs a look at most twice a second."""
TRUSTED_S = 60.0
"""How old what the clock wrote down may be and still say since when."""


class _Board:
    """The last answers of this process."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._checks: list[Check] = []
        self._until = 0.0

    def read(self, look: Callable[[], list[Check]]) -> list[Check]:
        with self._lock:
            if time.monotonic() >= self._until:
                known = {check.name: check for check in self._checks}
                self._checks = [_dated(check, known) for check in look()]
                self._until = time.monotonic() + looking.FRESH_S
            return list(self._checks)

    def forget(self) -> None:
        with self._lock:
            self._until = 0.0


class _Ready:
    """Whether the database can be used, asked by one at a time."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._check: Check | None = None
        self._until = 0.0
        self._threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="ready")

    def read(self) -> Check:
        with self._lock:
            if self._check is None or time.monotonic() >= self._until:
                future = self._threads.submit(_ready)
                self._check = looking.answer("database", future, looking.LIMIT_S)
                self._until = time.monotonic() + READY_S
            return self._check

    def forget(self) -> None:
        with self._lock:
            self._check = None


class _Since:
    """What the clock has written down, read over a lane like a part."""

    def __init__(self) -> None:
        self.found: dict[str, Recorded] = {}

    def __call__(self, connection: Connection) -> Check:
        self.found = {row.name: row for row in health.states(connection)}
        return Check("recorded", State.OK, "")


_since = _Since()
_board = _Board()
_is_ready = _Ready()
_lanes = (
    looking.Lane(
        {
            "database": inside.database,
            "clock": inside.clock,
            "recorded": _since,
            "events": inside.events,
            "canary": inside.canary,
        }
    ),
    looking.Lane(
        {
            "workers": inside.workers,
            "handlers": inside.handlers,
            "backlog": inside.backlog,
            "breakers": inside.breakers,
        }
    ),
)
_looker = looking.Looker(
    {
        "broker": outside.broker,
        "channel_layer": outside.channel_layer,
        "disk": outside.disk,
    },
    _lanes,
)


def refresh() -> None:
    """Make the next `checks` look anew."""
    _board.forget()
    _is_ready.forget()
    _looker.forget()


def checks() -> list[Check]:
    """Every part's state, at most 2 s old.  Synchronous; call it from a thread."""
    return _board.read(look)


def look() -> list[Check]:
    """Every part's state now, within 2 s."""
    found = _looker.look()
    return [found[name] for name in CHECKS]


def database_ready() -> Check:
    """Whether requests can be served: the database answers within 2 s and is migrated.

    Nothing that belongs to a tenant, and no other part, is asked."""
    return _is_ready.read()


def _dated(check: Check, known: Mapping[str, Check]) -> Check:
    """With since when: as the clock wrote it down, else as this process saw it first."""
    if check.since is not None:
        return check
    recorded, before = _since.found.get(check.name), known.get(check.name)
    if recorded is not None and recorded.age_s < TRUSTED_S and recorded.state == check.state:
        return replace(check, since=recorded.since)
    if before is not None and before.state == check.state:
        return replace(check, since=before.since)
    return replace(check, since=timezone.now())


def _ready() -> Check:
    with connect(name="health", role=fence.MONITOR) as connection:
        gauges.bound(connection, looking.LIMIT_S)
        if gauges.ready(connection):
            return Check("database", State.OK, "It answers.")
    return Check("database", State.DOWN, "It is not migrated.", "Run manage.py migrate.")
