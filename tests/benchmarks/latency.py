"""One run at a time: hops, starts, and what a waiting client sees."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from tests.benchmarks.bench import Bench, Wrong, quantile
from tests.benchmarks.results import metric
from tests.benchmarks.throughput import sleeps, throughput
from tests.system.shapes import call, chain

HOPS = """
SELECT extract(epoch FROM c.started_at - p.finished_at)::float8 * 1000
  FROM step_run p JOIN step_run c ON c.run_id = p.run_id AND c.ordinal = p.ordinal + 1
 WHERE p.run_id = %s::uuid
"""
QUIET_S = 0.02
"""Between two runs, so that the next one finds an idle system."""
FETCHES = {"profile": 200, "preferences": 150, "activity": 300}


def chain10(bench: Bench) -> dict[str, Any]:
    """Ten steps in sequence: many runs at once, then one alone for the hops, by the database's clock."""
    found = throughput(bench, "chain10", chain(10), 50, 20_000)
    count = bench.few(20)

    def alone() -> tuple[list[float], list[float]]:
        hops: list[float] = []
        walls: list[float] = []
        for _ in range(count):
            wall, run = bench.one("chain10")
            walls.append(wall * 1000)
            hops += [float(row[0]) for row in bench.system.sql(HOPS, run["id"])]
        return hops, walls

    alone()
    sets = bench.repeated(alone)
    found["metrics"] |= {
        "hop_p50_ms": metric("ms", "lower", [quantile(hops, 0.5) for hops, _ in sets]),
        "hop_p95_ms": metric("ms", "lower", [quantile(hops, 0.95) for hops, _ in sets]),
        "single_run_p50_ms": metric("ms", "lower", [quantile(walls, 0.5) for _, walls in sets]),
    }
    found["params"] |= {
        "single_runs": count,
        "hop_from": "a parent's finished_at to its child's started_at, the database's clock",
    }
    return found


def start(bench: Bench) -> dict[str, Any]:
    """From submission to the first step's start on an idle system: from the run's creation, and from
    the client's call (client and database share the machine's clock)."""
    bench.publish("one", chain(1))
    count = bench.few(50)

    def submit() -> tuple[float, float]:
        time.sleep(QUIET_S)
        called = time.time()
        status, text = bench.client.call("POST", "/workflows/one/runs", b'{"input":{}}')
        if status != 202:
            raise Wrong(f"a submission was answered {status}: {text[:300]!r}")
        run = bench.tenant.wait(json.loads(text)["id"])
        started, created = _at(run["started_at"]), _at(run["created_at"])
        return (started - created) * 1000, (started - called) * 1000

    def both() -> tuple[list[float], list[float]]:
        pairs = [submit() for _ in range(count)]
        return [pair[0] for pair in pairs], [pair[1] for pair in pairs]

    both()
    sets = bench.repeated(both)
    return {
        "params": {"single_runs": count},
        "metrics": {
            "p50_ms": metric("ms", "lower", [quantile(api, 0.5) for api, _ in sets]),
            "p95_ms": metric("ms", "lower", [quantile(api, 0.95) for api, _ in sets]),
            "client_p50_ms": metric("ms", "lower", [quantile(seen, 0.5) for _, seen in sets]),
            "client_p95_ms": metric("ms", "lower", [quantile(seen, 0.95) for _, seen in sets]),
        },
    }


def tutorial(bench: Bench) -> dict[str, Any]:
    """Three fetches of 200, 150 and 300 ms side by side and one step that follows: what is over 300 ms."""
    fetches = [sleeps(name, milliseconds) for name, milliseconds in FETCHES.items()]
    bench.publish("fetches", [*fetches, call("aggregate", "noop", *FETCHES)])
    seen, inside = _waited(bench, "fetches", bench.few(20), lambda ms: ms - 300)
    return {
        "params": {"single_runs": bench.few(20)},
        "metrics": {
            "overhead_p50_ms": metric("ms", "lower", [quantile(ms, 0.5) for ms in seen]),
            "overhead_p95_ms": metric("ms", "lower", [quantile(ms, 0.95) for ms in seen]),
            "engine_overhead_p50_ms": metric("ms", "lower", [quantile(ms, 0.5) for ms in inside]),
        },
    }


def linear4(bench: Bench) -> dict[str, Any]:
    """Four steps in sequence, one run after the other, as the client sees them."""
    bench.publish("linear4", chain(4))
    seen, inside = _waited(bench, "linear4", bench.few(50), lambda ms: ms)
    return {
        "params": {"single_runs": bench.few(50)},
        "metrics": {
            "p50_ms": metric("ms", "lower", [quantile(ms, 0.5) for ms in seen]),
            "p95_ms": metric("ms", "lower", [quantile(ms, 0.95) for ms in seen]),
            "engine_p50_ms": metric("ms", "lower", [quantile(ms, 0.5) for ms in inside]),
        },
    }


def _waited(
    bench: Bench, name: str, count: int, shown: Callable[[float], float]
) -> tuple[list[list[float]], list[list[float]]]:
    """Milliseconds of single runs, a list per repeat: by the client's clock, and from creation to end."""

    def single() -> tuple[float, float]:
        wall, run = bench.one(name)
        inside = _at(run["finished_at"]) - _at(run["created_at"])
        return shown(wall * 1000), shown(inside * 1000)

    single()
    sets = bench.repeated(lambda: [single() for _ in range(count)])
    return [[seen for seen, _ in one] for one in sets], [[ms for _, ms in one] for one in sets]


def _at(text: str) -> float:
    """A timestamp of the API, in seconds."""
    return datetime.fromisoformat(text).timestamp()
