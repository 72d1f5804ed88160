"""The benchmark measures what it says, and writes what other tools read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.benchmarks.__main__ import WORKLOADS, describe, measure
from tests.benchmarks.bench import Bench, Wrong
from tests.benchmarks.results import BUDGETS, document, metric, table
from tests.system.running_system import System
from tests.system.shapes import chain


@pytest.mark.system
def test_a_measurement_end_to_end(system: System, tmp_path: Path) -> None:
    file = tmp_path / "results" / "one.json"
    with Bench(system, repeats=2, target_s=0.1, quick=True) as bench:
        assert measure(bench, ["diamond10", "start"], describe(system), file)
    found = json.loads(file.read_text())
    assert found["engine"] == "millrace"
    assert set(found) >= {"label", "date", "machine", "versions", "settings"}
    workload = found["workloads"]["diamond10"]
    assert workload["status"] == "ok"
    assert workload["params"]["steps_per_run"] == 10
    steps_per_s = workload["metrics"]["steps_per_s"]
    assert (steps_per_s["unit"], steps_per_s["better"]) == ("steps/s", "higher")
    assert len(steps_per_s["values"]) == 2
    assert 0 < steps_per_s["min"] <= steps_per_s["median"] <= steps_per_s["max"]
    assert found["workloads"]["start"]["metrics"]["p50_ms"]["values"][0] > 0
    assert "diamond10: steps/s" in table(found)


@pytest.mark.system
def test_a_wrong_result_fails_the_measurement(system: System, tmp_path: Path) -> None:
    with Bench(system, repeats=1, target_s=0.1, quick=True) as bench:
        bench.publish("pair", chain(2))
        with pytest.raises(Wrong, match="3 steps were wanted; there are 2, 2 of them right"):
            bench.batch("pair", 1, 3)
        with pytest.raises(Wrong, match="a bulk call was answered 200"):
            bench.submit("nothing", 1)
        bench.tenant.http.headers["Authorization"] = "Bearer none"  # it can no longer publish
        assert not measure(bench, ["diamond10"], describe(system), tmp_path / "bad.json")
    failed = json.loads((tmp_path / "bad.json").read_text())["workloads"]["diamond10"]
    assert failed["status"] == "error"


def test_the_table_has_a_row_for_each_budget_that_was_measured() -> None:
    found = document(settings={}, postgresql="18")
    found["workloads"] = {
        "submit": {
            "status": "ok",
            "metrics": {"runs_per_s": metric("runs/s", "higher", [9000, 12_000, 11_000])},
        },
        "busy100": {
            "status": "ok",
            "metrics": {"times_ideal": metric("x", "lower", [1.2])},
        },
        "idle": {"status": "error", "reason": "none"},
    }
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in table(found).splitlines()]
    assert rows[2:] == [
        ["busy100: wall / ideal", "≤ 1.1", "1.20", "NO"],
        ["bulk submission: runs/s", "≥ 10,000", "11,000 (9,000–12,000)", "yes"],
        ["idle: % of one core", "2", "error", "–"],
        ["idle: memory beside PostgreSQL, MiB", "400", "error", "–"],
    ]
    assert {budget.workload for budget in BUDGETS} <= set(WORKLOADS)
