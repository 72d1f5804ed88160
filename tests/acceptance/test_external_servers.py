"""The system on servers from outside: PostgreSQL 15 or newer, and Redis or RabbitMQ as broker."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import external
from tests.embedded.running import ROOT, environment, processes_of, running, wait_until_gone

pytestmark = [pytest.mark.external, pytest.mark.system]


def ill(env: dict[str, str]) -> list[dict[str, str]]:
    """What the doctor finds, but for how the machine's PostgreSQL is set up: that is not ours."""
    doctor = subprocess.run(
        [sys.executable, "manage.py", "doctor", "--json"],
        cwd=ROOT, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found: list[dict[str, str]] = json.loads(doctor.stdout)["findings"]
    return [
        one
        for one in found
        if one["state"] == "down"
        or (one["state"] == "degraded" and one["name"] not in ("settings", "database"))
    ]


def test_up_runs_the_tutorial_on_external_servers_and_starts_none(tmp_path: Path) -> None:
    with external.servers() as addresses:
        env = environment(tmp_path, **addresses)
        with running([sys.executable, "manage.py", "up"], env=env) as handle:
            handle.wait_for("Ctrl-C stops all of it", within_s=120)
            handle.wait_for(r"the tutorial workflow succeeded in \d+ ms")
            commands = "\n".join(processes_of(tmp_path).values())
            assert "celery" in commands
            assert not re.search(r"bin/postgres -D|valkey-server", commands)
            until = time.monotonic() + 60
            while found := ill(env):  # what begins may be slow at first
                assert time.monotonic() < until, found
                time.sleep(1)
            assert handle.finish(signal.SIGINT) == 0
        wait_until_gone(tmp_path)
    assert not (tmp_path / "postgres").exists()
    assert not (tmp_path / "valkey").exists()
