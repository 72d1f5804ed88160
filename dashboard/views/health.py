"""What staff see of the server itself: every part with what was seen and what mends it; workers, drained."""

from __future__ import annotations

from datetime import timedelta

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from dashboard import charts, words
from dashboard.pages.health import LOOKS, headline, row, server_rows
from dashboard.pages.workers import workers_context
from dashboard.views.actions import actor_of
from dashboard.views.show import switcher
from dashboard.views.staff import staff_or_404
from orchestrator.domain.health import CHECKS, DEEP
from orchestrator.selectors.health import checks
from orchestrator.selectors.health_history import (
    canary_runs,
    deep_findings,
    histories,
    latest_changes,
)
from orchestrator.services.workers import drain_worker, resume_worker

SLICE = timedelta(minutes=10)
HEALTH_POLL_S = 5
WORKERS_POLL_S = 2
"""How often the page is asked for anew while it is open."""


@login_required
@require_safe
def staff_health(request: HttpRequest) -> HttpResponse:
    """Every part, since when, its last day, what to do; and what the deeper look found (staff)."""
    staff_or_404(request)
    seen = checks()
    found = deep_findings()
    past = histories([one.check.name for one in found])
    context = {
        "headline": headline(seen),
        "rows": server_rows(seen, told=True),
        "deep": [row(one.check, past[one.check.name], told=True) for one in found],
        "deep_seen": min((one.seen_at for one in found), default=None),
        "changes": [
            {
                "title": (CHECKS.get(one.name) or DEEP[one.name]).title,
                "look": LOOKS[one.state],
                "change": one,
            }
            for one in latest_changes()
            if one.name in CHECKS or one.name in DEEP
        ],
        "chart": canary_chart(),
        **switcher(request),
        "page_name": "staff_health",
        "poll_s": HEALTH_POLL_S,
    }
    return render(request, "dashboard/staff_health.html", context)


def canary_chart() -> charts.Chart:
    """How long canary runs took: the slowest of each ten minutes."""
    until = timezone.now()
    count = timedelta(hours=24) // SLICE
    times = [until - SLICE * (count - nr) for nr in range(count)]
    slowest: list[float | None] = [None] * count
    for at, _, seconds in canary_runs():
        nr = min(max((at - times[0]) // SLICE, 0), count - 1)
        if seconds is not None:
            slowest[nr] = max(slowest[nr] or 0.0, seconds)
    series = [charts.Series("is-p95", "slowest", tuple(slowest))]
    return charts.lines(
        "canary", "Canary runs", series, times, unit="", show=words.duration, wide=True
    )


@login_required
@require_safe
def staff_workers(request: HttpRequest) -> HttpResponse:
    """The processes that run steps, with buttons to drain them (staff)."""
    staff_or_404(request)
    context = {
        **workers_context(),
        **switcher(request),
        "page_name": "staff_workers",
        "poll_s": WORKERS_POLL_S,
        "may_drain": True,
    }
    return render(request, "dashboard/staff_workers.html", context)


@login_required
@require_POST
def staff_worker(request: HttpRequest, worker_id: int, action: str) -> HttpResponseBase:
    """Drain a worker, or let it go on (staff)."""
    staff_or_404(request)
    act = {"drain": drain_worker, "resume": resume_worker}.get(action)
    if act is None or worker_id > 2**31 - 1:
        raise Http404
    if not act(worker_id=worker_id, actor=actor_of(request)):
        messages.error(request, "Nothing was changed: it is gone, or was told so before.")
    elif action == "drain":
        messages.success(
            request, "It takes nothing more; what runs in it ends or goes elsewhere within seconds."
        )
    else:
        messages.success(request, "It takes work again.")
    return redirect("staff_workers")
