"""The load generator: submits runs over HTTP as clients do, and measures what they see.

Standard library only and one thread per client: it must cost the machine that it measures little."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import ceil
from urllib.parse import quote, urlencode, urlsplit

API = "/api/v1"
ANSWER_WITHIN_S = 70.0
IDLE_S = 2.0
"""A connection that was idle for longer is made anew: servers close theirs after some seconds."""
POLL_S = 0.1
PAGE = 1000
WORKFLOW = "load"
"""What is submitted where no workflow is named: one step that does nothing, published on the way."""
DEFINITION = {
    "name": WORKFLOW,
    "description": "One step that does nothing: what `manage.py load` submits.",
    "steps": [{"name": "nothing", "handler": "core.echo", "args": {"value": None}}],
}


class Refused(Exception):
    """The server answered, and not with what was asked for; the message is its own."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where and as whom: `http://host:port`, and an API key."""

    url: str
    key: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What to submit.  With `rate` (runs per second) at fixed moments, whether earlier ones were
    answered or not (open loop); without, each client as fast as it is answered (closed loop).

    Ends after `seconds`, or once `runs` were submitted."""

    workflow: str
    body: bytes
    clients: int = 8
    seconds: float = 10.0
    rate: float | None = None
    runs: int | None = None


@dataclass(slots=True)
class Driven:
    """What clients saw.  `latencies_s`: of accepted submissions, from the moment they were due;
    `errors`: problem codes, or `no_answer`."""

    accepted: list[str] = field(default_factory=list)
    latencies_s: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    first_refusal: str = ""
    """What the server said at the first one: its detail, and the first place that is wrong."""
    began: datetime | None = None
    """Creation of the first run, by the server's clock."""
    seconds: float = 0.0

    @property
    def accepted_per_s(self) -> float:
        """Runs accepted in each second."""
        return len(self.accepted) / self.seconds if self.seconds else 0.0


@dataclass(slots=True)
class Outcomes:
    """What became of the accepted runs, by the server's clock: how many in each state; seconds from
    creation to start, and from creation to end, of those that have them."""

    states: Counter[str] = field(default_factory=Counter)
    queue_s: list[float] = field(default_factory=list)
    total_s: list[float] = field(default_factory=list)


class Client:
    """One kept-alive connection to the API.  Calls raise OSError or HTTPException without an answer."""

    def __init__(self, target: Target) -> None:
        where = urlsplit(target.url)
        if where.scheme not in ("http", "https") or not where.hostname:
            raise ValueError(f"{target.url} is no address: say http://host:port")
        kind = (
            http.client.HTTPSConnection if where.scheme == "https" else http.client.HTTPConnection
        )
        self._connection = kind(where.hostname, where.port, timeout=ANSWER_WITHIN_S)
        self._headers = {
            "Authorization": f"Bearer {target.key}",
            "Content-Type": "application/json",
        }
        self._used_at = 0.0

    def call(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, bytes]:
        """Status and body of a call below `/api/v1`."""
        if time.monotonic() - self._used_at > IDLE_S:
            self._connection.close()  # the request opens it again
        try:
            self._connection.request(method, API + path, body, {**self._headers, **headers})
            answer = self._connection.getresponse()
            text = answer.read()
        except BaseException:
            self._connection.close()
            raise
        self._used_at = time.monotonic()
        return answer.status, text

    def json(self, method: str, path: str, value: object = None) -> dict[str, object]:
        """A call that must succeed.  Raises Refused."""
        body = None if value is None else json.dumps(value).encode()
        status, text = self.call(method, path, body)
        if status >= 300:
            raise Refused(
                f"{status} {_problem(text, 'detail') or text[:200].decode('utf-8', 'replace')}"
            )
        return dict(json.loads(text))

    def close(self) -> None:
        """Give the connection back."""
        self._connection.close()


class _Turns:
    """Hands out submissions to the clients: when each is due, and no more of them after the end."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._lock = threading.Lock()
        self._given = 0
        self.began = time.perf_counter()
        self._end = self.began + plan.seconds

    def next(self) -> float | None:
        """The moment at which the next one is due; None when there are no more."""
        with self._lock:
            number = self._given
            if self._plan.runs is not None and number >= self._plan.runs:
                return None
            now = time.perf_counter()
            due = now if self._plan.rate is None else self.began + number / self._plan.rate
            if max(due, now) >= self._end:
                return None
            self._given += 1
            return due


def drive(target: Target, plan: Plan) -> Driven:
    """Submit, with `plan.clients` connections."""
    turns = _Turns(plan)
    parts = [Driven() for _ in range(plan.clients)]
    threads = [threading.Thread(target=_client, args=(target, plan, turns, part)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    driven = Driven(seconds=time.perf_counter() - turns.began)
    for part in parts:
        driven.accepted += part.accepted
        driven.latencies_s += part.latencies_s
        driven.errors += part.errors
        driven.first_refusal = driven.first_refusal or part.first_refusal
    driven.began = min((part.began for part in parts if part.began), default=None)
    return driven


def _client(target: Target, plan: Plan, turns: _Turns, seen: Driven) -> None:
    path = f"/workflows/{quote(plan.workflow, safe='')}/runs"
    with closing(Client(target)) as client:
        while (due := turns.next()) is not None:
            if (early := due - time.perf_counter()) > 0:
                time.sleep(early)
            _submit(client, path, plan.body, due, seen)


def _submit(client: Client, path: str, body: bytes, due: float, seen: Driven) -> None:
    try:
        status, text = client.call("POST", path, body)
    except (OSError, http.client.HTTPException):
        seen.errors["no_answer"] += 1
        time.sleep(POLL_S)
        return
    if status != 202:
        seen.errors[_problem(text, "code") or str(status)] += 1
        seen.first_refusal = seen.first_refusal or _told(text)
        return
    seen.latencies_s.append(time.perf_counter() - due)
    run = json.loads(text)
    seen.accepted.append(run["id"])
    if seen.began is None:
        seen.began = datetime.fromisoformat(run["created_at"])


def _told(text: bytes) -> str:
    """A problem's detail with the first of its places."""
    try:
        problem = json.loads(text)
        places = [f"{found['path']}: {found['message']}" for found in problem.get("errors", [])]
        return " ".join([problem["detail"], *places[:1]])
    except (ValueError, KeyError, AttributeError):
        return ""


def follow(target: Target, plan: Plan, driven: Driven, *, within_s: float) -> Outcomes:
    """Wait until the accepted runs have ended, at most `within_s`, and say what became of them.
    Raises Refused, OSError, HTTPException."""
    outcomes = Outcomes()
    if driven.began is None:
        return outcomes
    since = (driven.began - timedelta(microseconds=1)).isoformat()
    query = {"workflow": plan.workflow, "created_after": since}
    end = time.monotonic() + within_s
    ours = set(driven.accepted)
    with closing(Client(target)) as client:
        while time.monotonic() < end and _any_open(client, query):
            time.sleep(POLL_S)
        cursor: object = None
        while True:
            more = {"cursor": str(cursor)} if cursor else {}
            page = client.json("GET", f"/runs?{urlencode({**query, 'limit': PAGE, **more})}")
            items = page["items"]
            assert isinstance(items, list)
            _note(outcomes, (run for run in items if run["id"] in ours))
            cursor = page["next_cursor"]
            if cursor is None:
                return outcomes


def _any_open(client: Client, query: Mapping[str, str]) -> bool:
    asked = urlencode({**query, "state": "queued,running,paused", "limit": 1})
    return bool(client.json("GET", f"/runs?{asked}")["items"])


def _note(outcomes: Outcomes, runs: Iterable[dict[str, str]]) -> None:
    for run in runs:
        outcomes.states[run["state"]] += 1
        created = datetime.fromisoformat(run["created_at"])
        if run["started_at"]:
            started = datetime.fromisoformat(run["started_at"])
            outcomes.queue_s.append((started - created).total_seconds())
        if run["finished_at"]:
            finished = datetime.fromisoformat(run["finished_at"])
            outcomes.total_s.append((finished - created).total_seconds())


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` (0 to 1) of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, ceil(share * len(ordered)) - 1)]


def _problem(text: bytes, field_name: str) -> str | None:
    """A field of a problem document; None where the body is none."""
    try:
        value = json.loads(text).get(field_name)
    except (ValueError, AttributeError):
        return None
    return value if isinstance(value, str) else None
