"""A whole system whose parts are stopped one after the other: what is said meanwhile, and afterwards."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import pytest

from tests.system.running_system import System, start_system

pytestmark = pytest.mark.system


@contextmanager
def stopped(pids: list[int]) -> Iterator[None]:
    """These processes do nothing for a while."""
    assert pids
    try:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def parts(system: System) -> dict[str, dict[str, Any]]:
    """What `/health` says, by part."""
    answer = system.client(system.credentials["api_key"]).get(f"{system.url}/health")
    return {check["name"]: check for check in answer.json().get("checks", ())}


def state(system: System, part: str) -> str:
    return str(parts(system).get(part, {}).get("state"))


def canaries(system: System, outcome: str) -> int:
    rows = system.sql("SELECT count(*) FROM canary_run WHERE outcome = %s", outcome)
    return int(rows[0][0])


def test_outages_are_seen_while_they_last_and_are_over_afterwards() -> None:
    with start_system(ORCHESTRATOR_CANARY_EVERY_S="1", ORCHESTRATOR_CANARY_LATE_S="3") as system:
        system.until(lambda: canaries(system, "ok"), 60)
        system.until(lambda: state(system, "canary") == "ok", 60)
        _the_broker_stops(system)
        _the_workers_stop(system)
        _the_database_stops(system)
        _it_was_written_down(system)


def _the_broker_stops(system: System) -> None:
    with stopped(system.pids("valkey")):
        system.until(lambda: state(system, "broker") == "down")
        before = canaries(system, "ok")
        # work goes on without it, a second slower
        system.until(lambda: canaries(system, "ok") > before, 60)
    system.until(lambda: state(system, "broker") == "ok", 60)


def _the_workers_stop(system: System) -> None:
    with stopped(system.pids("worker")):
        system.until(lambda: canaries(system, "late"), 60)
        system.until(lambda: state(system, "canary") in ("degraded", "down"), 60)
        assert "did not go well: It had not ended" in parts(system)["canary"]["detail"]
    before = canaries(system, "ok")
    system.until(lambda: canaries(system, "ok") > before, 60)
    system.until(lambda: state(system, "canary") == "ok", 60)


def _the_database_stops(system: System) -> None:
    with stopped(system.pids("postgres")), httpx.Client(base_url=system.url, timeout=60) as browser:
        system.until(lambda: browser.get("/health/ready").status_code == 503, 60)
        page = browser.get("/staff/health/")
        assert page.status_code == 503
        assert "The database does not answer" in page.text
        told = browser.get("/health")
        assert told.status_code == 503
        assert "Down: database" in told.json()["detail"]
        assert browser.get("/health/live").status_code == 200
        doctor = system.manage("doctor", "--json")
        assert doctor.returncode == 1
        found = json.loads(doctor.stdout)["findings"]
        assert [(found[0]["name"], found[0]["state"])] == [("database", "down")]
        assert found[0]["mend"]
    with httpx.Client(base_url=system.url, timeout=60) as browser:
        system.until(lambda: browser.get("/health/ready").status_code == 200, 60)
    system.close_connection()


def _it_was_written_down(system: System) -> None:
    """By the clock, with since when, which every web process then says."""
    rows = system.until(
        lambda: system.sql("SELECT since FROM health_state WHERE name = 'disk' AND state <> 'x'"),
        60,
    )
    assert parts(system)["disk"]["since"][:19] == rows[0][0].isoformat()[:19]
    doctor = system.manage("doctor", "--json")
    found = {one["name"]: one for one in json.loads(doctor.stdout)["findings"]}
    assert found["slots"]["state"] == "ok", found["slots"]
    assert found["migrations"]["state"] == "ok"
    lists = system.manage("run_start", "canary", "--tenant", "demo", "--input", "{}")
    assert lists.returncode == 1  # it is the server's own tenant that has this workflow
    assert system.sql("SELECT slug FROM tenant WHERE is_system") == [("millrace-canary",)]
