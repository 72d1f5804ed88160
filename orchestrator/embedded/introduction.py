"""Waits until web answers, and runs a workflow through the API the first time.

A program of its own (`python -m orchestrator.embedded.introduction URL [WORKFLOW]`), so that the
supervisor goes on watching while it waits.
"""

from __future__ import annotations

import http.client
import json
import sys
import time
import urllib.error
import urllib.request
from datetime import datetime
from typing import Any

from orchestrator.embedded import paths

READY_WITHIN_S = 60.0
WORKERS_WITHIN_S = 15.0
RUN_WAIT_S = 30
# Straight to this machine, whatever proxy the environment names.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_INPUT = {"user_id": 42}


def main(url: str, workflow: str | None) -> int:
    """Print what happened; 0 when web is ready and the run, if one was asked for, has succeeded."""
    problem = wait_until_ready(url)
    if problem is not None:
        print(f"web is not ready after {READY_WITHIN_S:.0f} s: {problem}")
        return 1
    api_key = _api_key()
    if workflow is None or api_key is None:
        wait_for_workers(url, api_key)
        return 0
    try:
        run = start_run(url, workflow, api_key)
    except (OSError, ValueError, http.client.HTTPException) as error:
        print(f"the {workflow} workflow could not be run: {describe(error)}")
        return 1
    print(f"the {workflow} workflow {run['state']}{_duration(run)}:")
    for line in json.dumps(run.get("output") or run.get("error"), indent=2).splitlines():
        print(f"  {line}")
    return 0 if run["state"] == "succeeded" else 1


def wait_until_ready(url: str) -> str | None:
    """None once /health/ready says so; else, when time is up, what it said last."""
    end = time.monotonic() + READY_WITHIN_S
    while True:
        try:
            with _OPENER.open(f"{url}/health/ready", timeout=5):
                return None
        except (OSError, http.client.HTTPException) as error:
            if time.monotonic() > end:
                return describe(error)
        time.sleep(0.05)


def wait_for_workers(url: str, api_key: str | None) -> None:
    """Until a worker has registered, so that its handlers are known to whoever publishes next.

    Gives up when time is up or the key is refused: a worker that is missing is no reason not to serve."""
    end = time.monotonic() + WORKERS_WITHIN_S
    request = urllib.request.Request(  # noqa: S310 - our own
        f"{url}/health", headers={"Authorization": f"Bearer {api_key}"}
    )
    while api_key is not None and time.monotonic() < end:
        try:
            with _OPENER.open(request, timeout=5) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            if error.code != 503:  # a part is down: its answer still says which
                return
            text = error.read()
        except (OSError, http.client.HTTPException):
            text = b"{}"
        checks = json.loads(text).get("checks", ())
        if any(check["name"] == "workers" and check["state"] != "down" for check in checks):
            return
        time.sleep(0.1)


def start_run(url: str, workflow: str, api_key: str) -> dict[str, Any]:
    """Submit one run and wait for its end, 30 s at most; the Run as the API gives it."""
    request = urllib.request.Request(  # noqa: S310 - our own
        f"{url}/api/v1/workflows/{workflow}/runs?wait={RUN_WAIT_S}",
        data=json.dumps({"input": _INPUT}).encode(),
        headers={"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"},
        method="POST",
    )
    with _OPENER.open(request, timeout=RUN_WAIT_S + 10) as answer:
        run: dict[str, Any] = json.load(answer)
    return run


def _api_key() -> str | None:
    """The demo tenant's key, unless the data came without one."""
    try:
        return str(json.loads(paths.credentials_file().read_text())["api_key"])
    except (OSError, ValueError, KeyError):
        return None


def describe(error: Exception) -> str:
    """An HTTP failure with the problem's detail, where the server gave one."""
    if isinstance(error, urllib.error.HTTPError):
        return f"{error.code} {error.read(2000).decode(errors='replace')}"
    return str(error) or type(error).__name__


def _duration(run: dict[str, Any]) -> str:
    """How long the run took, out of its own timestamps."""
    from_time, to_time = run.get("started_at"), run.get("finished_at")
    if not from_time or not to_time:
        return ""
    return f" in {(_seconds(to_time) - _seconds(from_time)) * 1000:.0f} ms"


def _seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None))
