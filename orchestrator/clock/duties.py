"""The clock's duties by lane: the one place that says who shares a thread and a connection, and why."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from orchestrator import broadcast, dispatch, tracing
from orchestrator.clock.lane import LONG_S, Duty, Lane
from orchestrator.conf import Conf
from orchestrator.services import (
    actions,
    evaluating,
    health,
    maintenance,
    notifying,
    predicting,
    rollups,
    sla_counting,
    sla_learning,
    usage,
)
from orchestrator.services.canary import Canary
from orchestrator.services.firing import Firing
from orchestrator.services.spans import Spans
from orchestrator.services.watching import Watch
from orchestrator.store import Connection, clock


def lanes(conf: Conf) -> list[Lane]:
    """Every lane, urgent ones first (docs/decisions/clock-lanes.md)."""
    every: list[Lane] = []
    every += [*_urgent(conf), *_steady(conf), *_slow(conf, every), *_traced()]
    return every


def _urgent(conf: Conf) -> list[Lane]:
    """What runs wait for, in bounded portions."""
    return [
        # often waits for tenants' mutexes, with up to a thousand steps
        Lane("due", (Duty("due", 0.2, _waking(clock.due)),)),
        # hardly ever more than a look: something hangs, or a process has died
        Lane(
            "lost",
            (
                Duty("expire", 0.25, clock.expire),
                Duty("wake", 0.25, _waking(partial(clock.eligible, lease_s=conf.lease_s))),
                Duty("reap", 1.0, maintenance.Reaper(conf.lease_s)),
            ),
        ),
        # works through a burst for half a second at a time
        Lane("schedules", (Duty("schedules", 0.1, Firing()),)),
    ]


def _steady(conf: Conf) -> list[Lane]:
    """What is looked at every few seconds and less; lanes by what a duty may wait for."""
    return [
        # what goes out: a channel layer that hangs is given up after 2 s
        Lane(
            "tell",
            (
                Duty("publish", 0.2, Publisher()),
                Duty("notify", 0.5, notifying.Notifier()),
                Duty("route", 2.0, notifying.route),
            ),
        ),
        # runs, steps and limits: milliseconds each, under tenants' mutexes
        Lane(
            "steps",
            (
                Duty("act", 0.25, actions.act),
                Duty("limits", 0.5, partial(usage.end_overrides, lease_s=conf.lease_s)),
                Duty("usage", usage.LOOK_EVERY_S, usage.Sampler()),
                Duty("unserved", 1.0, _waking(partial(clock.unserved, lease_s=conf.lease_s))),
                Duty("caches", 1.0, clock.tend_caches),
                Duty("drop_outputs", 1.0, clock.drop_outputs),
                Duty("role_limits", 1.0, clock.follow_limits),
            ),
        ),
        # counting events, 50,000 at a time: seconds after a burst
        Lane(
            "events",
            (
                Duty("roll", 1.0, _roll),
                Duty("sla_count", 1.0, sla_counting.count),
                Duty("labels", 5.0, rollups.label),
            ),
        ),
        # seconds, and all of Django's connections but those of `slow`
        Lane(
            "rules",
            (
                Duty("canary", 1.0, Canary(conf)),
                Duty("sla_begin", 2.0, sla_learning.begin),
                Duty("evaluate", evaluating.EVERY_S, evaluating.Evaluator()),
                Duty("sla_predict", 5.0, predicting.predict),
            ),
        ),
        # waits for servers that do not answer, 2 s, and for the watchdog's address, 10 s; apart from
        # the duties that `watch` watches, but for `health`, whose looks end by themselves
        Lane(
            "health",
            (
                Duty("watch", 5.0, Watch(conf.watchdog_url)),
                Duty("health", health.EVERY_S, health.Sampler()),
            ),
        ),
    ]


def _slow(conf: Conf, every: Sequence[Lane]) -> list[Lane]:
    """What may take as long as a large database needs: by the minute, and by the ten minutes."""
    return [
        Lane(
            "slow",
            (
                Duty("storage", 2.0, usage.StorageCount()),
                Duty("reconcile", 60.0, partial(_reconcile, every)),
                Duty("diagnose", health.DEEP_EVERY_S, health.Diagnosis()),
                Duty("sla_learn", 60.0, sla_learning.Learner()),
            ),
            limit_s=LONG_S,
        ),
        Lane(
            "old",
            (
                Duty("retain", 600.0, partial(maintenance.retain, conf=conf)),
                Duty("prune_rollups", 600.0, partial(_prune, conf)),
                Duty("prune_alerts", 600.0, partial(notifying.prune, days=conf.alert_days)),
                Duty("sla_prune", 600.0, sla_counting.prune),
            ),
            limit_s=LONG_S,
        ),
    ]


def _traced() -> list[Lane]:
    """Waits for a collector; only where spans are sent."""
    otel = tracing.backend()
    return [] if otel is None else [Lane("spans", (Duty("spans", 1.0, Spans(otel.send)),))]


def _waking(find: Callable[[Connection], list[str]]) -> Callable[[Connection], int]:
    """A duty that finds queues with work, and wakes them."""

    def act(connection: Connection) -> int:
        queues = find(connection)
        dispatch.wake(queues)
        return len(queues)

    return act


def _reconcile(every: Sequence[Lane], connection: Connection) -> int:
    clock.forget_duties(connection, [duty.name for lane in every for duty in lane.duties])
    return maintenance.reconcile(connection)


def _roll(connection: Connection) -> int:
    return rollups.roll(connection=connection)


def _prune(conf: Conf, connection: Connection) -> int:
    return rollups.prune(conf, connection=connection) + usage.prune(connection)


class Publisher:
    """Tells the channel layer which tenants and runs changed, at most once per tick and tenant.

    It finds what writers did not hint, or could not.  What could not be said is said at the next tick;
    nothing is locked meanwhile.  Where it has got to is in memory only: who listens reads the table."""

    def __init__(self) -> None:
        self._told: dict[int, int] | None = None
        self._runner = asyncio.Runner()

    def __call__(self, connection: Connection) -> int:
        now = clock.positions(connection)
        if self._told is None:
            self._told = now
            return 0
        told = 0
        for tenant, seq in now.items():
            after = self._told.get(tenant, 0)
            if seq == after:
                continue
            runs = clock.touched_runs(
                connection, tenant_id=tenant, after=after, upto=seq, limit=broadcast.MANY + 1
            )
            if not self._runner.run(broadcast.tell(tenant, runs, seq)):
                break  # the others would wait as long; all of them are told at the next tick
            self._told[tenant] = seq
            told += 1
        return told
