"""A secret is planted, and every way out is tried: it reaches the handlers and nothing else."""

from __future__ import annotations

import base64
import json
import re
import secrets
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.system.running_system import System, TestTenant
from tests.system.shapes import call

pytestmark = pytest.mark.system
TOKEN = "${{ secrets.TOKEN }}"
RETRY = {"max_attempts": 2, "delay": 0}


@pytest.fixture
def planted(tenant: TestTenant) -> str:
    """The secret TOKEN of the tenant."""
    value = f'pl@nt "{secrets.token_hex(8)}"/ü'
    answer = tenant.http.put("/secrets/TOKEN", json={"value": value})
    assert answer.status_code == 201, answer.text
    return value


def spellings(value: str) -> set[bytes]:
    """What must be found nowhere; the part in the middle is enough of the plain ones."""
    middle = value.split('"')[1]
    raw = value.encode()
    return {
        middle.encode(),
        quote(middle).encode(),
        raw.hex().encode(),
        middle.encode().hex().encode(),
        base64.b64encode(raw)[4:20],
        *(base64.b64encode(b"x" * n + raw)[8:24] for n in range(3)),
    }


def holders(system: System, value: str) -> list[str]:
    """The tables with a row, and the files with a piece, that show the value."""
    wanted = spellings(value)
    found = []
    tables = system.sql(
        "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema')"
    )
    for (table,) in tables:
        for (row,) in system.sql(f"SELECT t::text FROM {table} t"):
            if any(one in row.encode() for one in wanted):
                found.append(f"{table}: {row[:300]}")
    for (text,) in system.sql("SELECT query FROM pg_stat_activity WHERE query IS NOT NULL"):
        if any(one in text.encode() for one in wanted):
            found.append(f"a query: {text[:300]}")
    for (packed,) in system.sql("SELECT data FROM payload WHERE data IS NOT NULL"):
        found += ["a payload" for one in wanted if one in zlib.decompress(packed)]
    for file in system.folder.rglob("*"):
        if file.is_file() and not file.is_symlink():
            found += [str(file) for one in wanted if one in read(file)]
    return found


def read(file: Path) -> bytes:
    """A file that may go away under our hands."""
    try:
        return file.read_bytes()
    except OSError:
        return b""


def answers(tenant: TestTenant, run_ids: list[str]) -> str:
    """Everything that the API tells of these runs and of the tenant."""
    paths = ["/runs", "/workflows", "/workflows/all", "/secrets", "/secrets/TOKEN", "/dead-letters"]
    paths += ["/audit?limit=1000", "/audit/export", "/audit/export?format=csv", "/breakers"]
    for run_id in run_ids:
        paths += [
            f"/runs/{run_id}{tail}"
            for tail in ("", "/steps", "/graph", "/events", "/logs?limit=1000")
        ]
        for name in tenant.steps(run_id):
            paths += [f"/runs/{run_id}/steps/{name}/attempts", f"/runs/{run_id}/steps?step={name}"]
    texts = []
    for path in paths:
        answer = tenant.http.get(path)
        assert answer.status_code == 200, (path, answer.text)
        texts.append(answer.text)
    return "\n".join(texts)


def step(name: str, handler: str = "tell", **more: Any) -> dict[str, Any]:
    """A step that gets the secret."""
    args = {"token": TOKEN, **more.pop("args", {})}
    return call(name, handler, args=args, on_error={"value": None}, **more)


def everywhere() -> list[dict[str, Any]]:
    """Steps that use the secret in every way there is, and tell it in every way."""
    return [
        step("output"),
        step("error", args={"how": "error"}, retry=RETRY),
        step("retry", args={"how": "retry"}, retry=RETRY),
        step("abort", args={"how": "abort"}),
        step("skip", args={"how": "skip"}),
        step("snooze", args={"how": "snooze"}),
        step("goes_on", args={"how": "continue"}),
        step("blocking", "tell_blocking"),
        step("cpu", "tell_blocking", queue="cpu"),
        step("cpu_error", "tell_blocking", queue="cpu", args={"how": "error"}),
        step("cached", cache={"key": [TOKEN, 1], "ttl": "1m"}),
        step("repeats", repeat={"until": "${{ output.whole == secrets.TOKEN }}", "max": 2}),
        step("asks", **{"if": "${{ secrets.TOKEN != '' }}"}),
        step("compensated", args={"how": "abort"})
        | {"compensate": {"handler": "test.tell", "args": {"token": TOKEN, "how": "continue"}}},
        {
            **call("items", "tell_item", args={"token": TOKEN}, retry=RETRY),
            "map": {"over": "${{ [0, 1, 2, 3] }}", "batch_size": 4, "on_error": "continue"},
        },
        {
            **call("streamed", "echo", args={"value": "${{ item }}"}),
            "map": {"over": {"handler": "test.tell_source", "args": {"token": TOKEN}}},
        },
        {"name": "over", "handler": "core.echo", "on_error": {"value": 1},
         "map": {"over": "${{ [secrets.TOKEN] }}"}},
        {"name": "child", "workflow": "child", "args": {"t": TOKEN}, "on_error": {"value": 1}},
        call("know", "know", args={"token": TOKEN, "expected": "${{ input.known }}"}),
        {"name": "converts", "handler": "core.echo", "args": {"n": "${{ int(secrets.TOKEN) }}"},
         "on_error": {"value": 1}},
        {"name": "calls", "handler": "core.http", "on_error": {"value": 1},
         "args": {"url": "http://${{ secrets.TOKEN }}.invalid/"}},
    ]  # fmt: skip


def check_hidden(run: dict[str, Any], rows: dict[str, Any], value: str) -> None:
    """What steps said of the secret is there, without it."""
    assert run["output"]["t"] == "***"
    assert run["output"]["all"]["inside"] == "Bearer ***!"
    assert run["output"]["all"]["length"] == len(value)
    assert rows["output"]["output"]["url"] == "https://example.org/?t=***"
    assert rows["error"]["error"]["message"].endswith("x*** in the …")
    assert rows["abort"]["error"]["message"] == "no use with ***"
    assert rows["repeats"]["state"] == "succeeded"
    assert rows["repeats"]["attempt"] == 1
    assert rows["items"]["output"] == [[0, "***"], None, [2, "***"], [3, "***"]]
    assert rows["streamed"]["output"] == [0, "***", {"a": "is ***"}]
    for name in ("over", "child"):
        assert rows[name]["error"]["code"] == "expression"
        assert "kept" in rows[name]["error"]["message"]


def test_it_reaches_handlers_and_nothing_else(tenant: TestTenant, planted: str) -> None:
    tenant.publish("child", [call("a", "noop")])
    tenant.publish("all", everywhere(), output={"all": "${{ steps.output.output }}", "t": TOKEN})
    # the handler knows the value: here alone it goes in by the input, written so that it is not seen
    run = tenant.run(
        "all", {"known": base64.b64encode(planted.encode()).decode()[::-1]}, within_s=60
    )
    rows = tenant.steps(run["id"])
    assert run["state"] == "succeeded", rows
    check_hidden(run, rows, planted)
    told = answers(tenant, [run["id"]])
    assert not [one for one in spellings(planted) if one in told.encode()]
    lines = tenant.http.get(f"/runs/{run['id']}/logs", params={"limit": 1000}).json()["items"]
    kept = {(line["step"], line["message"]) for line in lines}
    assert {(name, "the token is ***") for name in ("output", "blocking", "cpu")} <= kept
    assert lines[0]["fields"]["in"] == "Bearer ***"
    assert holders(tenant.system, planted) == []
    assert "the token is ***" in logs(tenant.system)
    assert "printed ***" in logs(tenant.system)


def logs(system: System) -> str:
    """All that the system's processes have written."""
    return "".join(
        read(file).decode(errors="replace") for file in (system.folder / "logs").rglob("*")
    )


def test_what_is_missing_fails_the_step_without_retry_and_is_named(tenant: TestTenant) -> None:
    warned = tenant.publish(
        "w", [call("a", "echo", args={"t": "${{ secrets.NONE }}"}, retry=RETRY)]
    )
    assert [(one["path"], one["code"]) for one in warned["warnings"]] == [
        ("/steps/0", "unknown_secret")
    ]
    run = tenant.run("w")
    row = tenant.steps(run["id"])["a"]
    assert (row["state"], row["attempt"], row["error"]["code"]) == ("failed", 1, "expression")
    assert row["error"]["message"] == "secrets.NONE: the tenant has no secret NONE"


def test_a_retry_gets_the_value_of_then(tenant: TestTenant, planted: str) -> None:
    tenant.publish("w", [call("a", "tell", args={"token": TOKEN, "how": "error"},
                              retry={"max_attempts": 2, "delay": "1s"})])  # fmt: skip
    run = tenant.submit("w")
    tenant.system.until(
        lambda: tenant.steps(run["id"])["a"]["state"] == "waiting",
    )
    other = f"rotated-{secrets.token_hex(8)}"
    answer = tenant.http.put("/secrets/TOKEN", json={"value": other})
    assert (answer.status_code, answer.json()["version"]) == (200, 2)
    run = tenant.wait(run["id"])
    assert run["state"] == "failed"
    told = answers_of(tenant.http, run["id"])
    assert other not in told
    assert re.search(r"\*\*\*", told)
    secret = tenant.http.get("/secrets/TOKEN").json()
    assert secret["last_used_at"] is not None
    assert [one["version"] for one in secret["versions"]] == [2, 1]


def answers_of(http: httpx.Client, run_id: str) -> str:
    """A run and its steps."""
    return json.dumps(
        [http.get(f"/runs/{run_id}").json(), http.get(f"/runs/{run_id}/steps").json()]
    )
