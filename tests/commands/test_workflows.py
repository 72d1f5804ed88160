"""`workflow_publish` and `run_start`."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command

from orchestrator.models import Run, Workflow
from tenants.actors import SYSTEM
from tenants.models import Tenant
from tenants.services import create_tenant

GOOD = """
name: greet
steps:
  - {name: say, handler: core.echo, args: {on: 2026-01-01, big: 18446744073709551616, no: [010, 1e2, 1:30, true, null, -1.5]}}
"""


@pytest.fixture
def tenant(db: None) -> Tenant:
    return create_tenant(slug=f"t{uuid4().hex[:12]}", actor=SYSTEM)


def publish(tenant: Tenant, file: Path, *more: str) -> str:
    out = StringIO()
    call_command("workflow_publish", str(file), "--tenant", tenant.slug, *more, stdout=out)
    return out.getvalue()


def test_publish_yaml_and_json(tenant: Tenant, tmp_path: Path) -> None:
    file = tmp_path / "greet.yaml"
    file.write_text(GOOD)
    assert "would be published" in publish(tenant, file, "--dry-run")
    assert not Workflow.objects.filter(tenant=tenant).exists()
    assert publish(tenant, file).startswith("greet version 1 published")
    same = tmp_path / "greet.json"
    args = {"on": "2026-01-01", "big": 2**64, "no": ["010", 100.0, "1:30", True, None, -1.5]}
    steps = [{"args": args, "handler": "core.echo", "name": "say"}]
    same.write_text(json.dumps({"steps": steps, "name": "greet"}))
    assert publish(tenant, same).startswith("greet version 1 unchanged")


def test_problems_are_listed_with_their_paths(tenant: Tenant, tmp_path: Path) -> None:
    file = tmp_path / "w.yaml"
    file.write_text(
        "steps:\n  - {name: a, handler: core.echo, retry: {max_attemps: 3}, timeout: x}\n"
    )
    err = StringIO()
    with pytest.raises(SystemExit) as stop:
        call_command("workflow_publish", str(file), "--tenant", tenant.slug, stderr=err)
    assert stop.value.code == 1
    lines = err.getvalue().splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "/",
        "/steps/0/retry/max_attemps",
        "/steps/0/timeout",
    ]
    assert "did you mean max_attempts?" in lines[1]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("w.yaml", "a: [", "is not a definition"),
        ("w.yaml", "a: 1\na: 2\n", "stands twice"),
        ("w.yaml", "!!python/object:os.system {}", "is not a definition"),
        ("w.json", "{", "is not a definition"),
        ("absent.yaml", None, "cannot be read"),
    ],
)
def test_unreadable_files(
    tenant: Tenant, tmp_path: Path, name: str, text: str | None, told: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(CommandError, match=told):
        publish(tenant, tmp_path / name)


def test_run_start(tenant: Tenant, tmp_path: Path) -> None:
    file = tmp_path / "greet.yaml"
    file.write_text(GOOD)
    publish(tenant, file)
    out = StringIO()
    call_command("run_start", "greet", "--tenant", tenant.slug, "--input", str(2**64), stdout=out)
    run = json.loads(out.getvalue())
    assert (run["workflow"], run["state"], run["input"]) == ("greet", "queued", 2**64)
    assert Run.objects.filter(tenant=tenant, pk=run["id"]).exists()


def test_refusals_in_one_sentence(tenant: Tenant, tmp_path: Path) -> None:
    file = tmp_path / "greet.yaml"
    file.write_text(GOOD)
    publish(tenant, file)
    with pytest.raises(CommandError, match="is not JSON"):
        call_command("run_start", "greet", "--tenant", tenant.slug, "--input", "{")
    with pytest.raises(CommandError, match="no such workflow"):
        call_command("run_start", "nope", "--tenant", tenant.slug)
    with pytest.raises(CommandError, match="no tenant"):
        call_command("run_start", "greet", "--tenant", "nope")
    with pytest.raises(CommandError, match="no tenant"):
        call_command("workflow_publish", str(file), "--tenant", "nope")


def test_run_start_lists_problems_of_the_input(tenant: Tenant, tmp_path: Path) -> None:
    file = tmp_path / "greet.yaml"
    file.write_text(GOOD + "input_schema: {type: integer}\n")
    publish(tenant, file)
    err = StringIO()
    with pytest.raises(SystemExit):
        call_command("run_start", "greet", "--tenant", tenant.slug, "--input", '"x"', stderr=err)
    assert err.getvalue().startswith("/input: ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("? [a, b]\n: 1\n", "a key is text"),
        ("steps: []\npriority: " + "9" * 5_000 + "\n", "digits"),
    ],
)
def test_what_yaml_can_say_and_json_cannot_is_refused(
    tenant: Tenant, tmp_path: Path, text: str, said: str
) -> None:
    file = tmp_path / "w.yaml"
    file.write_text(text)
    with pytest.raises(CommandError, match="is not a definition") as stop:
        publish(tenant, file)
    assert said in str(stop.value)
