"""A whole system as a user starts it, and what tests do with it."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg

from tests.embedded.running import ROOT, Running, environment, running

HANDLERS = ",".join(
    f"tests.system.{name}"
    for name in (
        "handlers",
        "saga_handlers",
        "map_handlers",
        "connection_handlers",
        "secret_handlers",
    )
)
_numbers = itertools.count(1)
TERMINAL = ("succeeded", "failed", "cancelled")


@dataclass
class TestTenant:
    """A tenant of its own for a test, and the API with its key."""

    __test__ = False
    slug: str
    id: int
    key: str
    http: httpx.Client
    system: System

    def publish(self, name: str, steps: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        """Publish a workflow; it must be accepted."""
        answer = self.http.put(f"/workflows/{name}", json={"name": name, "steps": steps, **more})
        assert answer.status_code in (200, 201), answer.text
        return dict(answer.json())

    def submit(self, name: str, value: object = None, **more: Any) -> dict[str, Any]:
        """Submit a run; it must be accepted."""
        answer = self.http.post(
            f"/workflows/{name}/runs", json={"input": {} if value is None else value, **more}
        )
        assert answer.status_code in (200, 202), answer.text
        return dict(answer.json())

    def submit_many(self, name: str, count: int, value: object = None) -> list[str]:
        """Submit runs in bulk; answers their ids."""
        line = json.dumps({"workflow": name, "input": {} if value is None else value})
        answer = self.http.post(
            "/runs/bulk",
            content="\n".join([line] * count),
            headers={"Content-Type": "application/x-ndjson"},
        )
        assert answer.status_code == 200, answer.text
        return [json.loads(row)["id"] for row in answer.text.splitlines()]

    def wait(self, run_id: str, within_s: float = 30.0) -> dict[str, Any]:
        """The run once it has ended; fails when it does not."""
        end = time.monotonic() + within_s
        while True:
            answer = self.http.get(f"/runs/{run_id}", params={"wait": 10})
            assert answer.status_code == 200, answer.text
            run = dict(answer.json())
            if run["state"] in TERMINAL:
                return run
            assert time.monotonic() < end, (
                f"still {run['state']}: {run['steps']}\n{self.steps(run_id)}"
            )

    def run(
        self, name: str, value: object = None, within_s: float = 30.0, **more: Any
    ) -> dict[str, Any]:
        """Submit and wait."""
        return self.wait(self.submit(name, value, **more)["id"], within_s)

    def wait_all(self, run_ids: list[str], within_s: float = 60.0) -> None:
        """Until all these runs have ended."""
        self.system.until(
            lambda: (
                not self.system.sql(
                    "SELECT 1 FROM run WHERE id = ANY (%s::uuid[]) AND finished_at IS NULL LIMIT 1",
                    run_ids,
                )
            ),
            within_s,
        )

    def steps(self, run_id: str) -> dict[str, dict[str, Any]]:
        """The step runs of a run, by name."""
        answer = self.http.get(f"/runs/{run_id}/steps")
        assert answer.status_code == 200, answer.text
        return {step["name"]: step for step in answer.json()["items"]}

    def events(self, run_id: str) -> list[dict[str, Any]]:
        """All events of a run, in order."""
        items: list[dict[str, Any]] = []
        cursor = None
        while True:
            answer = self.http.get(
                f"/runs/{run_id}/events",
                params={"limit": 1000, **({"cursor": cursor} if cursor else {})},
            )
            assert answer.status_code == 200, answer.text
            items += answer.json()["items"]
            cursor = answer.json()["next_cursor"]
            if cursor is None:
                return items


@dataclass
class System:
    """`manage.py up` in a folder of its own."""

    folder: Path
    process: Running
    env: dict[str, str]
    url: str
    credentials: dict[str, str]
    _factory: subprocess.Popen[str] | None = None
    _clients: list[httpx.Client] = field(default_factory=list)
    _connection: psycopg.Connection[tuple[Any, ...]] | None = None

    def tenant(
        self,
        *,
        max_connections: int = 10,
        scopes: list[str] | None = None,
        users: list[dict[str, Any]] | None = None,
    ) -> TestTenant:
        """A new tenant with a key; `users` are arguments of `create_user`."""
        if self._factory is None:
            self._factory = subprocess.Popen(
                [sys.executable, "-m", "tests.system.factory"], cwd=ROOT, env=self.env, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )  # fmt: skip
        assert self._factory.stdin is not None
        assert self._factory.stdout is not None
        slug = f"t{next(_numbers)}-{os.getpid()}"
        wish = {
            "slug": slug,
            "max_connections": max_connections,
            "scopes": scopes,
            "users": users or [],
        }
        self._factory.stdin.write(json.dumps(wish) + "\n")
        self._factory.stdin.flush()
        made = json.loads(self._factory.stdout.readline())
        return TestTenant(slug, made["id"], made["key"], self.client(made["key"]), self)

    def client(self, key: str | None) -> httpx.Client:
        """The API, with a key."""
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        client = httpx.Client(base_url=f"{self.url}/api/v1", headers=headers, timeout=70)
        self._clients.append(client)
        return client

    def sql(self, statement: str, *params: object) -> list[tuple[Any, ...]]:
        """Ask the system's database (its rows are checked where the API does not show them)."""
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(self.env["SYSTEM_DATABASE_URL"], autocommit=True)
        cursor = self._connection.execute(statement, params)
        return cursor.fetchall() if cursor.description else []

    def close_connection(self) -> None:
        """Drop the connection of `sql`; the next question makes a new one."""
        if self._connection is not None:
            self._connection.close()

    def answers(self, statement: str) -> bool:
        """Whether the database answers."""
        try:
            self.sql(statement)
        except psycopg.OperationalError:
            return False
        return True

    def until(
        self, condition: Callable[[], object], within_s: float = 20.0, every_s: float = 0.02
    ) -> Any:
        """The condition's value once it is true; fails when it does not become so."""
        end = time.monotonic() + within_s
        while True:
            value = condition()
            if value:
                return value
            assert time.monotonic() < end, "it did not come true"
            time.sleep(every_s)

    def pids(self, part: str) -> list[int]:
        """The processes of a part (worker, clock, web, postgres, valkey), its main process first."""
        words = {
            "worker": r"celery .*-A orchestrator worker",
            "clock": r"manage\.py clock",
            "web": r"uvicorn orchestrator\.asgi",
            "postgres": r"bin/postgres -D",
            "valkey": r"valkey-server",
        }[part]
        mine = str(self.folder)
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                environ = (entry / "environ").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if re.search(words, command) and (mine in environ or mine in command):
                found.append(int(entry.name))
        return sorted(found)

    def children(self) -> list[int]:
        """The processes that run steps."""
        rows = self.sql("SELECT pid FROM worker WHERE state <> 'gone' ORDER BY id")
        return [int(row[0]) for row in rows]

    def kill_children(self) -> None:
        """Kill the processes that run steps; one that has just gone by itself is no error."""
        for pid in self.children():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def manage(self, *args: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a `manage.py` command beside the system."""
        return subprocess.run(
            [sys.executable, "manage.py", *args], cwd=ROOT, env=self.env, text=True, input=text,
            capture_output=True, timeout=60, check=False,
        )  # fmt: skip

    def close(self) -> None:
        """End the helpers of the test side."""
        for client in self._clients:
            client.close()
        if self._connection is not None:
            self._connection.close()
        if self._factory is not None:
            assert self._factory.stdin is not None
            self._factory.stdin.close()
            self._factory.wait(10)
            assert self._factory.stdout is not None
            self._factory.stdout.close()


@contextmanager
def start_system(**more: str) -> Iterator[System]:
    """Start a system with these variables besides the usual ones; stopped, and its folder removed, at the end."""
    folder = Path(tempfile.mkdtemp(prefix="mr-s"))
    env = environment(
        folder,
        **{
            "ORCHESTRATOR_HANDLERS": HANDLERS,
            "ORCHESTRATOR_CANARY_EVERY_S": "0",
            **_coverage(),
            **more,
        },
    )
    try:
        with running([sys.executable, "manage.py", "up"], env=env) as process:
            line = process.wait_for(r"Millrace runs at http", within_s=90)
            url = re.search(r"http://[\w.:\[\]]+", line)
            assert url is not None
            credentials = json.loads((folder / "credentials.json").read_text())
            system = System(folder, process, _with_database(env), url.group(), credentials)
            try:
                yield system
            finally:
                system.close()
                process.finish(signal.SIGTERM, within_s=60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _with_database(env: Mapping[str, str]) -> dict[str, str]:
    asked = subprocess.run(
        [sys.executable, "-c", "from orchestrator.embedded import paths; print(paths.database_url())"],
        cwd=ROOT, env=dict(env), text=True, capture_output=True, check=True,
    )  # fmt: skip
    return {**env, "SYSTEM_DATABASE_URL": asked.stdout.strip()}


def _coverage() -> dict[str, str]:
    """What tells the system's processes to count coverage too, where this process does."""
    return {
        name: value for name, value in os.environ.items() if name.startswith(("COV_", "COVERAGE_"))
    }
