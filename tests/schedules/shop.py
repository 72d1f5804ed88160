"""Schedules in tests: made now, moved into the past, and looked at as the clock does."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from orchestrator import store
from orchestrator.models import Run, Schedule, ScheduleFire
from orchestrator.selectors.schedules import access_schedule
from orchestrator.services.firing import Firing
from orchestrator.services.schedules import create_schedule
from orchestrator.store import schedules
from tenants.actors import SYSTEM
from tenants.models import Tenant

STEPS: list[dict[str, object]] = [{"name": "load", "handler": "core.echo", "args": {}}]
MINUTE = timedelta(minutes=1)


def make(tenant: Tenant, name: str = "often", **more: Any) -> Schedule:
    """A schedule of the workflow `import`, every minute unless it says otherwise."""
    timing = {} if "cron" in more or "interval" in more else {"interval": "1m"}
    body = {"name": name, "workflow": "import", **timing, **more}
    return create_schedule(tenant=tenant, body=body, actor=SYSTEM)


def away(row: Schedule, for_: timedelta = 5 * MINUTE, late: timedelta = MINUTE / 2) -> datetime:
    """As if the clock had been away: the next time was so long ago, the newest one `late` ago.

    Answers the first time that went by."""
    now = schedules.now(store.connection())
    first = now - for_ + MINUTE - late
    Schedule.objects.filter(pk=row.pk).update(next_at=first, look_at=first, anchor_at=first)
    row.refresh_from_db()
    return first


def look() -> int:
    """One look of the clock."""
    return Firing()(store.connection())


def again(row: Schedule) -> int:
    """Another look, as soon as times that wait may have their turn."""
    Schedule.objects.filter(pk=row.pk, look_at__isnull=False).update(
        look_at=schedules.now(store.connection())
    )
    return look()


def outcomes(row: Schedule) -> list[str]:
    """What became of its times, oldest first."""
    return list(
        ScheduleFire.objects.filter(schedule=row)
        .order_by("nominal_at")
        .values_list("outcome", flat=True)
    )


def runs(row: Schedule) -> list[Run]:
    """Its runs, in the order of their times."""
    found = {
        one.nominal_at: one.run_id
        for one in ScheduleFire.objects.filter(schedule=row, run_id__isnull=False)
    }
    by_id = Run.objects.in_bulk(list(found.values()))
    return [by_id[found[at]] for at in sorted(found)]


def labels(run: Run) -> dict[str, str]:
    """A run's labels."""
    return dict(run.labels)


def fresh(tenant: Tenant, name: str = "often") -> Schedule:
    """The schedule as it is now."""
    return access_schedule(tenant=tenant, name=name)
