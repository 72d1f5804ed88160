"""Large payloads through a whole system: in by HTTP, between steps, out by HTTP, to the last digit."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.system.running_system import TestTenant
from tests.system.shapes import call

pytestmark = [pytest.mark.system, pytest.mark.any_servers]
KIB, MIB = 1024, 1024 * 1024
TEXT = "größer ☃ 𝄞"


def sized(size: int) -> dict[str, Any]:
    """A value of exactly so many bytes of JSON."""
    head = {"big": 2**64, "text": TEXT, "fill": ""}
    missing = size - len(json.dumps(head, ensure_ascii=False, separators=(",", ":")).encode())
    return {**head, "fill": "x" * missing}


def places(tenant: TestTenant) -> list[tuple[int, bool]]:
    """Size of each payload of the tenant, and whether it lies in the storage."""
    return tenant.system.sql(
        "SELECT size, object_key IS NOT NULL FROM payload WHERE tenant_id = %s ORDER BY size",
        tenant.id,
    )


@pytest.mark.parametrize("size", [8 * KIB, 8 * KIB + 1, MIB, MIB + 1])
def test_a_payload_comes_back_exactly_whatever_its_size(tenant: TestTenant, size: int) -> None:
    tenant.publish(
        "w",
        [
            call("inside", "measure", args={"value": "${{ input }}"}),
            call("made", "text", args={"size": size, "plain": False}),
            call("echoed", "echo", args={"value": "${{ steps.made.output }}"}),
            call("between", "measure", args={"value": "${{ steps.echoed.output }}"}),
        ],
        output={"given": "${{ input }}", "made": "${{ steps.echoed.output }}"},
    )
    value = sized(size)
    run = tenant.run("w", value)
    assert run["input"] == value
    assert run["output"] == {"given": value, "made": value}
    rows = tenant.steps(run["id"])
    measured = {"bytes": size, "big": 2**64, "text": TEXT, "attempt": 1}
    assert (rows["inside"]["output"], rows["between"]["output"]) == (measured, measured)
    assert rows["made"]["output"] == rows["echoed"]["output"] == value
    (listed,) = tenant.http.get("/runs").json()["items"]
    assert listed["output"] == run["output"]
    single = [place for place in places(tenant) if place[0] == size]
    assert single == ([] if size <= 8 * KIB else [(size, size > MIB)] * 3)
    folder = Path(tenant.system.folder) / "payloads" / str(tenant.id)
    kept = [len(file.read_bytes()) for file in folder.rglob("*.json")]
    assert kept.count(size) == (3 if size > MIB else 0)


def test_leaves_arguments_of_retries_and_conditions(tenant: TestTenant) -> None:
    given = {"value": "${{ steps.made.output }}"}
    tenant.publish(
        "w",
        [
            call("made", "text", args={"size": 2 * MIB}),
            call("again", "measure_twice", args=given, retry={"max_attempts": 2, "delay": 0}),
            call("echoed", "echo", args=given, **{"if": "${{ steps.made.output.big > 1 }}"}),
            call("cpu", "measure", args=given, queue="cpu"),
        ],
    )
    run = tenant.run("w")
    plain = {**sized(2 * MIB), "text": ""}
    plain["fill"] += "x" * len(TEXT.encode())
    measured = {"bytes": 2 * MIB, "big": 2**64, "text": "", "attempt": 1}
    assert run["output"] == {
        "again": {**measured, "attempt": 2},
        "echoed": plain,
        "cpu": measured,
    }


def test_what_is_too_large_is_refused(tenant: TestTenant) -> None:
    tenant.system.sql(
        "UPDATE quota SET max_payload_bytes = %s WHERE tenant_id = %s", 64 * KIB, tenant.id
    )
    tenant.publish("w", [call("a", "text", args={"size": "${{ input.size }}"})])
    fits = tenant.run("w", {"size": 64 * KIB})
    assert fits["state"] == "succeeded"
    run = tenant.run("w", {"size": 64 * KIB + 1})
    assert run["error"]["cause"]["code"] == "invalid_output"
    assert "65,537" in run["error"]["cause"]["message"]

    def refused() -> bool:
        body = {"input": {"size": 1, "fill": "x" * 64 * KIB}}
        return tenant.http.post("/workflows/w/runs", json=body).status_code == 413

    tenant.system.until(refused, 5)  # a key's tenant is read anew each second


def test_kill_9_keeps_large_outputs(tenant: TestTenant) -> None:
    tenant.publish(
        "w",
        [
            call("made", "text", args={"size": MIB + 7}),
            call("wait", "sleep", "made", args={"ms": 1500}),
            call("after", "measure", "wait", args={"value": "${{ steps.made.output }}"}),
        ],
    )
    run = tenant.submit("w")["id"]
    worker = tenant.system.until(
        lambda: tenant.system.sql(
            "SELECT w.pid FROM step_run s JOIN worker w ON w.id = s.worker_id"
            " WHERE s.run_id = %s AND s.ordinal = 1 AND s.state = 'running'",
            run,
        )
    )[0][0]
    os.kill(worker, signal.SIGKILL)
    ended = tenant.wait(run, 60)
    assert (ended["state"], ended["output"]["bytes"]) == ("succeeded", MIB + 7)
