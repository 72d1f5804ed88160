"""Many runs at once: steps per second, and 100 runs that mostly wait."""

from __future__ import annotations

from typing import Any

from tests.benchmarks.bench import CONNECTIONS, Bench
from tests.benchmarks.results import metric
from tests.system.shapes import Steps, call, chain, fan, random_graph

BUSY_RUNS, BUSY_STEPS, BUSY_MS = 100, 5, 100


def sleeps(name: str, milliseconds: int, *parents: str) -> dict[str, Any]:
    """A step that waits."""
    return call(name, "sleep", *parents, args={"ms": milliseconds})


def throughput(bench: Bench, name: str, steps: Steps, first: int, most: int) -> dict[str, Any]:
    """N runs submitted in bulk, until all have ended."""
    bench.publish(name, steps)
    size = len(steps)
    runs = bench.calibrated(lambda count: bench.batch(name, count, size), first, most)
    walls = bench.repeated(lambda: bench.batch(name, runs, size))
    return {
        "params": {"runs": runs, "steps_per_run": size},
        "metrics": {
            "steps_per_s": metric("steps/s", "higher", [runs * size / wall for wall in walls]),
            "wall_s": metric("s", "none", walls),
        },
    }


def one(bench: Bench) -> dict[str, Any]:
    """Runs of one step: as many runs/s as steps/s."""
    return throughput(bench, "one", chain(1), 200, 100_000)


def diamond10(bench: Bench) -> dict[str, Any]:
    """1 → 8 → 1."""
    return throughput(bench, "diamond10", fan(10), 50, 20_000)


def fan1000(bench: Bench) -> dict[str, Any]:
    """1 → 998 → 1."""
    return throughput(bench, "fan1000", fan(1000), 1, 200)


def dag1000(bench: Bench) -> dict[str, Any]:
    """Step j depends on up to three earlier ones, the same graph each time."""
    return throughput(bench, "dag1000", random_graph(1000), 1, 200)


def busy100(bench: Bench) -> dict[str, Any]:
    """100 runs at once of 5 steps of 100 ms, one after the other."""
    names = [f"s{i}" for i in range(BUSY_STEPS)]
    steps = [sleeps(name, BUSY_MS, *names[i - 1 : i]) for i, name in enumerate(names)]
    bench.publish("busy5", steps)
    bench.batch("busy5", 2, BUSY_STEPS)
    ideal = BUSY_RUNS * BUSY_STEPS * BUSY_MS / 1000 / CONNECTIONS
    walls = bench.repeated(lambda: bench.batch("busy5", BUSY_RUNS, BUSY_STEPS))
    return {
        "params": {
            "runs": BUSY_RUNS, "steps_per_run": BUSY_STEPS, "concurrency": CONNECTIONS, "ideal_s": ideal,
        },
        "metrics": {
            "wall_s": metric("s", "lower", walls),
            "times_ideal": metric("x", "lower", [wall / ideal for wall in walls]),
        },
    }  # fmt: skip
