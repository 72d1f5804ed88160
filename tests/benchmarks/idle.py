"""What the system costs when there is nothing to do: processor time by part, and memory."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import psutil

from tests.benchmarks.bench import STORES, Bench
from tests.benchmarks.results import metric

WINDOW_S = 30.0


def idle(bench: Bench) -> dict[str, Any]:
    """Windows of 30 s, each after the last; memory is PSS, which counts shared pages once."""
    window_s = 2.0 if bench.quick else WINDOW_S
    bench.wait()
    time.sleep(window_s / 6)
    windows = bench.repeated(lambda: _spent(bench, window_s))
    names = sorted(windows[0])
    own = [sum(s for name, s in one.items() if name not in STORES) for one in windows]
    store = [sum(s for name, s in one.items() if name in STORES) for one in windows]
    percent = [100 * sum(one.values()) / 30 for one in windows]
    memory = _memory_mib(bench)
    metrics = {
        "cpu_s_per_30s": metric("s", "lower", own),
        "store_cpu_s_per_30s": metric("s", "lower", store),
        "cpu_percent": metric("%", "lower", percent),
        "pss_mib": metric("MiB", "lower", [sum(memory.values()) - memory.get("postgres", 0.0)]),
    }
    for name in names:
        spent = [one[name] for one in windows]
        metrics[f"cpu_s_per_30s_{name}"] = metric("s", "lower", spent)
        metrics[f"pss_mib_{name}"] = metric("MiB", "lower", [memory[name]])
    note = f"windows of {window_s:g} s, scaled to 30 s; cpu_percent has all parts, PostgreSQL and broker too"
    return {"params": {"windows": note}, "metrics": metrics}


def _spent(bench: Bench, window_s: float) -> dict[str, float]:
    """Processor seconds by part in a window, scaled to 30 s."""
    began, before = time.monotonic(), _cpu_s(bench)
    time.sleep(window_s)
    after = _cpu_s(bench)
    scale = 30 / (time.monotonic() - began)
    return {
        name: scale * sum(max(0.0, s - before.get(name, {}).get(pid, 0.0)) for pid, s in of.items())
        for name, of in after.items()
    }


def _cpu_s(bench: Bench) -> dict[str, dict[int, float]]:
    """Processor seconds so far, by part and process; a process that ended meanwhile is left out."""
    found: dict[str, dict[int, float]] = {}
    for name, processes in bench.parts().items():
        for process in processes:
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            found.setdefault(name, {})[process.pid] = times.user + times.system
    return found


def _memory_mib(bench: Bench) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, processes in bench.parts().items():
        sizes = [_pss_kib(process.pid) for process in processes]
        found[name] = sum(sizes) / 1024
    return found


def _pss_kib(pid: int) -> int:
    """A process's proportional set size; 0 when it has ended."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
