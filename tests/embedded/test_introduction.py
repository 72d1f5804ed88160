"""The introduction against a small server that answers as web does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from orchestrator.embedded import introduction

RUN: dict[str, object] = {
    "state": "succeeded",
    "output": {"name": "Ada"},
    "error": None,
    "started_at": "2026-01-01T00:00:00.000000Z",
    "finished_at": "2026-01-01T00:00:00.312000Z",
}


class Web:
    """Not ready the first time; then a run as `run` says, or a refusal."""

    def __init__(self) -> None:
        self.asked = 0
        self.run: dict[str, object] = RUN
        self.status = 202
        self.ready = True
        self.health: list[tuple[int, str]] = [(200, "ok")]
        """Answers of /health, the last one for ever."""
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/health":
                    assert self.headers["Authorization"] == "Bearer mr_key"
                    status, state = web.health.pop(0) if web.health[1:] else web.health[0]
                    self.answer(status, {"checks": [{"name": "workers", "state": state}]})
                    return
                web.asked += 1
                self.answer(200 if web.ready and web.asked > 1 else 503, {"detail": "warming up"})

            def do_POST(self) -> None:
                assert self.path == "/api/v1/workflows/tutorial/runs?wait=30"
                assert self.headers["Authorization"] == "Bearer mr_key"
                self.rfile.read(int(self.headers["Content-Length"]))
                self.answer(web.status, web.run)

            def answer(self, status: int, body: object) -> None:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *args: object) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Web]:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    (tmp_path / "credentials.json").write_text('{"api_key": "mr_key"}')
    made = Web()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def test_it_waits_until_web_is_ready(web: Web, capsys: pytest.CaptureFixture[str]) -> None:
    assert introduction.main(web.url, None) == 0
    assert web.asked == 2
    assert capsys.readouterr().out == ""


def test_it_waits_until_a_worker_has_registered(web: Web) -> None:
    web.health = [(503, "down"), (503, "down"), (200, "ok"), (200, "down")]
    assert introduction.main(web.url, None) == 0
    assert web.health == [(200, "down")]


@pytest.mark.parametrize("status", [401, 503])
def test_it_serves_where_no_worker_registers_or_the_key_is_refused(
    web: Web, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(introduction, "WORKERS_WITHIN_S", 0.3)
    web.health = [(status, "down")]
    assert introduction.main(web.url, None) == 0


def test_it_serves_without_a_key(web: Web, tmp_path: Path) -> None:
    (tmp_path / "credentials.json").unlink()
    assert introduction.main(web.url, "tutorial") == 0


def test_it_gives_up_with_the_last_answer(
    web: Web, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(introduction, "READY_WITHIN_S", 0.1)
    web.ready = False
    assert introduction.main(web.url, "tutorial") == 1
    assert '503 {"detail": "warming up"}' in capsys.readouterr().out


def test_it_runs_the_tutorial_and_prints_its_output(
    web: Web, capsys: pytest.CaptureFixture[str]
) -> None:
    assert introduction.main(web.url, "tutorial") == 0
    printed = capsys.readouterr().out
    assert printed.startswith("the tutorial workflow succeeded in 312 ms:\n")
    assert '"name": "Ada"' in printed


def test_a_run_that_has_not_ended_or_failed_is_told(
    web: Web, capsys: pytest.CaptureFixture[str]
) -> None:
    web.run = {"state": "failed", "output": None, "error": {"code": "step_failed"}}
    assert introduction.main(web.url, "tutorial") == 1
    printed = capsys.readouterr().out
    assert "the tutorial workflow failed:" in printed
    assert "step_failed" in printed


def test_a_refusal_is_told(web: Web, capsys: pytest.CaptureFixture[str]) -> None:
    web.status, web.run = 404, {"code": "not_found"}
    assert introduction.main(web.url, "tutorial") == 1
    assert "could not be run: 404" in capsys.readouterr().out
