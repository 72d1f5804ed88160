"""Workers: the processes that run steps, which serve all tenants."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from dashboard.live.page import Arguments, Context, Page, Query
from orchestrator.selectors.workers import WorkerRow, recent_workers
from tenants.access import Access

LATELY = timedelta(minutes=10)
"""How long one that is gone is still shown."""
SILENT = timedelta(seconds=15)
STATES = {
    "active": ("succeeded", "check", "active"),
    "draining": ("waiting", "hourglass", "draining"),
    "silent": ("failed", "warning", "silent"),
    "gone": ("idle", "idle", "gone"),
}
Shown = dict[str, object]


def context(_access: Access, _arguments: Arguments, _query: Query) -> Context:
    """Everything that the page shows."""
    return workers_context()


def workers_context() -> Context:
    """The processes that live, and those that were seen last."""
    now = timezone.now()
    rows = [one for one in recent_workers() if one.state != "gone" or now - one.seen_at < LATELY]
    rows.sort(key=lambda one: (one.state == "gone", one.host, one.name))
    live = [one for one in rows if one.state != "gone" and now - one.seen_at <= SILENT]
    queues = sorted({queue for one in live for queue in one.queues})
    return {
        "workers": [_shown(one, silent=now - one.seen_at > SILENT) for one in rows],
        "counts": {
            "active": sum(one.state == "active" for one in live),
            "draining": sum(one.state == "draining" for one in live),
            "in_flight": sum(one.in_flight for one in live),
            "queues": [
                (queue, sum(queue in one.queues and one.state == "active" for one in live))
                for queue in queues
            ],
        },
    }


def _shown(one: WorkerRow, *, silent: bool) -> Shown:
    state = "silent" if silent and one.state != "gone" else one.state
    kind, icon, word = STATES[state]
    return {"row": one, "kind": kind, "icon": icon, "word": word, "state": state}


WORKERS = Page("workers", "dashboard/workers.html", ("counts", "rows"), context)
