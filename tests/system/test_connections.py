"""`ctx.connection()` and `core.sql` in real workers, of every kind."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from tests.system.running_system import TestTenant

pytestmark = [pytest.mark.system, pytest.mark.any_servers]

# A statement that does not let itself be cancelled, nor timed out from within.
STUBBORN = (
    "DO $$ BEGIN PERFORM set_config('statement_timeout', '0', false);"
    " PERFORM set_config('client_connection_check_interval', '0', false);"
    " LOOP BEGIN PERFORM pg_sleep(600);"
    " EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$"
)


def step(name: str, handler: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "handler": handler, **more}


def sessions(tenant: TestTenant, of: str = "true") -> int:
    (row,) = tenant.system.sql(
        f"SELECT count(*) FROM pg_stat_activity WHERE usename = tenant_role_name(%s) AND {of}",
        tenant.id,
    )
    return int(row[0])


def test_each_kind_of_handler_has_its_tenants_connection(tenant: TestTenant) -> None:
    kinds = ("async", "blocking", "cpu")
    tenant.publish("w", [step(kind, f"test.connection_{kind}") for kind in kinds])
    run = tenant.run("w")
    assert run["state"] == "succeeded", run["error"]
    (role,) = tenant.system.sql("SELECT tenant_role_name(%s)", tenant.id)[0]
    assert {run["output"][kind]["role"] for kind in kinds} == {role}
    tenant.system.until(lambda: sessions(tenant) == 0, 5)


def test_fifty_steps_on_five_connections_all_succeed_and_say_what_they_wait_for(
    tenant: TestTenant,
) -> None:
    small = tenant.system.tenant(max_connections=5)
    small.publish("w", [step(f"s{n}", "test.hold_connection", args={"ms": 60}) for n in range(50)])
    run = small.submit("w")
    waits: set[str] = set()
    most = 0

    def ended() -> bool:
        nonlocal most
        most = max(most, sessions(small))
        for seen in small.steps(run["id"]).values():
            if seen["waiting"]:
                waits.add(seen["waiting"]["reason"])
        return bool(small.http.get(f"/runs/{run['id']}").json()["finished_at"])

    small.system.until(ended, 30)
    done = small.wait(run["id"])
    assert done["state"] == "succeeded", done["error"]
    assert done["steps"]["succeeded"] == 50
    assert {"connections"} <= waits <= {"connections", "queue"}
    assert 1 < most <= 5


@pytest.mark.parametrize("handler", ["core.sql", "test.query_blocking", "test.query_cpu"])
def test_a_timeout_ends_the_statement_in_the_server(tenant: TestTenant, handler: str) -> None:
    tenant.publish("w", [step("slow", handler, args={"query": STUBBORN}, timeout="700ms")])
    tenant.publish("next", [step("a", "core.sql", args={"query": "SELECT 1 AS one"})])
    run = tenant.run("w")
    assert run["error"]["cause"]["code"] == "timeout"
    tenant.system.until(lambda: sessions(tenant, "state = 'active'") == 0, 5)
    after = tenant.run("next")
    assert after["output"] == {"rows": [{"one": 1}], "row_count": 1}


def test_sql_steps_hand_on_what_they_find(tenant: TestTenant) -> None:
    insert = "INSERT INTO orders (total) VALUES (%s), (%s) RETURNING id"
    tenant.publish(
        "orders",
        [
            step("make", "core.sql",
                 args={"query": "CREATE TABLE orders (id bigserial, total numeric)"}),
            step("fill", "core.sql", depends_on=["make"],
                 args={"query": insert, "params": ["${{ input.first }}", 12.5]}),
            step("sum", "core.sql", depends_on=["fill"],
                 args={"query": "SELECT sum(total) AS total FROM orders"}),
            step("say", "core.echo", args={"total": "${{ steps.sum.output.rows[0].total }}"}),
        ],
    )  # fmt: skip
    run = tenant.run("orders", {"first": 2**70})
    assert run["state"] == "succeeded", run["error"]
    assert run["output"] == {"total": f"{2**70 + 12}.5"}
    again = tenant.run("orders", {"first": 1})
    assert again["error"]["cause"]["code"] == "aborted"
    assert "42P07" in again["error"]["cause"]["message"]


def test_a_query_that_is_put_together_is_refused(tenant: TestTenant) -> None:
    bad = step("a", "core.sql", args={"query": "SELECT '${{ input.name }}'"})
    answer = tenant.http.put("/workflows/w", json={"name": "w", "steps": [bad]})
    assert answer.status_code == 422
    (finding,) = answer.json()["errors"]
    assert finding["path"] == "/steps/0/args/query"


def test_a_killed_worker_leaves_no_statement(tenant: TestTenant) -> None:
    tenant.publish("w", [step("slow", "core.sql", args={"query": "SELECT pg_sleep(30)"})])
    run = tenant.submit("w")
    tenant.system.until(lambda: sessions(tenant, "wait_event = 'PgSleep'") == 1)
    (pid,) = tenant.system.sql(
        "SELECT DISTINCT w.pid FROM step_run s JOIN worker w ON w.id = s.worker_id"
        " WHERE s.tenant_id = %s AND s.state = 'running'",
        tenant.id,
    )[0]
    before = {row[0] for row in tenant.system.sql(PIDS, tenant.id)}
    tenant.http.post(f"/runs/{run['id']}/cancel")
    os.kill(pid, signal.SIGKILL)
    tenant.system.until(
        lambda: not before & {row[0] for row in tenant.system.sql(PIDS, tenant.id)}, 10
    )
    assert tenant.wait(run["id"])["state"] == "cancelled"


PIDS = "SELECT pid FROM pg_stat_activity WHERE usename = tenant_role_name(%s)"
