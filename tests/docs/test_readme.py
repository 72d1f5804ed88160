"""The README's first workflow, done as it says: its files written, its commands run, their answers
compared.  `make up` itself is tests/acceptance/test_make_up.py; here the handlers run in one more
worker beside the session's system, which the README's own variables lead to them."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.reading import ROOT, Block, blocks
from tests.embedded.running import running
from tests.system.running_system import System

pytestmark = pytest.mark.system
URL = "http://127.0.0.1:8000"
README = blocks(ROOT / "README.md")
WORKER = (
    *("-m", "celery", "--quiet", "-A", "orchestrator", "worker", "-n", "readme@%h"),
    *("-Q", "io,cpu", "-c", "1", "-l", "WARNING", "--without-gossip", "--without-mingle"),
)
CHANGES = (
    r'"(id)":"[0-9a-f-]{36}"',
    r'"(created_at|started_at|finished_at)":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"',
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the reader has: a checkout, with the README's files put where it says."""
    (tmp_path / "manage.py").symlink_to(ROOT / "manage.py")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    for block in README:
        if block.file is not None:
            place = tmp_path / block.file
            place.parent.mkdir(exist_ok=True)
            place.write_text(block.text)
    return tmp_path


@pytest.fixture
def worker(system: System, folder: Path) -> Iterator[None]:
    """A worker with the variables of the README's second `make up`."""
    (line,) = (
        b.text.strip() for b in README if b.language == "sh" and b.text.endswith(" make up\n")
    )
    given = dict(word.split("=", 1) for word in shlex.split(line)[:-2])
    path = os.pathsep.join([str(ROOT), given.pop("PYTHONPATH")])
    env = {**system.env, **given, "PYTHONPATH": path}
    with running([sys.executable, *WORKER], env=env, cwd=folder) as process:
        system.until(
            lambda: system.sql(
                "SELECT 1 FROM worker w JOIN handler h ON h.id = ANY (w.handler_ids)"
                " WHERE h.name = 'greeting.look_up' AND w.state = 'active'"
            ),
            within_s=60,
        )
        yield
        process.finish(signal.SIGTERM, within_s=60)


def masked(text: str) -> object:
    """JSON without what differs from run to run, spaces aside."""
    value = json.dumps(json.loads(text), separators=(",", ":"))
    for pattern in CHANGES:
        value = re.sub(pattern, r'"\1":"…"', value)
    return json.loads(value)


def answered(block: Block) -> Block | None:
    """The block that shows what these commands print."""
    after = README[README.index(block) + 1]
    return after if after.language in ("text", "json") and after.file is None else None


def test_the_first_workflow_does_what_the_readme_says(
    system: System, folder: Path, worker: None
) -> None:
    begun = ""
    shown = 0
    for block in README:
        if block.language != "sh" or re.search(r"\bmake\b", block.text):
            continue
        script = block.text.replace(URL, system.url)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", begun + script],
            cwd=folder, env={**system.env, "NO_PROXY": "*"}, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        begun += "".join(re.findall(r"^[A-Z]+=.*\n", script, re.MULTILINE))
        told = answered(block)
        if told is None:
            continue
        shown += 1
        if told.language == "json":
            assert masked(done.stdout) == masked(told.text)
        else:
            assert done.stdout == told.text
    assert shown == 3

    demo = system.client(system.credentials["api_key"])
    run = demo.get("/runs", params={"workflow": "greet"}).json()["items"][0]
    attempts = demo.get(f"/runs/{run['id']}/steps/look_up/attempts").json()["items"]
    assert [attempt["state"] for attempt in attempts] == ["failed", "succeeded"]
    assert "the directory did not answer" in attempts[0]["error"]["traceback"]


def test_the_test_command_is_stated() -> None:
    commands = [block.text for block in README if block.language == "sh"]
    assert commands[0] == "make up\n"
    assert "make test\n" in commands
