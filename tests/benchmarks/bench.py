"""What every measurement uses: a tenant of a running system, runs in bulk or one by one, repeats."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import psutil

from orchestrator.management.load import Client, Target
from tests.system.running_system import System, TestTenant
from tests.system.shapes import Steps

T = TypeVar("T")

CONNECTIONS = 100
MOST_LINES = 100_000
LONGEST_S = 300.0
QUIET = """
SELECT NOT EXISTS (SELECT 1 FROM tenant_load WHERE tenant_id = %s AND in_use + ready_count + control_count > 0)
"""
"""One row by its key, asked again and again; `ENDED` walks over the index entries of runs that have
just ended, so it is asked once, when this one says yes."""
ENDED = "SELECT NOT EXISTS (SELECT 1 FROM run WHERE tenant_id = %s AND state IN ('queued', 'running', 'paused'))"
RUNS = """
SELECT count(*), count(*) FILTER (WHERE state = 'succeeded') FROM run WHERE tenant_id = %s AND created_at >= %s
"""
STEPS = """
SELECT count(*), count(*) FILTER (WHERE s.state = 'succeeded' AND s.attempts = 1 AND s.output::jsonb = '{"ok": 1}')
  FROM run r JOIN step_run s ON s.run_id = r.id
 WHERE r.tenant_id = %s AND r.created_at >= %s
"""
ENDS = """
SELECT count(*), count(DISTINCT (run_id, ordinal)) FROM event
 WHERE tenant_id = %s AND seq > %s AND type = 'step.succeeded'
"""
STORES = ("postgres", "valkey", "redis")


class Wrong(Exception):
    """What was measured did not do what it should have: the figure means nothing."""


@dataclass
class Bench:
    """A measurement's surroundings.  `target_s`: seconds that a throughput measurement should take;
    `rows`: finished step runs in the database when pages are measured."""

    system: System
    repeats: int = 3
    target_s: float = 4.0
    quick: bool = False
    rows: int = 200_000
    peak_rss_mib: float = 0.0
    tenant: TestTenant = field(init=False)
    target: Target = field(init=False)
    client: Client = field(init=False)

    def __post_init__(self) -> None:
        self.tenant = self.system.tenant(max_connections=CONNECTIONS)
        self.target = Target(self.system.url, self.tenant.key)
        self.client = Client(self.target)

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    # -- runs ----------------------------------------------------------------------------------

    def publish(self, name: str, steps: Steps) -> None:
        """Make the workflow be there."""
        self.tenant.publish(name, steps)

    def submit(self, name: str, count: int) -> None:
        """Submit runs in bulk, at most 100,000 a call."""
        line = json.dumps({"workflow": name, "input": {}}).encode() + b"\n"
        while count > 0:
            lines = min(count, MOST_LINES)
            status, answer = self.client.call("POST", "/runs/bulk", line * lines)
            if status != 200 or answer.count(b'"id"') != lines:
                raise Wrong(f"a bulk call was answered {status}: {answer[:300]!r}")
            count -= lines

    def wait(self) -> None:
        """Until the tenant has no run that goes on."""
        self.system.until(self._ended, LONGEST_S, every_s=0.01)

    def _ended(self) -> bool:
        return all(self.system.sql(ask, self.tenant.id)[0][0] for ask in (QUIET, ENDED))

    def batch(self, name: str, runs: int, steps_per_run: int) -> float:
        """Seconds from the first byte submitted to the last run's end; every step ran exactly once."""
        mark = self.mark()
        began = time.perf_counter()
        self.submit(name, runs)
        self.wait()
        took = time.perf_counter() - began
        self.verify(mark, runs, steps_per_run)
        return took

    def one(self, name: str) -> tuple[float, dict[str, Any]]:
        """A run as a client sees it that waits for its end: seconds, and the Run."""
        began = time.perf_counter()
        status, text = self.client.call("POST", f"/workflows/{name}/runs?wait=60", b'{"input":{}}')
        took = time.perf_counter() - began
        run = json.loads(text)
        if status != 200 or run["state"] != "succeeded":
            raise Wrong(f"a run of {name} was answered {status}: {text[:300]!r}")
        return took, dict(run)

    def mark(self) -> tuple[object, int]:
        """The database's moment and the tenant's newest event: what `verify` counts from."""
        [(now,)] = self.system.sql("SELECT clock_timestamp()")
        seq = self.system.sql("SELECT seq FROM tenant_load WHERE tenant_id = %s", self.tenant.id)
        return now, int(seq[0][0]) if seq else 0

    def verify(self, mark: tuple[object, int], runs: int, steps_per_run: int) -> None:
        """Since the mark so many runs were made, all succeeded, each step once with its output.
        Raises Wrong."""
        since, seq = mark
        steps = runs * steps_per_run
        for what, question, start, wanted in (
            ("runs", RUNS, since, runs),
            ("steps", STEPS, since, steps),
            ("ends of steps", ENDS, seq, steps),
        ):
            [(count, good)] = self.system.sql(question, self.tenant.id, start)
            if (count, good) != (wanted, wanted):
                raise Wrong(f"{wanted} {what} were wanted; there are {count}, {good} of them right")

    # -- repeats -------------------------------------------------------------------------------

    def calibrated(self, measure: Callable[[int], float], first: int, most: int) -> int:
        """How many runs take about `target_s`; finding out warms the system up."""
        count = first
        while True:
            took = measure(count)
            if took >= self.target_s / 2 or count >= most:
                return max(1, min(most, round(count * self.target_s / took)))
            count = min(most, round(count * min(8.0, self.target_s / max(took, 0.01))))

    def repeated(self, measure: Callable[[], T]) -> list[T]:
        """The measurement, several times."""
        found = []
        for _ in range(self.repeats):
            found.append(measure())
            self.peak_rss_mib = max(self.peak_rss_mib, self._rss_mib())
        return found

    def few(self, many: int) -> int:
        """How often something is done in one repeat: much less often when a quick look is wanted."""
        return max(3, many // 10) if self.quick else many

    # -- processes -----------------------------------------------------------------------------

    def parts(self) -> dict[str, list[psutil.Process]]:
        """The system's processes, with all below them, by part."""
        supervisor = psutil.Process(self.system.process.process.pid)
        found = {"supervisor": [supervisor]}
        for child in supervisor.children():
            found.setdefault(_part(child), []).extend([child, *child.children(recursive=True)])
        return found

    def others_s(self) -> float:
        """Processor seconds that the machine has spent, so far, on what is neither the system nor us."""
        now = psutil.cpu_times()
        busy = sum(now) - now.idle - getattr(now, "iowait", 0.0) - getattr(now, "guest", 0.0)
        ours = 0.0
        for process in [psutil.Process(), *(p for of in self.parts().values() for p in of)]:
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            ours += times.user + times.system
        return float(busy) - ours

    def largest_rss_mib(self) -> float:
        """RSS of the largest process that is neither PostgreSQL nor the broker."""
        largest = 0
        for name, processes in self.parts().items():
            for process in processes if name not in STORES else ():
                with contextlib.suppress(psutil.NoSuchProcess):
                    largest = max(largest, process.memory_info().rss)
        return largest / 2**20

    def _rss_mib(self) -> float:
        total = 0
        for name, processes in self.parts().items():
            for process in processes if name not in STORES else ():
                try:
                    total += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
        return total / 2**20


def _part(process: psutil.Process) -> str:
    command = " ".join(process.cmdline())
    words = {"celery": "worker", "uvicorn": "web", "manage.py clock": "clock"}
    words |= {"bin/postgres": "postgres", "valkey": "valkey"}
    return next((name for word, name in words.items() if word in command), "other")


def quantile(values: list[float], share: float) -> float:
    """A quantile with linear interpolation, as other engines' results have it."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
