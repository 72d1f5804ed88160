from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.embedded.running import ROOT, Running, driver, environment, running, wait_until_gone

pytestmark = pytest.mark.system
TALK = "import sys, time; print('hello', flush=True); time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
WITH_CHILD = (
    "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
    "print('has a child', flush=True); time.sleep(600)"
)


def spec(parts: dict[str, str], **more: object) -> str:
    commands = {name: [sys.executable, "-c", code] for name, code in parts.items()}
    return json.dumps({"parts": commands, **more})


def pid_of(handle: Running, part: str) -> int:
    """The process of a part, found as the supervisor's child in the order of starting."""
    listed = Path(f"/proc/{handle.process.pid}/task/{handle.process.pid}/children").read_text()
    names = {int(pid): Path(f"/proc/{pid}/cmdline").read_text() for pid in listed.split()}
    return next(pid for pid, command in names.items() if part in command)


def test_output_is_prefixed_kept_and_stopping_leaves_nothing(folder: Path) -> None:
    with running(driver(spec({"one": TALK, "two": TALK})), env=environment(folder)) as handle:
        handle.wait_for(r"^ +one \| hello$")
        handle.wait_for(r"^ +two \| hello$")
        assert handle.finish(signal.SIGINT) == 0
    assert handle.lines[-1].endswith("stopped")
    assert (folder / "logs" / "one.log").read_text() == "hello\n"
    wait_until_gone(folder)


def test_a_part_that_dies_is_named_and_started_again_within_two_seconds(folder: Path) -> None:
    with running(driver(spec({"one": TALK})), env=environment(folder)) as handle:
        handle.wait_for("hello")
        died_at = time.monotonic()
        os.kill(pid_of(handle, "hello"), signal.SIGKILL)
        handle.wait_for("one was killed by SIGKILL")
        handle.wait_for("hello", times=2)
        assert time.monotonic() - died_at < 2
        assert handle.finish(signal.SIGTERM) == 0


def test_a_part_that_keeps_dying_is_started_with_growing_pauses(folder: Path) -> None:
    code = "print('tried', flush=True); raise SystemExit(3)"
    with running(driver(spec({"steady": TALK, "one": code})), env=environment(folder)) as handle:
        handle.wait_for(r"exited with 3; it is started again in [1-9]", within_s=30)
        assert len(re.findall("exited with 3; it is started again at once", handle.text)) >= 10
        assert handle.finish(signal.SIGTERM) == 0


def test_parts_stop_one_after_the_other_in_the_given_order(folder: Path) -> None:
    slow = (
        "import signal, sys, time\n"
        "def bye(*_):\n  time.sleep(0.2); print('bye', flush=True); sys.exit()\n"
        "signal.signal(signal.SIGTERM, bye); print('hello', flush=True); time.sleep(600)"
    )
    order = ["c", "a", "b"]
    text = spec({"a": slow, "b": slow, "c": slow}, order=order)
    with running(driver(text), env=environment(folder)) as handle:
        handle.wait_for("hello", times=3)
        assert handle.finish(signal.SIGTERM) == 0
    assert re.findall(r"(\w) \| bye", handle.text) == order


def test_a_part_that_will_not_stop_is_killed_with_all_it_started(folder: Path) -> None:
    text = spec({"one": STUBBORN, "two": WITH_CHILD}, stop_s=0.3)
    with running(driver(text), env=environment(folder)) as handle:
        handle.wait_for("deaf")
        handle.wait_for("has a child")
        assert handle.finish(signal.SIGTERM) == 0
    assert "one did not stop in time and is killed" in handle.text
    wait_until_gone(folder)


def test_kill_9_of_the_supervisor_leaves_no_part(folder: Path) -> None:
    with running(driver(spec({"one": TALK, "two": TALK})), env=environment(folder)) as handle:
        handle.wait_for("hello", times=2)
        handle.finish(signal.SIGKILL)
    wait_until_gone(folder)


def test_a_reader_that_goes_away_stops_nothing(folder: Path) -> None:
    chatty = "import time\nwhile True: print('x' * 500, flush=True); time.sleep(0.001)"
    argv, log = driver(spec({"one": chatty})), folder / "logs" / "one.log"
    process = subprocess.Popen(argv, env=environment(folder), cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        size, end = log.stat().st_size, time.monotonic() + 20
        while log.stat().st_size < size + 100_000:
            assert time.monotonic() < end
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
    wait_until_gone(folder)
