"""Accepting runs: in bulk, and one by one.  Workers work on what was accepted meanwhile."""

from __future__ import annotations

import time
from typing import Any

from orchestrator.management.load import Driven, Plan, drive
from tests.benchmarks.bench import MOST_LINES, Bench, Wrong, quantile
from tests.benchmarks.results import metric
from tests.system.shapes import chain

CLIENTS = (1, 8)


def submit(bench: Bench) -> dict[str, Any]:
    """One-step runs in one bulk call of one client; what was accepted is worked off untimed."""
    bench.publish("one", chain(1))

    def bulk(count: int) -> float:
        mark = bench.mark()
        began = time.perf_counter()
        bench.submit("one", count)
        took = time.perf_counter() - began
        bench.wait()
        bench.verify(mark, count, 1)
        return took

    runs = bench.calibrated(bulk, 500, MOST_LINES)
    walls = bench.repeated(lambda: bulk(runs))
    return {
        "params": {"runs": runs, "call": "one NDJSON call"},
        "metrics": {"runs_per_s": metric("runs/s", "higher", [runs / wall for wall in walls])},
    }


def post(bench: Bench) -> dict[str, Any]:
    """One-step runs, a call each, in a closed loop of one client and of several."""
    bench.publish("one", chain(1))
    metrics: dict[str, dict[str, Any]] = {}
    for clients in CLIENTS:
        plan = Plan("one", b'{"input":{}}', clients=clients, seconds=bench.target_s)
        found = bench.repeated(lambda plan=plan: _posted(bench, plan))  # type: ignore[misc]
        rates = [driven.accepted_per_s for driven in found]
        metrics[f"accepted_per_s_{clients}"] = metric("runs/s", "higher", rates)
        for name, share in (("p50", 0.5), ("p99", 0.99)):
            spent = [quantile(driven.latencies_s, share) * 1000 for driven in found]
            metrics[f"{name}_ms_{clients}"] = metric("ms", "lower", spent)
    return {"params": {"clients": list(CLIENTS), "seconds": bench.target_s}, "metrics": metrics}


def _posted(bench: Bench, plan: Plan) -> Driven:
    mark = bench.mark()
    driven = drive(bench.target, plan)
    bench.wait()
    if driven.errors:
        raise Wrong(f"submissions failed: {dict(driven.errors)}")
    bench.verify(mark, len(driven.accepted), 1)
    return driven
