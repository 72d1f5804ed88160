from __future__ import annotations

import json
import signal
import stat
import subprocess
from pathlib import Path

import pytest
import redis

from orchestrator.embedded import paths
from orchestrator.embedded.binaries import find_valkey
from tests.embedded.running import driver, environment, running, wait_until_gone

pytestmark = pytest.mark.system
VALKEY = json.dumps({"valkey": True, "order": ["broker"]})


def client(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> redis.Redis:
    monkeypatch.setenv("DATA_DIR", str(data_dir))
    for name in ("BROKER_URL", "CHANNELS_URL"):
        monkeypatch.delenv(name, raising=False)
    url = paths.channels_url()
    assert url is not None
    return redis.Redis.from_url(url)


def test_it_serves_on_a_closed_socket_alone_and_keeps_what_it_was_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for expected in (None, b"kept"):
        with running(driver(VALKEY), env=environment(folder)) as handle:
            handle.wait_for(r"up \| ready")
            with client(folder, monkeypatch) as broker:
                assert broker.get("key") == expected
                broker.set("key", "kept")
                assert broker.config_get("port") == {"port": "0"}
            socket = folder / "valkey" / "valkey.sock"
            assert stat.S_IMODE(socket.stat().st_mode) == 0o700
            assert handle.finish(signal.SIGTERM) == 0
    wait_until_gone(folder)


def test_a_server_left_over_by_an_earlier_run_is_stopped(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = folder / "valkey"
    home.mkdir(mode=0o700)
    options = ["--port", "0", "--unixsocket", str(home / "valkey.sock")]
    old = subprocess.Popen([str(find_valkey()), *options], cwd=home, stdout=subprocess.DEVNULL)
    try:
        with running(driver(VALKEY), env=environment(folder)) as handle:
            old.wait(20)
            handle.wait_for(r"up \| ready")
            with client(folder, monkeypatch) as broker:
                assert broker.ping()
            assert handle.finish(signal.SIGTERM) == 0
    finally:
        old.kill()
        old.wait()


def test_a_broken_log_is_told_with_the_mend(folder: Path) -> None:
    with running(driver(VALKEY), env=environment(folder)) as handle:
        handle.wait_for(r"up \| ready")
        assert handle.finish(signal.SIGTERM) == 0
    for file in (folder / "valkey" / "appendonlydir").glob("*"):
        file.write_bytes(b"nonsense\r\n" * 10)
    with running(driver(VALKEY), env=environment(folder)) as handle:
        assert handle.finish() == 1
    assert "The broker in" in handle.lines[-1]
    assert "remove the folder (it holds wake-up hints only" in handle.lines[-1]
