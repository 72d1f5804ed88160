"""The command: what it prints, mends and answers, beside a database that is there, empty or gone."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from django.core.management import call_command
from django.test import override_settings

from orchestrator.domain.health import Check, State
from orchestrator.embedded import paths
from orchestrator.models import (
    ServerLoad,
    TenantLoad,
)
from orchestrator.selectors import diagnosis, health
from tests.embedded.running import ROOT
from tests.selectors.test_diagnosis import found
from tests.stats.conftest import Shop, open_shop, shop

__all__ = ["open_shop", "shop"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.thorough]


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    health.refresh()
    yield
    health.refresh()


@pytest.fixture
def dead_port() -> Iterator[int]:
    """A port at which nothing answers, for as long as the test lasts."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def doctor(*arguments: str) -> tuple[str, int]:
    out = io.StringIO()
    try:
        call_command("doctor", *arguments, stdout=out)
    except SystemExit as end:
        return out.getvalue(), int(end.code or 0)
    return out.getvalue(), 0


def test_the_command_prints_mends_and_exits(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "orchestrator.management.commands.doctor.diagnose", lambda: [found("slots")]
    )
    ServerLoad.objects.all().delete()
    ServerLoad.objects.bulk_create(ServerLoad(slot=slot) for slot in range(-1, 16))
    shop.submit(1)
    assert doctor() == (f"ok        slots: {found('slots').detail}\n", 0)
    TenantLoad.objects.update(in_use=1)
    said, code = doctor()
    assert code == 1
    assert "degraded  slots: Acme counts 1 and holds 0" in said
    assert "          → `manage.py doctor --fix`" in said
    said, code = doctor("--fix", "--json")
    assert code == 0
    document = json.loads(said)
    assert document["state"] == "ok"
    assert document["fixed"] == ["1 counts of connections were mended"]
    assert document["findings"][0]["name"] == "slots"
    assert doctor("--fix")[1] == 0


def test_broker_and_channel_layer(monkeypatch: pytest.MonkeyPatch, dead_port: int) -> None:
    monkeypatch.setattr(
        diagnosis, "database_answers", lambda: Check("database", State.DOWN, "gone")
    )
    with override_settings(CELERY_BROKER_URL=f"amqp://127.0.0.1:{dead_port}//"):
        monkeypatch.setattr(paths, "channels_url", lambda: f"redis://127.0.0.1:{dead_port}/0")
        seen = {check.name: check for check in diagnosis.diagnose()}
    assert list(seen) == ["database", "broker", "channel_layer", "disk"]
    assert seen["broker"].state is State.DOWN
    assert seen["channel_layer"].state is State.DOWN
    assert "does not answer" in seen["channel_layer"].detail


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
    assert "DOWN      database:" in done.stdout
    assert "The database that DATABASE_URL names does not answer" in done.stdout
    assert "clock" not in done.stdout


def test_a_database_without_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    def pending(*_: object, **__: object) -> None:
        raise SystemExit(1)

    monkeypatch.setattr(diagnosis.upkeep, "call_command", pending)
    seen = diagnosis.diagnose()
    assert [one.name for one in seen[:2]] == ["database", "migrations"]
    assert "manage.py migrate" in seen[1].mend
