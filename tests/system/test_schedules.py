"""Schedules on a running system: real clocks, real workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from orchestrator.domain.times import parse_time
from tests.embedded.running import ROOT
from tests.system.running_system import TestTenant
from tests.system.shapes import call

pytestmark = [pytest.mark.system, pytest.mark.any_servers]
EVERY_MINUTE = {"workflow": "tick", "interval": "1m"}


def put(tenant: TestTenant, name: str, **body: Any) -> dict[str, Any]:
    """Make a schedule; it must be accepted."""
    answer = tenant.http.put(f"/schedules/{name}", json=body)
    assert answer.status_code in (200, 201), answer.text
    return dict(answer.json())


def fires(tenant: TestTenant, name: str) -> list[dict[str, Any]]:
    """What became of its times, oldest first."""
    answer = tenant.http.get(f"/schedules/{name}/fires", params={"limit": 1000})
    assert answer.status_code == 200, answer.text
    return list(reversed(answer.json()["items"]))


def missed(tenant: TestTenant, name: str, minutes: int) -> None:
    """As if the clocks had been away for so many minutes, until half a minute ago."""
    tenant.system.sql(
        "UPDATE schedule SET next_at = d.at, look_at = d.at, anchor_at = d.at"
        " FROM (SELECT clock_timestamp() - make_interval(secs => %s) AS at) d"
        " WHERE tenant_id = %s AND name = %s",
        minutes * 60 - 30, tenant.id, name,
    )  # fmt: skip


def test_times_start_runs_in_time(tenant: TestTenant) -> None:
    tenant.publish("tick", [call("a", "noop")])
    put(
        tenant,
        "beat",
        workflow="tick",
        interval="1s",
        input={"n": 2**64},
        overlap={"allow": 100},
        missed={"all": 100},
    )
    found: list[dict[str, Any]] = tenant.system.until(
        lambda: started if len(started := fires(tenant, "beat")) >= 5 else None
    )
    tenant.http.post("/schedules/beat/pause", json={"reason": "enough"})
    times = [parse_time(fire["scheduled_at"]) for fire in found]
    assert {later - one for one, later in pairwise(times)} == {timedelta(seconds=1)}
    for fire in found:
        assert fire["outcome"] == "started"
        run = tenant.wait(fire["run_id"])
        assert (run["state"], run["input"]) == ("succeeded", {"n": 2**64})
        assert run["labels"] == {"schedule": "beat", "scheduled_at": fire["scheduled_at"]}
        assert parse_time(run["created_at"]) >= parse_time(fire["scheduled_at"])
    count = len(fires(tenant, "beat"))
    later = datetime.now(UTC) + timedelta(seconds=2)
    tenant.system.until(lambda: datetime.now(UTC) > later)
    assert len(fires(tenant, "beat")) <= count + 1


@pytest.mark.parametrize(("policy", "count"), [("skip", 0), ("one", 1), ({"all": 100}, 5)])
def test_five_missed_minutes(tenant: TestTenant, policy: object, count: int) -> None:
    tenant.publish("tick", [call("a", "noop")])
    put(tenant, "late", **EVERY_MINUTE, missed=policy)
    missed(tenant, "late", 5)
    tenant.system.until(
        lambda: (
            (found := fires(tenant, "late"))
            and sum(fire["outcome"] == "started" for fire in found) == count
            and all(fire["outcome"] != "waiting" for fire in found)
        )
    )
    runs = tenant.http.get("/runs", params={"label": "schedule:late"}).json()["items"]
    assert len(runs) == count
    assert {tenant.wait(run["id"])["state"] for run in runs} <= {"succeeded"}
    assert len({run["labels"]["scheduled_at"] for run in runs}) == count


def test_two_clocks_fire_each_time_once_and_one_may_die(tenant: TestTenant) -> None:
    tenant.publish("tick", [call("a", "noop")])
    second = subprocess.Popen(
        [sys.executable, "manage.py", "clock"], cwd=ROOT, env=tenant.system.env
    )
    try:
        for number in range(3):
            put(tenant, f"s{number}", workflow="tick", interval="1s", overlap={"allow": 100},
                missed={"all": 100})  # fmt: skip
        tenant.system.until(lambda: len(fires(tenant, "s0")) >= 3)
        os.kill(tenant.system.pids("clock")[0], signal.SIGKILL)  # whichever is at it
        begun = len(fires(tenant, "s0"))
        tenant.system.until(lambda: len(fires(tenant, "s0")) >= begun + 5)
        for number in range(3):
            assert tenant.http.post(f"/schedules/s{number}/pause").status_code == 200
    finally:
        second.terminate()
        second.wait(20)
    for number in range(3):
        found = fires(tenant, f"s{number}")
        times = [parse_time(fire["scheduled_at"]) for fire in found]
        assert {b - a for a, b in pairwise(times)} == {timedelta(seconds=1)}
        assert all(fire["outcome"] == "started" for fire in found)
        runs = tenant.http.get("/runs", params={"label": f"schedule:s{number}", "limit": 1000})
        labels = [run["labels"]["scheduled_at"] for run in runs.json()["items"]]
        assert sorted(labels) == [fire["scheduled_at"] for fire in found]


def test_overlap_queue_and_cancel_previous(tenant: TestTenant) -> None:
    tenant.publish("tick", [call("a", "sleep", args={"ms": 300})])
    tenant.publish("slow", [call("a", "sleep", args={"ms": 60_000})])
    put(tenant, "queued", **EVERY_MINUTE, overlap="queue", missed={"all": 3})
    missed(tenant, "queued", 3)
    tenant.system.until(
        lambda: [fire["run_state"] for fire in fires(tenant, "queued")] == ["succeeded"] * 3
    )
    runs = [tenant.wait(fire["run_id"]) for fire in fires(tenant, "queued")]
    for one, later in pairwise(runs):
        assert later["created_at"] >= one["finished_at"]
    put(tenant, "replacing", workflow="slow", interval="2s", overlap="cancel_previous")
    found = tenant.system.until(
        lambda: one if len(one := fires(tenant, "replacing")) >= 2 else None
    )
    tenant.http.post("/schedules/replacing/pause")
    assert tenant.wait(found[0]["run_id"])["state"] == "cancelled"
    for fire in fires(tenant, "replacing"):
        tenant.http.post(f"/runs/{fire['run_id']}/cancel")


def test_a_backfill(tenant: TestTenant) -> None:
    tenant.publish("tick", [call("a", "echo", args={"value": "${{ run.labels.scheduled_at }}"})])
    made = put(tenant, "nightly", workflow="tick", cron="30 2 * * *", timezone="Europe/Berlin")
    assert len(made["next"]) == 10
    span = {"from": "2026-03-28T00:00:00Z", "to": "2026-03-30T12:00:00Z"}  # with the gap
    answer = tenant.http.post("/schedules/nightly/backfill", json=span)
    assert answer.status_code == 202, answer.text
    address = f"/schedules/nightly/backfills/{answer.json()['id']}"
    tenant.system.until(lambda: tenant.http.get(address).json()["started"] == 3)
    outputs = [tenant.wait(fire["run_id"])["output"] for fire in fires(tenant, "nightly")]
    assert outputs == [
        "2026-03-28T01:30:00.000000Z",
        "2026-03-29T01:00:00.000000Z",
        "2026-03-30T00:30:00.000000Z",
    ]
