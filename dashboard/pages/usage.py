"""Usage: each limit with what is in use of it, and what was used hour by hour."""

from __future__ import annotations

from collections.abc import Callable

from dashboard import charts, words
from dashboard.live.page import Arguments, Context, Page, Query
from orchestrator.selectors.quota import last_changes, limits_in_use
from orchestrator.selectors.usage import UsageWindow, usage_window
from tenants.access import Access

WINDOWS = {"24h": 86_400, "7d": 7 * 86_400, "31d": 31 * 86_400}
DEFAULT = "7d"


def context(access: Access, _arguments: Arguments, query: Query) -> Context:
    """Everything that the page shows."""
    name = query.get("window", DEFAULT)
    name = name if name in WINDOWS else DEFAULT
    seen = usage_window(tenant=access.tenant, window_s=WINDOWS[name])
    return {
        "limits": limits_in_use(tenant=access.tenant),
        "changes": last_changes(tenant=access.tenant),
        "window": name,
        "windows": list(WINDOWS),
        "totals": seen.totals,
        "charts": usage_charts(seen),
    }


def usage_charts(seen: UsageWindow) -> list[charts.Chart]:
    """Runs, connection seconds and requests by hour."""
    times = [hour.at for hour in seen.hours]

    def used(measure: str) -> tuple[float, ...]:
        return tuple(float(getattr(hour.used, measure)) for hour in seen.hours)

    def area(
        name: str, title: str, word: str, show: Callable[[float | None], str] = words.count
    ) -> charts.Chart:
        series = [charts.Series("is-running", word, used(name))]
        return charts.stacked(name, title, series, times, unit="per hour", show=show)

    return [
        area("runs", "Runs accepted", "runs"),
        area("worker_s", "Connections", "held", words.duration),
        area("requests", "Requests", "requests"),
    ]


USAGE = Page("usage", "dashboard/usage.html", ("limits", "totals", "charts"), context)
