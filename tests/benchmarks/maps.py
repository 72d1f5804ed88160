"""Maps: items per second, and what a stream of a million items needs of memory."""

from __future__ import annotations

import json
import time
from typing import Any

from tests.benchmarks.bench import Bench, Wrong
from tests.benchmarks.results import metric
from tests.system.shapes import Steps, call

ITEMS, BATCH, WINDOW = 5_000, 100, 20
STREAMED = 1_000_000
ENDED = """
SELECT count(*), count(*) FILTER (WHERE m.total = %s AND m.done = m.total AND m.failed = 0 AND s.state = 'succeeded')
  FROM run r JOIN map_state m ON m.run_id = r.id
  JOIN step_run s ON s.run_id = m.run_id AND s.ordinal = m.ordinal AND s.batch = 0
 WHERE r.tenant_id = %s AND r.created_at >= %s
"""


def mapped(handler: str, over: Any, **of: Any) -> Steps:
    """A map step alone."""
    of = {"batch_size": BATCH, "max_in_flight": WINDOW, **of}
    return [call("m", handler, map={"over": over, **of})]


def map5000(bench: Bench) -> dict[str, Any]:
    """Runs of one map of 5,000 items in batches of 100, one after the other; handlers of each kind."""
    line = json.dumps({"input": {"items": list(range(ITEMS))}}).encode()
    metrics: dict[str, Any] = {}
    for word, handler in (("", "double_sync"), ("_async", "double"), ("_batch", "double_all")):
        name = f"map{word.replace('_', '-')}"
        bench.publish(name, mapped(handler, "${{ input.items }}"))
        walls = bench.repeated(lambda name=name: _wall(bench, name, line))  # type: ignore[misc]
        metrics[f"items_per_s{word}"] = metric("items/s", "higher", [ITEMS / w for w in walls])
    return {"params": {"items": ITEMS, "batch_size": BATCH, "window": WINDOW}, "metrics": metrics}


def _wall(bench: Bench, name: str, line: bytes) -> float:
    """Created → finished of a run, the median of some, by the database's clock."""
    mark, _ = bench.mark()
    count = bench.few(20)
    for _ in range(count):
        status, text = bench.client.call("POST", f"/workflows/{name}/runs?wait=60", line)
        run = json.loads(text)
        if status not in (200, 202) or run["output"] != [2 * n for n in range(ITEMS)]:
            raise Wrong(f"a run of {name} was answered {status}: {text[:300]!r}")
    took = bench.system.sql(
        "SELECT extract(epoch FROM finished_at - created_at)::float8 FROM run"
        " WHERE tenant_id = %s AND created_at >= %s ORDER BY 1",
        bench.tenant.id,
        mark,
    )
    if len(took) != count:
        raise Wrong(f"{count} runs were wanted; there are {len(took)}")
    return float(took[count // 2][0])


def stream1m(bench: Bench) -> dict[str, Any]:
    """A million streamed items in batches of 1,000, of which counts are kept; memory of any process."""
    items = STREAMED // 20 if bench.quick else STREAMED
    source = {"handler": "test.numbers_after", "args": {"count": items}}
    bench.publish("stream1m", mapped("double_sync", source, batch_size=1_000, collect=False))
    rates, peaks = [], []
    for _ in range(bench.repeats):
        mark, _ = bench.mark()
        began, peak = time.perf_counter(), 0.0
        bench.submit("stream1m", 1)
        ended = "SELECT 1 FROM run WHERE tenant_id = %s AND created_at >= %s AND finished_at IS NOT NULL"
        while not bench.system.sql(ended, bench.tenant.id, mark):
            peak = max(peak, bench.largest_rss_mib())
            time.sleep(0.1)
        rates.append(items / (time.perf_counter() - began))
        peaks.append(peak)
        if bench.system.sql(ENDED, items, bench.tenant.id, mark) != [(1, 1)]:
            raise Wrong("the stream did not end with every item done")
    return {
        "params": {"items": items, "batch_size": 1_000},
        "metrics": {
            "items_per_s": metric("items/s", "higher", rates),
            "largest_process_mib": metric("MiB", "lower", peaks),
        },
    }
