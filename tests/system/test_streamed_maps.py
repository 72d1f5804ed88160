"""Maps over a source that yields: chunks, cursors, back-pressure, and what is left after kill -9."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.system.mapping import batches, mapped
from tests.system.running_system import TestTenant
from tests.system.shapes import call

pytestmark = [pytest.mark.system, pytest.mark.any_servers]


def streamed(source: str, args: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A map over a source; `test.double` unless `handler` is given."""
    handler = more.pop("handler", "double")
    return mapped("m", handler, {"handler": f"test.{source}", "args": args}, **more)


def run_streamed(
    tenant: TestTenant, step: dict[str, Any], within_s: float = 60
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run a workflow of this step: the run and the step run."""
    tenant.publish("streamed", [step])
    run = tenant.run("streamed", within_s=within_s)
    return run, tenant.steps(run["id"])["m"]


def twice(count: int) -> list[int]:
    """What doubling the numbers gives."""
    return [2 * number for number in range(count)]


@pytest.mark.parametrize("source", ["numbers", "numbers_after", "list_source", "cpu_source"])
@pytest.mark.parametrize("count", [0, 1, 7, 100])
def test_sources_of_every_kind(tenant: TestTenant, source: str, count: int) -> None:
    of = {"batch_size": 7}
    run, row = run_streamed(tenant, streamed(source, {"count": count}, of=of))
    assert (run["state"], run["output"]) == ("succeeded", twice(count))
    assert row["map"] == {"total": count, "done": count, "failed": 0, "in_flight": 0}
    sizes = [len(b["output"]) for b in batches(tenant, run["id"], "m")]
    assert sizes == [7] * (count // 7) + ([count % 7] if count % 7 else [])
    assert all(
        event["index"] is not None or event["type"] != "step.waiting"
        for event in tenant.events(run["id"])
    )


@pytest.mark.parametrize("source", ["numbers", "numbers_after"])
def test_a_stream_is_read_in_chunks_with_one_connection(
    tenant: TestTenant, tmp_path: Path, source: str
) -> None:
    log = tmp_path / "log"
    small = tenant.system.tenant(max_connections=1)
    of = {"batch_size": 1000, "collect": False, "max_in_flight": 2}
    step = streamed(source, {"count": 45_000, "log": str(log)}, handler="double_sync", of=of)
    run, row = run_streamed(small, step)
    assert run["output"] == {"total": 45_000, "succeeded": 45_000, "failed": 0}
    assert row["map"]["total"] == 45_000
    starts = [int(line) for line in log.read_text().split()]
    if source == "numbers":
        assert len(starts) >= 5, "it was called anew for each chunk"
    else:
        assert starts == sorted(set(starts))
        assert len(starts) >= 5


def test_a_source_does_not_run_ahead(tenant: TestTenant) -> None:
    of = {"max_in_flight": 1, "collect": False}
    tenant.publish("ahead", [streamed("numbers", {"count": 1_000_000}, handler="slow_item", of=of)])
    run = tenant.submit("ahead")
    asked = "SELECT total, source FROM map_state WHERE run_id = %s AND done > 100"
    tenant.system.until(lambda: tenant.system.sql(asked, run["id"]), 30)
    assert tenant.system.sql(asked, run["id"]) == [(10_000, "idle")]
    tenant.http.post(f"/runs/{run['id']}/cancel")
    assert tenant.wait(run["id"], within_s=15)["state"] == "cancelled"
    packs = "SELECT count(*) FROM map_pack WHERE run_id = %s"
    assert tenant.system.sql(packs, run["id"]) == [(0,)]


def test_slow_items_do_not_wait_for_a_full_chunk(tenant: TestTenant) -> None:
    step = streamed("numbers_after", {"count": 30, "pause_ms": 100}, of={"batch_size": 4})
    run, _ = run_streamed(tenant, step)
    assert run["output"] == twice(30)
    found = batches(tenant, run["id"], "m")
    assert found[0]["finished_at"] < found[-1]["ready_at"], (
        "the first ended before the last was read"
    )


def test_a_source_that_fails_fails_the_map_after_its_retries(tenant: TestTenant) -> None:
    step = streamed("numbers", {"count": 20, "fail_at": 5}, retry={"max_attempts": 2, "delay": 0})
    run, row = run_streamed(tenant, step)
    assert (run["state"], row["error"]["message"]) == ("failed", "the source is dry")
    attempts = "SELECT attempts FROM step_run WHERE run_id = %s AND batch = -3"
    assert tenant.system.sql(attempts, run["id"]) == [(2,)]


@pytest.mark.parametrize("kind", ["number", "no_item", "set"])
def test_a_source_that_yields_no_items_fails_without_retry(tenant: TestTenant, kind: str) -> None:
    step = streamed("bad_source", {"kind": kind}, retry={"max_attempts": 3, "delay": 0})
    run, row = run_streamed(tenant, step)
    assert (run["state"], row["error"]["code"]) == ("failed", "invalid_output")


def test_a_source_killed_in_the_middle_resumes_behind_its_cursor(
    tenant: TestTenant, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    args = {"count": 25_000, "log": str(log), "die_at": 14_000}
    step = streamed("numbers_after", args, of={"batch_size": 100, "collect": False})
    run, _ = run_streamed(tenant, step)
    assert run["output"] == {"total": 25_000, "succeeded": 25_000, "failed": 0}
    assert [int(line) for line in log.read_text().split()].count(10_000) == 2, (
        "one chunk was repeated"
    )


@pytest.mark.parametrize("source", ["numbers", "numbers_after"])
def test_killed_workers_lose_no_item_of_a_stream(tenant: TestTenant, source: str) -> None:
    count = 3_000
    step = streamed(
        source,
        {"count": count, "pause_ms": 1 if source == "numbers_after" else 0.2},
        of={"batch_size": 30, "max_in_flight": 4},
        timeout="60s",
    )
    tenant.publish("killed", [step, call("n", "count", args={"values": "${{ steps.m.output }}"})])
    run = tenant.submit("killed")
    done = "SELECT 1 FROM map_state WHERE run_id = %s AND done > %s"
    for part in (count // 10, count // 2):
        tenant.system.until(lambda part=part: tenant.system.sql(done, run["id"], part), 60)  # type: ignore[misc]
        tenant.system.kill_children()
    run = tenant.wait(run["id"], within_s=60)
    assert (run["state"], run["output"]) == ("succeeded", count)
    assert tenant.steps(run["id"])["m"]["output"] == twice(count)
