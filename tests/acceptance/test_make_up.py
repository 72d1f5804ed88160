"""`make up` in a fresh clone, as this user and, when the tests run as root, as an ordinary one."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.embedded.introduction import wait_until_ready
from tests.embedded.running import (
    ROOT,
    Running,
    environment,
    processes_of,
    running,
    wait_until_gone,
    without_coverage,
)
from tests.embedded.users import users

pytestmark = [pytest.mark.acceptance, pytest.mark.system]
READY_WITHIN_S = 240.0
SECOND_START_S = 10.0


@pytest.fixture(params=users(), ids=lambda user: user or "this user")
def user(request: pytest.FixtureRequest) -> str | None:
    found: str | None = request.param
    return found


@pytest.fixture
def clone(user: str | None) -> Iterator[Path]:
    """What git would give a user who cloned the present state, in an empty folder of theirs."""
    made = Path(tempfile.mkdtemp(prefix="mr-up-"))
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, made / name)
    if user is not None:
        for place in (made, *made.rglob("*")):
            shutil.chown(place, user)
    yield made
    shutil.rmtree(made, ignore_errors=True)


def variables(clone: Path, user: str | None) -> dict[str, str]:
    """What a login shell would have, without this test run's own settings."""
    env = without_coverage(environment(clone / ".data"))
    for name in ("DATA_DIR", "PYTHONPATH", "VIRTUAL_ENV", "DJANGO_SETTINGS_MODULE", "MAKEFLAGS"):
        env.pop(name, None)
    if user is not None:
        env |= {"HOME": str(clone), "USER": user, "PATH": "/usr/local/bin:/usr/bin:/bin"}
    return env


def manage(clone: Path, user: str | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(clone / ".venv" / "bin" / "python"), str(clone / "manage.py"), *arguments],
        env=variables(clone, user),
        cwd="/",
        user=user,
        group=None if user is None else pwd.getpwnam(user).pw_gid,
        extra_groups=None if user is None else [],
        capture_output=True,
        text=True,
        check=False,
    )


def is_well(clone: Path, user: str | None) -> None:
    """Until the doctor finds nothing: what has just begun on a busy machine may be slow at first."""
    until = time.monotonic() + 60
    while (doctor := manage(clone, user, "doctor")).returncode != 0:
        assert time.monotonic() < until, doctor.stdout + doctor.stderr
        time.sleep(1)


def url_of(handle: Running) -> str:
    found = re.search(r"Millrace runs at (\S+)", handle.wait_for("Millrace runs at"))
    assert found is not None
    return found[1]


def call(url: str, key: str = "") -> Any:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=20) as answer:
        return json.load(answer)


def press_ctrl_c(handle: Running) -> None:
    """What a terminal does: SIGINT to the whole foreground group, make and the supervisor."""
    os.killpg(handle.process.pid, signal.SIGINT)
    handle.finish()


def test_a_fresh_clone_serves_shows_the_tutorial_and_stops_without_a_trace(
    clone: Path, user: str | None
) -> None:
    argv, env = ["make", "up"], variables(clone, user)
    with running(argv, env=env, cwd=clone, user=user) as handle:
        handle.wait_for("Ctrl-C stops all of it", within_s=READY_WITHIN_S)
        url = url_of(handle)
        handle.wait_for(r"the tutorial workflow succeeded in \d+ ms")
        file = clone / ".data" / "credentials.json"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        credentials = json.loads(file.read_text())
        handle.wait_for(rf"login +admin / {re.escape(credentials['password'])}")
        handle.wait_for(rf"API key +{re.escape(credentials['api_key'])}")
        runs = call(f"{url}/api/v1/runs", credentials["api_key"])["items"]
        assert [(run["workflow"], run["state"]) for run in runs] == [("tutorial", "succeeded")]
        is_well(clone, user)
        restart_each_part(handle, clone)
        assert wait_until_ready(url) is None
        call(f"{url}/api/v1/runs", credentials["api_key"])
        press_ctrl_c(handle)
    wait_until_gone(clone)
    stopped = re.findall(r"^ +up \| (.*)$", handle.text, re.MULTILINE)
    assert stopped[-2:] == ["stopping", "stopped"]

    told = manage(clone, user, "tenant_create", "late")
    assert told.returncode == 1
    assert told.stderr.count("\n") == 1
    assert "is not running: start it with `make up`" in told.stderr

    assert fastest_start(argv, env=env, clone=clone, user=user) < SECOND_START_S
    with running(argv, env=env, cwd=clone, user=user) as handle:
        handle.wait_for("Ctrl-C stops all of it")
        assert "tutorial workflow" not in handle.text
        handle.wait_for(rf"API key +{re.escape(credentials['api_key'])}")
        assert len(call(f"{url_of(handle)}/api/v1/runs", credentials["api_key"])["items"]) == 1
        os.killpg(
            handle.process.pid, signal.SIGKILL
        )  # make, and with it nothing that could tidy up
        supervisors = [
            p for p, command in processes_of(clone).items() if "orchestrator.embedded" in command
        ]
        for pid in supervisors:
            os.kill(pid, signal.SIGKILL)
    wait_until_gone(clone)


def fastest_start(argv: list[str], *, env: dict[str, str], clone: Path, user: str | None) -> float:
    """Seconds of a start on data that is there; on a busy machine the best of three."""
    took = []
    for _ in range(3):
        began = time.monotonic()
        with running(argv, env=env, cwd=clone, user=user) as handle:
            handle.wait_for("Ctrl-C stops all of it")
            took.append(time.monotonic() - began)
            press_ctrl_c(handle)
        wait_until_gone(clone)
        if took[-1] < SECOND_START_S:
            break
    return min(took)


def restart_each_part(handle: Running, clone: Path) -> None:
    """Kill every part with -9, one after the other; each is named and runs again within 2 s."""
    marks = {
        "web": "uvicorn",
        "clock": "manage.py clock",
        "broker": "valkey-server",
        "database": "bin/postgres -D",
        "worker": "celery",
    }
    for name, mark in marks.items():
        before = oldest(clone, mark)
        died_at = time.monotonic()
        os.kill(before, signal.SIGKILL)
        handle.wait_for(f"{name} was killed by SIGKILL; it is started again at once")
        while oldest(clone, mark) in (before, 0):
            assert time.monotonic() - died_at < 2, f"{name} is not back"
            time.sleep(0.01)


def oldest(clone: Path, mark: str) -> int:
    """The first process with that in its command line; 0: there is none."""
    return min((pid for pid, command in processes_of(clone).items() if mark in command), default=0)
