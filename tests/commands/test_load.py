"""`load`, beside the session's running system."""

from __future__ import annotations

import re
import socket
from datetime import datetime
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from orchestrator.management import load
from orchestrator.management.load import Driven, Plan, Target, drive, follow, quantile
from tests.system.running_system import System, TestTenant
from tests.system.shapes import call

system_test = pytest.mark.system


@system_test
def test_a_closed_loop_submits_so_many_and_tells_what_became_of_them(
    system: System, tenant: TestTenant
) -> None:
    done = system.manage(
        "load", "--tenant", tenant.slug, "--runs", "40", "--clients", "3", "--url", system.url
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "load: closed loop, 3 clients" in done.stdout
    assert re.search(r"accepted +40 runs, [\d.]+/s", done.stdout)
    assert re.search(r"latency +p50 [\d.]+ ms  p95 [\d.]+ ms  p99 [\d.]+ ms", done.stdout)
    assert re.search(r"errors +none", done.stdout)
    assert re.search(r"runs +succeeded 40", done.stdout)
    assert re.search(r"queue latency +p50", done.stdout)
    assert len(tenant.http.get("/runs", params={"limit": 100}).json()["items"]) == 40
    [(revoked,)] = system.sql(
        "SELECT revoked_at IS NOT NULL FROM api_key WHERE tenant_id = %s AND name = 'load'",
        tenant.id,
    )
    assert revoked


@system_test
def test_the_running_system_is_found_by_its_folder(system: System, tenant: TestTenant) -> None:
    assert system.env["PORT"] == "0"
    done = system.manage("load", "--tenant", tenant.slug, "--runs", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (system.folder / "address").read_text() == f"{system.url}\n"


@system_test
def test_an_open_loop_keeps_its_rate_and_its_time_and_fails_where_runs_do(
    system: System, tenant: TestTenant
) -> None:
    tenant.publish("breaks", [call("a", "echo", args={"value": "${{ input.no }}"})])
    out = StringIO()
    with pytest.raises(SystemExit) as stop:
        call_command(
            *("load", "--workflow", "breaks", "--rate", "20/s", "--seconds", "1"),
            *("--input", '{"x": 1}', "--url", system.url, "--key", tenant.key),
            stdout=out,
        )
    assert stop.value.code == 1
    assert "breaks: open loop at 20/s" in out.getvalue()
    assert re.search(r"accepted +20 runs", out.getvalue())
    assert re.search(r"runs +failed 20", out.getvalue())


@system_test
def test_errors_are_counted_by_their_codes(system: System, tenant: TestTenant) -> None:
    plan = Plan("nothing", b'{"input":{}}', clients=2, runs=5)
    driven = drive(Target(system.url, tenant.key), plan)
    assert driven.errors == {"workflow_not_found": 5}
    assert driven.first_refusal == "There is no such workflow."
    tenant.publish("strict", [call("a", "noop")], input_schema={"required": ["n"]})
    strict = drive(Target(system.url, tenant.key), Plan("strict", b"{}", clients=1, runs=1))
    assert strict.errors == {"invalid_input": 1}
    assert "/input: " in strict.first_refusal
    assert '"n"' in strict.first_refusal
    assert driven.accepted == []
    assert follow(Target(system.url, tenant.key), plan, driven, within_s=1).states == {}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "Say which tenant: --tenant, or --key."),
        (("--tenant", "nobody"), "There is no tenant nobody."),
        (("--key", "k", "--input", "{"), "--input is not JSON"),
        (("--key", "k", "--url", "ftp://here"), "ftp://here is no address"),
        (("--rate", "0"), "0 is not a number above 0"),
        (("--rate", "fast"), "fast is not a number above 0"),
        (("--clients", "x"), "x is not a whole number above 0"),
    ],
)
def test_refusals_are_one_sentence(args: tuple[str, ...], said: str) -> None:
    with pytest.raises(CommandError, match=re.escape(said)):
        call_command("load", *args)


@system_test
def test_a_refused_key_is_told_in_the_servers_words(system: System) -> None:
    with pytest.raises(CommandError, match=r"^401 .*key.*\.$"):
        call_command("load", "--key", "mr_wrong", "--workflow", "tutorial", "--url", system.url)


def test_where_nothing_answers_it_says_so() -> None:
    with socket.socket() as taken:  # bound and never listening: nobody else can answer there
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(CommandError, match=f"Nothing answers at {url}"):
            call_command("load", "--key", "mr_any", "--url", url)


def test_without_an_answer_submissions_count_as_errors() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        target = Target(f"http://127.0.0.1:{taken.getsockname()[1]}", "key")
        driven = drive(target, Plan("any", b"{}", clients=1, seconds=0.05))
    assert set(driven.errors) == {"no_answer"}
    assert driven.accepted_per_s == 0.0


def test_quantiles_are_values_that_were_measured() -> None:
    values = [4.0, 1.0, 3.0, 2.0]
    assert [quantile(values, share) for share in (0.0, 0.25, 0.5, 0.95, 1.0)] == [1, 1, 2, 4, 4]


def test_nothing_driven_is_no_rate() -> None:
    assert Driven(began=datetime.now().astimezone()).accepted_per_s == 0.0
    assert load.DEFINITION["name"] == load.WORKFLOW
