"""What needs real commits: waiting for a run's end, racing keys, and a key's lookups."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from uuid import uuid4

import pytest
from django.db import connection

from orchestrator.models import Run
from tenants.actors import SYSTEM
from tenants.models import Tenant
from tenants.services import create_api_key, create_tenant
from tests.api.client import Answer, Api
from tests.api.conftest import ECHO
from tests.engine import Engine

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def api(transactional_db: None) -> Api:
    tenant = create_tenant(slug=f"t{uuid4().hex[:12]}", actor=SYSTEM)
    found = Api(create_api_key(tenant=tenant, actor=SYSTEM)[1])
    assert found.put("/workflows/echo", ECHO).status == 201
    return found


def at_once(*calls: Callable[[], object]) -> list[threading.Thread]:
    """Start calls in threads of their own, which let go of their connections."""

    def run(call: Callable[[], object]) -> None:
        try:
            call()
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    return threads


def test_wait_answers_when_the_run_ends(api: Api) -> None:
    answers: list[Answer] = []
    (waiting,) = at_once(
        lambda: answers.append(api.post("/workflows/echo/runs?wait=30", {"input": {"text": 1}}))
    )
    engine = Engine()
    while not (claims := engine.claim()):
        assert waiting.is_alive()
        time.sleep(0.01)
        engine.join()
    engine.succeed(claims, 42)
    waiting.join(10)
    (answer,) = answers
    assert (answer.status, answer.body["state"], answer.body["output"]) == (200, "succeeded", 42)
    again = api.get(f"/runs/{answer.body['id']}?wait=30")
    assert (again.status, again.body["state"]) == (200, "succeeded")


def test_wait_ends_when_time_is_up(api: Api) -> None:
    started = time.monotonic()
    answer = api.post("/workflows/echo/runs?wait=0.2", {})
    assert (answer.status, answer.body["state"]) == (202, "queued")
    assert time.monotonic() - started >= 0.2
    seen = api.get(f"/runs/{answer.body['id']}?wait=0.1")
    assert (seen.status, seen.body["state"]) == (200, "queued")


def test_many_wait_at_once(api: Api) -> None:
    answers: list[Answer] = []
    run_id = api.post("/workflows/echo/runs", {}).body["id"]
    threads = at_once(
        *[lambda: answers.append(api.get(f"/runs/{run_id}?wait=20")) for _ in range(4)]
    )
    assert api.post(f"/runs/{run_id}/cancel").status == 200
    for thread in threads:
        thread.join(10)
    assert [a.body["state"] for a in answers] == ["cancelled"] * 4


def test_racing_calls_get_the_first_run(api: Api) -> None:
    barrier = threading.Barrier(6)
    answers: list[Answer] = []

    def call() -> None:
        barrier.wait(10)
        answers.append(
            api.post("/workflows/echo/runs", {"input": 1}, headers={"Idempotency-Key": "race"})
        )

    for thread in at_once(*[call] * 6):
        thread.join(20)
    assert len({answer.body["id"] for answer in answers}) == 1
    assert sorted(answer.status for answer in answers) == [200] * 5 + [202]
    assert Run.objects.count() == 1


def test_racing_publications_make_one_version(api: Api) -> None:
    barrier = threading.Barrier(4)
    answers: list[Answer] = []

    def call() -> None:
        barrier.wait(10)
        answers.append(api.put("/workflows/new", ECHO))

    for thread in at_once(*[call] * 4):
        thread.join(20)
    assert sorted(answer.status for answer in answers) == [200] * 3 + [201]
    assert {answer.body["version"] for answer in answers} == {1}


def test_database_away_is_503(api: Api) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
    assert Tenant.objects.exists()
    connection.connection.close()  # as after a restart of the server, in the midst of a request
    answer = api.get("/runs")
    assert (answer.status, answer.code) == (503, "unavailable")
    assert answer.headers["Retry-After"] == "1"
    connection.close()
    assert api.get("/runs").status == 200
