from __future__ import annotations

import json
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from orchestrator.embedded import up
from orchestrator.embedded.errors import StartError
from tests.embedded.running import environment, running, wait_until_gone

UP = [sys.executable, "-m", "orchestrator.embedded"]


def test_a_port_in_use_is_one_sentence_with_the_mend(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with running(UP, env=environment(folder, PORT=str(port))) as handle:
            assert handle.finish() == 1
    sentence = (
        f"Cannot listen on port {port} of 127.0.0.1 (address already in use): stop the program "
        f"that uses it, or choose another port, for example `make up PORT={port + 1}`."
    )
    assert handle.lines == [sentence]


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"PORT": "eighty"}, "PORT=eighty is not a port"),
        ({"PORT": "70000"}, "PORT=70000 is not a port"),
        ({"HOST": "192.0.2.1"}, "Cannot listen on port 0 of 192.0.2.1"),
        ({"HOST": "no.such.host.invalid"}, "HOST=no.such.host.invalid is not an address"),
        ({"WORKER_CONCURRENCY": "two"}, "WORKER_CONCURRENCY=two is no number of processes"),
        ({"DATA_DIR": "/dev/null/data"}, "The data folder /dev/null/data is a file"),
        ({"DATABASE_URL": "postgresql://u@127.0.0.1:1/d"}, "The database that DATABASE_URL names"),
        ({"PG_BIN_DIR": "/nowhere"}, "PG_BIN_DIR=/nowhere holds no working initdb"),
    ],
)
def test_a_refusal_is_the_last_line_and_the_exit_code_is_1(
    folder: Path, variables: dict[str, str], sentence: str
) -> None:
    with running(UP, env=environment(folder, **variables)) as handle:
        assert handle.finish() == 1
    assert handle.lines[-1].startswith(sentence)
    wait_until_gone(folder)


def test_a_second_system_on_the_same_data_is_refused(folder: Path) -> None:
    argv = [sys.executable, "-m", "tests.embedded.driver", json.dumps({"parts": {}})]
    with running(argv, env=environment(folder)) as first:
        first.wait_for("ready")
        with running(UP, env=environment(folder)) as second:
            assert second.finish() == 1
        assert f"(process {first.process.pid}) uses the data folder" in second.lines[-1]
        assert first.finish(signal.SIGTERM) == 0


def test_port_0_finds_a_free_one() -> None:
    first, second = up.free_address("127.0.0.1", "0"), up.free_address("127.0.0.1", "0")
    assert first.port > 0
    assert second.port > 0
    with pytest.raises(StartError):
        up.free_address("127.0.0.1", "-1")


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("", "http://127.0.0.1:8000"),
        ("10.0.0.5", "http://10.0.0.5:8000"),
        ("::1", "http://[::1]:8000"),
    ],
)
def test_the_address_that_this_machine_reaches(host: str, url: str) -> None:
    assert up.Address(host, 8000).url == url


def test_children_find_code_and_data_from_any_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_DIR", "data")
    monkeypatch.setenv("PYTHONPATH", "/mine")
    monkeypatch.delenv("ALLOWED_HOSTS", raising=False)
    env = up.child_environment(up.Address("127.0.0.1", 1))
    assert env["DATA_DIR"] == str(tmp_path / "data")
    assert env["PYTHONPATH"].split(os.pathsep)[1:] == ["/mine"]
    assert "ALLOWED_HOSTS" not in env


def test_another_host_is_allowed_to_be_called_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ALLOWED_HOSTS", raising=False)
    hosts = up.child_environment(up.Address("10.0.0.5", 1))["ALLOWED_HOSTS"].split(",")
    assert {"10.0.0.5", "localhost", socket.gethostname()} <= set(hosts)
    hosts = up.child_environment(up.Address("0.0.0.0", 1))["ALLOWED_HOSTS"].split(",")
    assert "0.0.0.0" not in hosts
    monkeypatch.setenv("ALLOWED_HOSTS", "mine")
    assert up.child_environment(up.Address("0.0.0.0", 1))["ALLOWED_HOSTS"] == "mine"


def test_the_worker_serves_both_queues_and_dies_with_the_supervisor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORKER_CONCURRENCY", "3")
    worker = up.programs(up.Address("127.0.0.1", 1))["worker"]
    command = " ".join(worker.command)
    assert "-A orchestrator worker -Q io,cpu -c 3" in command
    assert "--without-gossip --without-mingle" in command
    assert worker.death_signal == signal.SIGKILL


def test_lines_about_requests_are_kept_and_not_shown() -> None:
    web = up.programs(up.Address("127.0.0.1", 1))["web"]
    at = "2026-01-02T00:00:00.250000Z"
    for shown, line in (
        (False, f"{at} INFO access: GET /api/v1/runs status=200"),
        (False, f'{{"at": "{at}", "level": "info", "logger": "access", "message": "GET /"}}'),
        (True, f"{at} WARNING django.request: Not Found: /access"),
    ):
        assert web.shows(line) is shown


def test_credentials_that_cannot_be_read_are_none(tmp_path: Path) -> None:
    file = tmp_path / "credentials.json"
    assert up.read_credentials(file) is None
    file.write_text("{")
    assert up.read_credentials(file) is None
    file.write_text('{"user": "admin"}')
    assert up.read_credentials(file) == {"user": "admin"}
