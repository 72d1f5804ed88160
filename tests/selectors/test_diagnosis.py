from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.utils import timezone

from orchestrator.models import Worker
from orchestrator.models.workers import Duty
from orchestrator.selectors.diagnosis import Finding, diagnose
from tests.embedded.running import ROOT


@pytest.fixture
def dead_port() -> Iterator[int]:
    """A port at which nothing answers, for as long as the test lasts."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def found(name: str) -> Finding:
    return next(finding for finding in diagnose() if finding.name == name)


def tick(name: str, *, ago_s: float, error: str = "") -> None:
    at = timezone.now() - timedelta(seconds=ago_s)
    Duty.objects.create(name=name, interval_ms=100, ticked_at=at, error=error)


@pytest.mark.django_db
def test_database_and_migrations_are_well() -> None:
    assert found("database").state == "ok"
    assert found("migrations").state == "ok"


@pytest.mark.django_db
def test_clock() -> None:
    assert found("clock").state == "wrong"
    tick("due", ago_s=1)
    assert found("clock").state == "ok"
    tick("retain", ago_s=1, error="DiskFull: no space left")
    assert found("clock").state == "warning"
    assert "retain (DiskFull: no space left)" in found("clock").message
    tick("reap", ago_s=60)
    assert found("clock").state == "wrong"
    assert "reap" in found("clock").message
    assert "manage.py clock" in found("clock").mend


@pytest.mark.django_db
def test_workers() -> None:
    assert found("workers").state == "wrong"
    worker = Worker.objects.create(name="w", host="h", pid=1, queues=["io", "cpu"])
    assert found("workers").message == "1 processes serve cpu, io"
    Worker.objects.filter(pk=worker.pk).update(seen_at=timezone.now() - timedelta(minutes=1))
    assert found("workers").state == "wrong"


@pytest.mark.django_db
def test_ready_work_and_handlers_are_well_where_nothing_waits() -> None:
    assert found("ready work").state == "ok"
    assert found("handlers").state == "ok"


@pytest.mark.django_db
def test_broker_and_channel_layer(monkeypatch: pytest.MonkeyPatch, dead_port: int) -> None:
    monkeypatch.setenv("BROKER_URL", f"amqp://127.0.0.1:{dead_port}//")
    monkeypatch.setenv("DATABASE_URL", "postgresql://somewhere")
    monkeypatch.delenv("CHANNELS_URL", raising=False)
    assert found("broker").state == "warning"
    assert "BROKER_URL" in found("broker").mend
    assert found("channel layer").mend == "Set CHANNELS_URL to a Redis."
    monkeypatch.setenv("CHANNELS_URL", f"redis://127.0.0.1:{dead_port}/0")
    assert "does not answer" in found("channel layer").message


def test_a_database_that_is_gone_is_one_finding_and_exit_code_1(dead_port: int) -> None:
    env = {**os.environ, "DATABASE_URL": f"postgresql://u@127.0.0.1:{dead_port}/d"}
    done = subprocess.run(
        [sys.executable, "manage.py", "doctor"],
        cwd=ROOT,
        env={**env, "BROKER_URL": f"redis://127.0.0.1:{dead_port}/0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "WRONG    database:" in done.stdout
    assert "The database that DATABASE_URL names does not answer" in done.stdout
    assert "clock" not in done.stdout
