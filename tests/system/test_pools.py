"""Pools with real workers: never more than the limit, live resizing, rates, lost workers."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.system.running_system import System, TestTenant
from tests.system.shapes import call
from tests.system.test_limits import most_at_once

pytestmark = pytest.mark.system

SPANS = """
SELECT s.name, a.at, b.at FROM event a
  JOIN run r ON r.id = a.run_id
  JOIN version_step s ON s.version_id = r.version_id AND s.ordinal = a.ordinal
  JOIN LATERAL (SELECT at FROM event b WHERE b.tenant_id = a.tenant_id AND b.run_id = a.run_id
                   AND b.ordinal = a.ordinal AND b.seq > a.seq AND b.type LIKE 'step.%%'
                 ORDER BY b.seq LIMIT 1) b ON true
 WHERE a.tenant_id = ANY (%s) AND a.type = 'step.running' AND s.pool = %s
"""


def pool(tenant: TestTenant, name: str, limit: int, **more: Any) -> None:
    """Make a pool of the tenant."""
    answer = tenant.http.post("/pools", json={"name": name, "limit": limit, **more})
    assert answer.status_code == 201, answer.text


def resize(tenant: TestTenant, name: str, limit: int) -> None:
    """Set its limit."""
    answer = tenant.http.put(f"/pools/{name}", json={"limit": limit})
    assert answer.status_code == 200, answer.text


def use(tenant: TestTenant, name: str) -> dict[str, Any]:
    """The pool as the API shows it."""
    return dict(tenant.http.get(f"/pools/{name}").json())


def spans(name: str, *tenants: TestTenant) -> list[tuple[datetime, datetime]]:
    """When the steps of a pool held a place."""
    rows = tenants[0].system.sql(SPANS, [tenant.id for tenant in tenants], name)
    return [(start, end) for _, start, end in rows]


def sound(system: System) -> None:
    """The reconciler has nothing to mend in the pools."""
    assert system.sql("SELECT engine_reconcile_total()") == [(0,)]


def wide(count: int, ms: int, pool_name: str) -> list[dict[str, Any]]:
    """So many steps side by side, in one pool."""
    return [call(f"s{i}", "sleep", args={"ms": ms}, pool=pool_name) for i in range(count)]


@pytest.fixture
def shared(system: System) -> Iterator[str]:
    """A pool of the server with 4 places."""
    name = f"shared-{os.urandom(4).hex()}"
    system.sql("INSERT INTO pool (name, max_places) VALUES (%s, 4)", name)
    yield name
    system.sql("DELETE FROM pool WHERE name = %s", name)


def test_never_more_than_the_limit_in_flight(system: System) -> None:
    tenant = system.tenant(max_connections=40)
    pool(tenant, "p", 5)
    spins = [call(f"c{i}", "spin", args={"ms": 20}, pool="p") for i in range(20)]
    tenant.publish("wide", [*wide(40, 20, "p"), *spins])
    runs = tenant.submit_many("wide", 5)
    seen = 0

    def ended() -> bool:
        nonlocal seen
        seen = max(seen, use(tenant, "p")["in_use"])
        open_runs = "SELECT 1 FROM run WHERE tenant_id = %s AND finished_at IS NULL LIMIT 1"
        return not system.sql(open_runs, tenant.id)

    system.until(ended, 60, every_s=0.01)
    found = spans("p", tenant)
    assert len(found) == 300
    assert most_at_once(found) == 5 >= seen
    workers = system.sql(
        "SELECT count(DISTINCT worker_id) FROM step_run WHERE run_id = ANY (%s::uuid[])", runs
    )
    assert workers[0][0] >= 2, "over two processes"
    assert use(tenant, "p")["in_use"] == 0
    sound(system)


def test_unpooled_steps_and_other_tenants_pass_a_full_pool(system: System) -> None:
    tenant, other = system.tenant(), system.tenant()
    pool(tenant, "p", 1)
    tenant.publish("narrow", wide(300, 200, "p"), priority=9)
    tenant.publish("free", [call("a", "noop"), call("b", "noop", "a")], priority=0)
    other.publish("free", [call("a", "noop"), call("b", "noop", "a")])
    narrow = tenant.submit("narrow")["id"]
    system.until(lambda: use(tenant, "p")["in_use"])
    for _ in range(5):
        assert tenant.run("free", within_s=5)["state"] == "succeeded"
        assert other.run("free", within_s=5)["state"] == "succeeded"
    waiting = next(s for s in tenant.steps(narrow).values() if s["state"] == "ready")["waiting"]
    assert waiting["reason"] == "pool"
    assert '"p"' in waiting["detail"]
    assert use(tenant, "p")["waiting"] > 200
    tenant.http.post(f"/runs/{narrow}/cancel")
    assert tenant.wait(narrow)["state"] == "cancelled"
    system.until(lambda: use(tenant, "p")["in_use"] == 0)


def test_resized_live_and_zero_pauses(tenant: TestTenant) -> None:
    pool(tenant, "p", 2)
    tenant.publish("wide", wide(120, 100, "p"))
    run = tenant.submit("wide")["id"]

    def becomes(limit: int) -> None:
        resize(tenant, "p", limit)
        tenant.system.until(lambda: use(tenant, "p")["in_use"] == limit, 5)

    tenant.system.until(lambda: use(tenant, "p")["in_use"] == 2)
    becomes(6)
    becomes(1)
    becomes(0)
    done = tenant.http.get(f"/runs/{run}").json()["steps"]["succeeded"]
    assert done < 120
    waiting = next(s for s in tenant.steps(run).values() if s["state"] == "ready")["waiting"]
    assert (waiting["reason"], "paused" in waiting["detail"]) == ("pool", True)
    assert tenant.http.get(f"/runs/{run}").json()["steps"]["succeeded"] == done
    becomes(10)
    assert tenant.wait(run)["state"] == "succeeded"


def test_a_pool_of_the_server_is_shared_by_two_tenants(system: System, shared: str) -> None:
    one, two = system.tenant(max_connections=20), system.tenant(max_connections=20)
    for tenant in (one, two):
        tenant.publish("wide", wide(40, 30, shared))
    runs = [tenant.submit("wide")["id"] for tenant in (one, two)]
    for tenant, run in zip((one, two), runs, strict=True):
        assert tenant.wait(run)["state"] == "succeeded"
    assert most_at_once(spans(shared, one, two)) == 4
    assert all(most_at_once(spans(shared, tenant)) <= 4 for tenant in (one, two))
    assert use(one, shared)["scope"] == "server"
    assert one.http.put(f"/pools/{shared}", json={"limit": 100}).status_code == 404
    sound(system)


def test_a_rate_spreads_starts_and_never_bursts(tenant: TestTenant) -> None:
    pool(tenant, "p", 50, rate="10/1s")
    tenant.publish("wide", wide(25, 1, "p"))
    run = tenant.run("wide")
    assert run["state"] == "succeeded"
    starts = sorted(start for start, _ in spans("p", tenant))
    second = timedelta(seconds=1)
    for first, after in zip(starts, starts[10:], strict=False):
        assert after - first >= second, "a window of a second holds more than 10 starts"
    assert starts[-1] - starts[0] >= 2.4 * second


def test_kill_9_of_a_worker_that_holds_places(system: System) -> None:
    tenant = system.tenant()
    pool(tenant, "p", 3)
    tenant.publish("wide", wide(9, 1500, "p"))
    run = tenant.submit("wide")["id"]
    rows: Any = system.until(
        lambda: system.sql(
            "SELECT w.pid FROM step_run s JOIN worker w ON w.id = s.worker_id"
            " WHERE s.run_id = %s AND s.state = 'running' AND s.pool_id IS NOT NULL",
            run,
        )
    )
    os.kill(rows[0][0], signal.SIGKILL)
    assert tenant.wait(run, 60)["state"] == "succeeded"
    assert [e for e in tenant.events(run) if e["type"] == "step.lost"]
    assert most_at_once(spans("p", tenant)) == 3
    assert use(tenant, "p")["in_use"] == 0
    sound(system)


def test_batches_of_a_map_take_places(tenant: TestTenant) -> None:
    pool(tenant, "p", 2)
    each = {"over": "${{ input.items }}", "max_in_flight": 8, "batch_size": 1}
    tenant.publish("m", [call("m", "sleep", args={"ms": "${{ item }}"}, pool="p", map=each)])
    run = tenant.submit("m", {"items": [30] * 12})["id"]
    seen = 0

    def ended() -> bool:
        nonlocal seen
        seen = max(seen, use(tenant, "p")["in_use"])
        return bool(tenant.http.get(f"/runs/{run}").json()["state"] == "succeeded")

    tenant.system.until(ended, 30)
    assert seen == 2
    assert use(tenant, "p")["in_use"] == 0


def test_an_unknown_pool_is_a_publishing_error(tenant: TestTenant) -> None:
    steps = [call("a", "noop"), call("b", "noop", pool="nowhere")]
    answer = tenant.http.put("/workflows/w", json={"steps": steps})
    assert answer.status_code == 422
    (found,) = answer.json()["errors"]
    assert (found["path"], found["code"]) == ("/steps/1/pool", "unknown_pool")
    pool(tenant, "nowhere", 1)
    tenant.publish("w", steps)
    assert tenant.run("w")["state"] == "succeeded"


def test_parents_and_their_children_share_a_pool_without_a_deadlock(tenant: TestTenant) -> None:
    """17 parents on a pool of 8, each with a child on the same pool: whoever waits holds no place."""
    pool(tenant, "nested", 8)
    tenant.publish("child", [call("inner", "sleep", args={"ms": 20}, pool="nested")])
    tenant.publish(
        "parent",
        [
            call("before", "sleep", args={"ms": 20}, pool="nested"),
            {"name": "sub", "workflow": "child", "depends_on": ["before"]},
            call("after", "noop", "sub", pool="nested"),
        ],
    )
    runs = tenant.submit_many("parent", 17)
    tenant.wait_all(runs, 30)
    ended = "SELECT state, count(*) FROM run WHERE tenant_id = %s GROUP BY 1"
    assert tenant.system.sql(ended, tenant.id) == [("succeeded", 34)]
    times = spans("nested", tenant)
    assert len(times) == 51
    assert max(sum(a <= at < b for a, b in times) for at, _ in times) <= 8
    sound(tenant.system)
