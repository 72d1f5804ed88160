"""What is kept of a measurement, and how it stands against the budgets.

The JSON has the form that other engines' results on the same workloads have, so that one table can
show them side by side: workloads by name, each with metrics whose every repeat is kept."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

Document = dict[str, Any]
Metrics = dict[str, dict[str, Any]]

PACKAGES = ("django", "celery", "kombu", "psycopg", "django-ninja", "uvicorn")


@dataclass(frozen=True, slots=True)
class Budget:
    """A figure of a workload and what it may be: at least `limit` where higher is better, else at most."""

    what: str
    workload: str
    metric: str
    limit: float


BUDGETS = (
    Budget("chain10: steps/s", "chain10", "steps_per_s", 8000),
    Budget("diamond10: steps/s", "diamond10", "steps_per_s", 8000),
    Budget("fan1000: steps/s", "fan1000", "steps_per_s", 8000),
    Budget("dag1000: steps/s", "dag1000", "steps_per_s", 8000),
    Budget("map of 5,000 items, batches of 100: items/s", "map5000", "items_per_s", 120_000),
    Budget("… called as coroutines: items/s", "map5000", "items_per_s_async", 120_000),
    Budget("… called with lists: items/s", "map5000", "items_per_s_batch", 120_000),
    Budget(
        "1,000,000 streamed items: largest process, MiB", "stream1m", "largest_process_mib", 256
    ),
    Budget("hop, one run alone: p50, ms", "chain10", "hop_p50_ms", 2),
    Budget("hop, one run alone: p95, ms", "chain10", "hop_p95_ms", 5),
    Budget("submit → first step started: p50, ms", "start", "p50_ms", 10),
    Budget("submit → first step started: p95, ms", "start", "p95_ms", 25),
    Budget("the same from the client's call: p50, ms", "start", "client_p50_ms", 10),
    Budget("the same from the client's call: p95, ms", "start", "client_p95_ms", 25),
    Budget("completion that readies, run of 10 steps: p95, ms", "readiness", "p95_ms_10", 1),
    Budget("… of 100 steps: p95, ms", "readiness", "p95_ms_100", 1),
    Budget("… of 1,000 steps: p95, ms", "readiness", "p95_ms_1000", 2),
    Budget("… of 10,000 steps: p95, ms", "readiness", "p95_ms_10000", 5),
    Budget("tutorial: over 300 ms, p50, ms", "tutorial", "overhead_p50_ms", 15),
    Budget("busy100: wall / ideal", "busy100", "times_ideal", 1.1),
    Budget("bulk submission: runs/s", "submit", "runs_per_s", 10_000),
    Budget("single POST, 8 clients: accepted/s", "post", "accepted_per_s_8", 800),
    Budget("single POST, 8 clients: p99, ms", "post", "p99_ms_8", 50),
    Budget("events written and delivered: events/s", "events", "written_per_s", 10_000),
    Budget("… commit → channel layer: p95, ms", "events", "channel_p95_ms", 10),
    Budget("… commit → client of a stream: p95, ms", "events", "stream_p95_ms", 10),
    Budget("Overview: p95, ms", "pages", "overview_p95_ms", 150),
    Budget("… of a day: p95, ms", "pages", "overview_24h_p95_ms", 150),
    Budget("… of a week: p95, ms", "pages", "overview_7d_p95_ms", 150),
    Budget("Runs: p95, ms", "pages", "runs_p95_ms", 50),
    Budget("idle: % of one core", "idle", "cpu_percent", 2),
    Budget("idle: memory beside PostgreSQL, MiB", "idle", "pss_mib", 400),
)


def metric(unit: str, better: str, values: Iterable[float]) -> dict[str, Any]:
    """A metric of which each value is one repeat; `better` is higher, lower or none."""
    kept = [round(float(value), 4) for value in values]
    return {
        "unit": unit, "better": better, "values": kept,
        "min": min(kept), "median": round(statistics.median(kept), 4), "max": max(kept),
    }  # fmt: skip


def document(*, settings: dict[str, str], postgresql: str) -> Document:
    """A result without workloads."""
    return {
        "engine": "millrace",
        "label": "Millrace",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "cpus": os.cpu_count(),
            "ram_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "os": platform.platform(),
            "python": platform.python_version(),
        },
        "versions": {**{name: version(name) for name in PACKAGES}, "postgresql": postgresql},
        "settings": settings,
        "workloads": {},
    }


def save(found: Document, file: Path) -> None:
    """Write the document, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(".tmp")
    draft.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    draft.replace(file)


def table(found: Document) -> str:
    """Budgets and figures, as Markdown: median (min–max), and whether the median holds."""
    rows = [("what", "budget", "measured", "holds")]
    for budget in BUDGETS:
        workload = found["workloads"].get(budget.workload)
        if workload is None:
            continue
        if workload["status"] != "ok":
            rows.append((budget.what, _limit(budget, None), workload["status"], "–"))
            continue
        value = workload["metrics"].get(budget.metric)
        if value is None:
            continue
        holds = _holds(budget, value)
        rows.append((budget.what, _limit(budget, value), shown(value), "yes" if holds else "NO"))
    return _aligned(rows)


def shown(value: dict[str, Any]) -> str:
    """Median (min–max)."""
    middle, least, most = value["median"], value["min"], value["max"]
    if least == most:
        return _number(middle)
    return f"{_number(middle)} ({_number(least)}–{_number(most)})"


def _holds(budget: Budget, value: dict[str, Any]) -> bool:
    if value["better"] == "higher":
        return bool(value["median"] >= budget.limit)
    return bool(value["median"] <= budget.limit)


def _limit(budget: Budget, value: dict[str, Any] | None) -> str:
    sign = "" if value is None else "≥ " if value["better"] == "higher" else "≤ "
    return f"{sign}{budget.limit:,g}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _aligned(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
