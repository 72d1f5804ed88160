"""What keeps the server in order: dead workers, wrong counts, old rows."""

from __future__ import annotations

import logging
import time

from orchestrator import dispatch
from orchestrator.conf import Conf
from orchestrator.store import Connection, clock, payloads, people, schedules, workers

logger = logging.getLogger(__name__)

SURE_AFTER_S = 1.0
DAYS_AHEAD = 3
FORGET_AT_ONCE = 500
MOST_CACHED = 10_000
"""Outputs that a tenant may keep under keys; the first to expire go first."""


class Reaper:
    """Notices dead workers: those whose lock is free in two ticks, or whose lease is too old."""

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._seen: dict[int, float] = {}

    def __call__(self, connection: Connection) -> int:
        """One look; answers how many steps were lost."""
        now = time.monotonic()
        suspects = workers.suspects(connection, lease_s=self._lease_s)
        self._seen = {worker: self._seen.get(worker, now) for worker in suspects}
        lost = 0
        for worker, since in list(self._seen.items()):
            if now - since < SURE_AFTER_S * 0.9:
                continue
            count, queues = workers.reap(connection, worker)
            del self._seen[worker]
            dispatch.wake(queues)
            lost += count
            logger.warning("worker %s is dead: %s steps were lost and run again", worker, count)
        return lost


def reconcile(connection: Connection) -> int:
    """Compare what is counted with what is; answers how many counts were wrong (0 is expected)."""
    wrong = clock.reconcile(connection)
    if wrong:
        logger.error(
            "%s counts of connections or ready steps were wrong and have been mended", wrong
        )
    return wrong


def retain(connection: Connection, conf: Conf) -> int:
    """Make the partitions of the coming days, drop old ones, forget old runs and what they kept."""
    changed = clock.trim_caches(connection, most=MOST_CACHED)
    changed += clock.make_partitions(connection, days_ahead=DAYS_AHEAD)
    changed += clock.drop_partitions(connection, days=conf.event_days)
    changed += clock.make_log_partitions(connection, days_ahead=DAYS_AHEAD)
    changed += clock.drop_log_partitions(connection, days=conf.step_log_days)
    while forgotten := clock.forget_runs(connection, days=conf.run_days, limit=FORGET_AT_ONCE):
        changed += forgotten
    while swept := payloads.sweep(connection, limit=FORGET_AT_ONCE):
        changed += swept
    while gone := schedules.forget_fires(connection, days=conf.run_days, limit=FORGET_AT_ONCE):
        changed += gone
    while gone := clock.forget_audit(connection, days=conf.audit_days, limit=FORGET_AT_ONCE):
        changed += gone
    while gone := schedules.forget_deliveries(connection, days=conf.run_days, limit=FORGET_AT_ONCE):
        changed += gone
    while gone := people.forget_sessions(connection, limit=FORGET_AT_ONCE):
        changed += gone
    while gone := people.forget_invitations(connection, limit=FORGET_AT_ONCE):
        changed += gone
    return changed
