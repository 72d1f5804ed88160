"""Connections, max_parallel, priorities, fairness, waiting reasons."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.system.running_system import System, TestTenant
from tests.system.shapes import call

pytestmark = pytest.mark.system

SPANS = """
SELECT a.at, b.at FROM event a
  JOIN LATERAL (SELECT at FROM event b WHERE b.tenant_id = a.tenant_id AND b.run_id = a.run_id
                   AND b.ordinal = a.ordinal AND b.seq > a.seq AND b.type = 'step.succeeded'
                 ORDER BY b.seq LIMIT 1) b ON true
 WHERE a.tenant_id = %s AND a.type = 'step.running'
"""


def most_at_once(spans: list[tuple[Any, ...]]) -> int:
    """The largest number of spans that overlap."""
    changes = sorted(
        [(a, 1) for a, _ in spans] + [(b, -1) for _, b in spans], key=lambda c: (c[0], c[1])
    )
    most = now = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most


def test_max_connections_and_the_total_hold_while_two_tenants_flood(system: System) -> None:
    one, two = system.tenant(max_connections=7), system.tenant(max_connections=12)
    system.sql("UPDATE server_load SET max_connections = 16 WHERE slot = -1")
    try:
        ids = {}
        for tenant in (one, two):
            tenant.publish("flood", [call(f"s{i}", "sleep", args={"ms": 20}) for i in range(100)])
            ids[tenant.slug] = tenant.submit_many("flood", 20)
        seen: Counter[str] = Counter()

        def ended() -> bool:
            rows = system.sql(
                "SELECT tenant_id, in_use FROM tenant_load WHERE tenant_id = ANY (%s)",
                [one.id, two.id],
            )
            load = dict(rows)
            seen["one"] = max(seen["one"], load[one.id])
            seen["two"] = max(seen["two"], load[two.id])
            seen["both"] = max(seen["both"], sum(load.values()))
            return not system.sql(
                "SELECT 1 FROM run WHERE tenant_id = ANY (%s) AND finished_at IS NULL LIMIT 1",
                [one.id, two.id],
            )

        system.until(ended, 60, every_s=0.005)
    finally:
        system.sql("UPDATE server_load SET max_connections = 100 WHERE slot = -1")
    spans = {tenant.slug: system.sql(SPANS, tenant.id) for tenant in (one, two)}
    assert len(spans[one.slug]) == len(spans[two.slug]) == 2000
    assert most_at_once(spans[one.slug]) == 7 >= seen["one"]
    assert most_at_once(spans[two.slug]) <= 12 >= seen["two"]
    assert most_at_once(spans[one.slug] + spans[two.slug]) == 16 >= seen["both"]
    assert_work_conserved(list(spans.values()), 16)


def assert_work_conserved(tenants: list[list[tuple[Any, ...]]], limit: int) -> None:
    """In 95 % of the 50 ms windows as many run as may, outside the first second and the last in
    which every tenant has something to start."""
    spans = [span for tenant in tenants for span in tenant]
    begin = min(a for a, _ in spans) + timedelta(seconds=1)
    end = min(max(a for a, _ in tenant) for tenant in tenants) - timedelta(seconds=1)
    window, good, count = timedelta(milliseconds=50), 0, 0
    changes = sorted(
        [(a, 1) for a, _ in spans] + [(b, -1) for _, b in spans], key=lambda c: (c[0], c[1])
    )
    place = now = 0
    at = begin
    while at < end:
        most = now
        while place < len(changes) and changes[place][0] < at + window:
            now += changes[place][1]
            if changes[place][0] >= at:
                most = max(most, now)
            place += 1
        count += 1
        good += most >= limit
        at += window
    assert count > 20
    assert good / count >= 0.95, f"{good} of {count}"


def test_max_parallel_bounds_a_run_and_hides_no_other(tenant: TestTenant) -> None:
    tenant.publish(
        "narrow", [call(f"s{i}", "sleep", args={"ms": 50}) for i in range(60)], max_parallel=3
    )
    tenant.publish("other", [call("a", "noop")])
    narrow = tenant.submit("narrow")["id"]
    tenant.system.until(lambda: tenant.http.get(f"/runs/{narrow}").json()["steps"]["running"])
    waiting = next(s for s in tenant.steps(narrow).values() if s["state"] == "ready")["waiting"]
    assert waiting["reason"] == "max_parallel"
    assert tenant.run("other", within_s=2)["state"] == "succeeded"
    assert tenant.wait(narrow)["state"] == "succeeded"
    assert most_at_once(tenant.system.sql(SPANS + " AND a.run_id = %s", tenant.id, narrow)) == 3


def test_priority_goes_first(system: System) -> None:
    tenant = system.tenant(max_connections=1)
    tenant.publish("low", [call(f"s{i}", "sleep", args={"ms": 30}) for i in range(20)], priority=1)
    tenant.publish("high", [call("a", "noop")], priority=9)
    low = tenant.submit("low")["id"]
    high = tenant.run("high")
    rows = tenant.steps(low).values()
    assert sum(s["state"] == "succeeded" for s in rows) < 20
    assert high["state"] == "succeeded"
    tenant.wait(low)


def test_waiting_reason_connections_and_total_connections(system: System) -> None:
    tenant = system.tenant(max_connections=1)
    tenant.publish(
        "two", [call("a", "sleep", args={"ms": 1500}), call("b", "sleep", args={"ms": 1500})]
    )

    def reason() -> str | None:
        run = tenant.submit("two")["id"]
        system.until(lambda: any(s["state"] == "running" for s in tenant.steps(run).values()))
        waiting = next(s for s in tenant.steps(run).values() if s["state"] == "ready")["waiting"]
        tenant.http.post(f"/runs/{run}/cancel")
        tenant.wait(run)
        return str(waiting["reason"])

    assert reason() == "connections"
    system.sql("UPDATE server_load SET max_connections = 1 WHERE slot = -1")
    system.sql("UPDATE quota SET max_connections = 5 WHERE tenant_id = %s", tenant.id)
    try:
        assert reason() == "total_connections"
    finally:
        system.sql("UPDATE server_load SET max_connections = 100 WHERE slot = -1")


def test_waiting_reason_queue(tenant: TestTenant) -> None:
    tenant.publish("spins", [call(f"s{i}", "spin", args={"ms": 700}) for i in range(6)])
    run = tenant.submit("spins")["id"]
    tenant.system.until(
        lambda: any(s["state"] == "running" for s in tenant.steps(run).values()), every_s=0.01
    )
    waiting = next(s for s in tenant.steps(run).values() if s["state"] == "ready")["waiting"]
    assert waiting["reason"] == "queue", "cpu steps run one per core"
    assert waiting["since"]
    assert tenant.wait(run)["state"] == "succeeded"


def test_waiting_reason_no_worker(tenant: TestTenant) -> None:
    tenant.publish("nobody", [call("a", "noop", queue="gpu"), call("b", "noop")])
    run = tenant.submit("nobody")["id"]
    tenant.system.until(lambda: tenant.steps(run)["b"]["state"] == "succeeded")
    assert tenant.steps(run)["a"]["waiting"]["reason"] == "no_worker"
    tenant.http.post(f"/runs/{run}/cancel")
    assert tenant.wait(run)["state"] == "cancelled"


def test_fairness_a_flood_lets_another_tenant_in_at_once(system: System) -> None:
    flood, guest = system.tenant(max_connections=10), system.tenant(max_connections=10)
    flood.publish("flood", [call(f"s{i}", "sleep", args={"ms": 30}) for i in range(1000)])
    guest.publish("guest", [call("a", "noop"), call("b", "noop", "a"), call("c", "noop", "b")])
    runs = flood.submit_many("flood", 10)
    system.until(
        lambda: system.sql(
            "SELECT 1 FROM tenant_load WHERE tenant_id = %s AND in_use = 10", flood.id
        )
    )
    guests = [guest.run("guest", within_s=5)["id"] for _ in range(10)]
    for run in runs:
        flood.http.post(f"/runs/{run}/cancel")
    overtaken = system.sql(
        """
        SELECT (SELECT count(*) FROM event e WHERE e.tenant_id = %s AND e.type = 'step.running'
                   AND e.at > s.ready_at AND e.at < s.started_at)
          FROM step_run s WHERE s.run_id = ANY (%s::uuid[])
        """,
        flood.id, guests,
    )  # fmt: skip
    assert len(overtaken) == 30
    assert max(count for (count,) in overtaken) <= 11
    flood.wait_all(runs)


def test_a_quota_edit_acts_within_a_second(system: System) -> None:
    tenant = system.tenant(max_connections=2)
    tenant.publish("wide", [call(f"s{i}", "sleep", args={"ms": 100}) for i in range(300)])
    run = tenant.submit("wide")["id"]

    def in_use() -> int:
        return int(
            system.sql("SELECT in_use FROM tenant_load WHERE tenant_id = %s", tenant.id)[0][0]
        )

    system.until(lambda: in_use() == 2)
    system.sql("UPDATE quota SET max_connections = 6 WHERE tenant_id = %s", tenant.id)
    system.until(lambda: in_use() == 6, 3)
    system.sql("UPDATE quota SET max_connections = 2 WHERE tenant_id = %s", tenant.id)
    system.until(lambda: in_use() == 2, 3)
    tenant.http.post(f"/runs/{run}/cancel")
    tenant.wait(run)


def test_a_suspended_tenant_keeps_what_runs_and_starts_nothing(tenant: TestTenant) -> None:
    tenant.publish("two", [call("a", "sleep", args={"ms": 300}), call("b", "noop", "a")])
    run = tenant.submit("two")["id"]
    tenant.system.until(lambda: tenant.steps(run)["a"]["state"] == "running")
    tenant.system.sql("UPDATE tenant SET suspended_at = now() WHERE id = %s", tenant.id)
    tenant.system.until(lambda: tenant.steps(run)["a"]["state"] == "succeeded")
    assert tenant.steps(run)["b"]["state"] == "ready"
    tenant.system.sql("UPDATE tenant SET suspended_at = NULL WHERE id = %s", tenant.id)
    assert tenant.wait(run, 5)["state"] == "succeeded"


def test_blocking_handlers_run_side_by_side(system: System) -> None:
    tenant = system.tenant(max_connections=60)
    tenant.publish("blocks", [call(f"s{i}", "block", args={"ms": 500}) for i in range(60)])
    run = tenant.run("blocks")
    taken = datetime.fromisoformat(run["finished_at"]) - datetime.fromisoformat(run["started_at"])
    assert taken < timedelta(seconds=2.5)
