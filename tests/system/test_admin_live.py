"""What staff change in the admin acts on running workers within a second, without a restart.

Moments are the database's: of the change its audit entry, of steps their events.  `SOON` is that
second and a little for a slow machine."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from tests.system.flights import in_flight, reached, spans
from tests.system.running_system import System, TestTenant
from tests.system.shapes import call
from tests.system.staff import Staff

pytestmark = pytest.mark.system
SOON = timedelta(seconds=1.5)


@pytest.fixture
def staff(system: System) -> Iterator[Staff]:
    with Staff(system) as person:
        yield person


def in_use(tenant: TestTenant) -> int:
    """The tenant's connections in use."""
    rows = tenant.system.sql("SELECT in_use FROM tenant_load WHERE tenant_id = %s", tenant.id)
    return int(rows[0][0])


def passed(system: System, moment: datetime) -> bool:
    """Whether the database's clock is past a moment."""
    return bool(system.sql("SELECT clock_timestamp() > %s", moment)[0][0])


def sleeps(count: int, ms: int) -> list[dict[str, object]]:
    """Independent steps that hold a connection for so long."""
    return [call(f"s{nr}", "sleep", args={"ms": ms}) for nr in range(count)]


def test_max_connections_is_raised_and_lowered_on_running_workers(
    system: System, staff: Staff
) -> None:
    tenant = system.tenant(max_connections=2)
    tenant.publish("wide", sleeps(200, 1500))
    run = tenant.submit("wide")["id"]
    system.until(lambda: in_use(tenant) == 2)
    processes = system.children()
    raised = staff.change(tenant, max_connections=6)
    system.until(lambda: in_use(tenant) == 6)
    lowered = staff.change(tenant, max_connections=2)
    old = [end for start, end in spans(tenant) if start <= lowered < end]
    assert old
    system.until(lambda: passed(system, lowered + 4 * SOON))
    tenant.http.post(f"/runs/{run}/cancel")
    tenant.wait(run)
    found = spans(tenant)
    assert reached(found, 6, raised) - raised <= SOON
    assert max(in_flight(found, start) for start, _ in found if start < raised) == 2
    assert max(in_flight(found, start) for start, _ in found) == 6
    late = [start for start, _ in found if start > lowered + SOON]
    assert late, "work goes on under the lower limit"
    assert max(in_flight(found, start) for start in late) == 2
    assert system.children() == processes


def test_no_step_starts_above_a_lowered_limit_while_old_ones_finish(
    system: System, staff: Staff
) -> None:
    tenant = system.tenant(max_connections=6)
    tenant.publish("wide", sleeps(20, 4000))
    run = tenant.submit("wide")["id"]
    system.until(lambda: in_use(tenant) == 6)
    lowered = staff.change(tenant, max_connections=2)
    ends = "SELECT count(*) FROM event WHERE tenant_id = %s AND type = 'step.succeeded'"
    system.until(lambda: system.sql(ends, tenant.id)[0][0] >= 8, 60)
    tenant.http.post(f"/runs/{run}/cancel")
    tenant.wait(run)
    found = spans(tenant)
    later = [start for start, _ in found if start > lowered]
    assert later
    assert max(in_flight(found, start) for start in later) <= 2
    fifth = sorted(end for start, end in found if start <= lowered)[4]
    assert later[0] >= fifth


def test_a_suspended_tenant_is_refused_and_waits_until_it_is_resumed(
    system: System, staff: Staff
) -> None:
    tenant = system.tenant(max_connections=2)
    tenant.publish("six", sleeps(6, 1500))
    run = tenant.submit("six")["id"]
    system.until(lambda: in_use(tenant) == 2)
    suspended = staff.suspend(tenant)
    refused = tenant.http.post("/workflows/six/runs", json={"input": {}})
    assert (refused.status_code, refused.json()["code"]) == (403, "tenant_suspended")
    bulk = tenant.http.post("/runs/bulk", content='{"workflow": "six", "input": {}}')
    assert "tenant_suspended" in bulk.text
    assert len(tenant.http.get("/runs").json()["items"]) == 1
    system.until(lambda: in_use(tenant) == 0)
    system.until(lambda: passed(system, suspended + 2 * SOON))
    steps = tenant.steps(run).values()
    over = [step for step in steps if step["state"] == "succeeded"]
    waiting = [step["waiting"] for step in steps if step["state"] == "ready"]
    assert len(over) + len(waiting) == 6
    assert waiting
    assert {reason["reason"] for reason in waiting} == {"paused"}
    assert "suspended" in waiting[0]["detail"]
    assert all(start <= suspended + SOON for start, _ in spans(tenant))
    assert tenant.http.get(f"/runs/{run}").json()["state"] == "running"
    resumed = staff.resume(tenant)
    assert tenant.wait(run)["state"] == "succeeded"
    assert reached(spans(tenant), 1, resumed) - resumed <= SOON
    assert tenant.submit("six")["state"] in ("queued", "running")


def test_a_changed_weight_changes_the_share(system: System, staff: Staff) -> None:
    one, two = system.tenant(max_connections=8), system.tenant(max_connections=8)
    system.sql("UPDATE server_load SET max_connections = 8 WHERE slot = -1")
    try:
        for tenant in (one, two):
            tenant.publish("wide", sleeps(100, 100))
        runs = {tenant.slug: tenant.submit_many("wide", 10) for tenant in (one, two)}
        system.until(lambda: in_use(one) and in_use(two))
        begun = system.sql("SELECT clock_timestamp()")[0][0]
        system.until(lambda: passed(system, begun + timedelta(seconds=2)))
        changed = staff.change(one, weight=3)
        end = changed + SOON + timedelta(seconds=3)
        system.until(lambda: passed(system, end))
        for tenant in (one, two):
            system.sql("UPDATE tenant SET suspended_at = now() WHERE id = %s", tenant.id)
            for run in runs[tenant.slug]:
                tenant.http.post(f"/runs/{run}/cancel")
    finally:
        system.sql("UPDATE server_load SET max_connections = 100 WHERE slot = -1")

    def starts(tenant: TestTenant, since: datetime, until: datetime) -> int:
        return sum(since <= start < until for start, _ in spans(tenant))

    before = [starts(tenant, begun, changed) for tenant in (one, two)]
    after = [starts(tenant, changed + SOON, end) for tenant in (one, two)]
    assert 0.75 <= before[0] / before[1] <= 1.33, before
    assert 2.2 <= after[0] / after[1] <= 4, after
