"""`python -m tests.benchmarks [names…]`: measure a system of its own against the budgets."""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests import external
from tests.benchmarks import events, idle, intake, latency, maps, pages, readiness, throughput
from tests.benchmarks.bench import CONNECTIONS, Bench
from tests.benchmarks.results import Document, document, metric, save, shown, table
from tests.system.running_system import System, start_system

WORKLOADS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "start": latency.start,
    "tutorial": latency.tutorial,
    "linear4": latency.linear4,
    "busy100": throughput.busy100,
    "chain10": latency.chain10,
    "diamond10": throughput.diamond10,
    "fan1000": throughput.fan1000,
    "dag1000": throughput.dag1000,
    "one": throughput.one,
    "map5000": maps.map5000,
    "stream1m": maps.stream1m,
    "readiness": readiness.readiness,
    "submit": intake.submit,
    "post": intake.post,
    "events": events.events,
    "pages": pages.pages,
    "idle": idle.idle,
}


def measure(bench: Bench, names: list[str], found: Document, file: Path) -> bool:
    """Run the workloads, writing the file after each; whether all went well."""
    well = True
    for name in names:
        print(f"{name} …", flush=True)
        began, load, others = time.monotonic(), os.getloadavg()[0], bench.others_s()
        bench.peak_rss_mib = 0.0
        try:
            result = {"status": "ok", **WORKLOADS[name](bench)}
            result["metrics"]["peak_rss_mib"] = metric("MiB", "lower", [bench.peak_rss_mib])
            for key, value in result["metrics"].items():
                print(f"  {key:<28} {shown(value)} {value['unit']}", flush=True)
        except Exception as error:
            traceback.print_exc()
            result = {"status": "error", "reason": f"{type(error).__name__}: {error}"[:500]}
            well = False
        took = time.monotonic() - began
        foreign = round((bench.others_s() - others) / took, 2)
        print(
            f"  in {took:.0f} s; other programs used {foreign} of {os.cpu_count()} cores",
            flush=True,
        )
        result |= {"took_s": round(took, 1), "load_before": round(load, 2)}
        result["foreign_cpu_cores"] = foreign
        found["workloads"][name] = result
        save(found, file)
    return well


def describe(system: System) -> Document:
    """A result without workloads, for a system that runs with its defaults."""
    [(version,)] = system.sql("SELECT current_setting('server_version')")
    settings = {
        "workers": f"one worker, {len(system.children())} processes",
        "connections": f"{CONNECTIONS} of the tenant, {CONNECTIONS} of the server",
        "durability": "every step is committed by PostgreSQL; submissions and completions with fsync",
        "client": "bulk submission; waits by one row in the database, single runs with ?wait over HTTP",
        "peak_rss": "sampled after each repeat, PostgreSQL and broker left out",
    }
    return document(settings=settings, postgresql=version)


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(WORKLOADS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--target", type=float, default=4.0, help="seconds of a measurement (4)")
    parser.add_argument("--json", type=Path, default=Path("bench-results"), metavar="DIR")
    parser.add_argument("--rows", type=int, default=200_000, help="finished step runs for `pages`")
    parser.add_argument("--quick", action="store_true", help="a look: one short repeat of each")
    parser.add_argument(
        "--external", action="store_true", help="servers as `make test-external` has"
    )
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(WORKLOADS):
        parser.error(f"no such workload: {', '.join(sorted(unknown))}")
    return asked


def main() -> int:
    """Start a system, measure, print; 1 when a measurement failed (a missed budget is no failure)."""
    asked = arguments()
    names = [name for name in WORKLOADS if name in asked.names or not asked.names]
    file = asked.json / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    with ExitStack() as stack:
        addresses = stack.enter_context(external.servers()) if asked.external else {}
        system = stack.enter_context(start_system(**addresses))
        bench = stack.enter_context(
            Bench(
                system,
                repeats=1 if asked.quick else asked.repeats,
                target_s=0.5 if asked.quick else asked.target,
                quick=asked.quick,
                rows=asked.rows // 100 if asked.quick else asked.rows,
            )
        )
        found = describe(system)
        well = measure(bench, names, found, file)
    print(f"\n{table(found)}\n\n{file}")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
