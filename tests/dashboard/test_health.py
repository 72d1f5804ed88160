"""The pages of health and of workers: what members see, what staff see and do, what is shown when the
database is away."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import OperationalError
from django.test import Client
from django.utils import timezone

from dashboard.pages.health import bars, summary
from dashboard.pages.workers import workers_context
from orchestrator import store
from orchestrator.domain.health import Check, Span, State
from orchestrator.executor.child import Child
from orchestrator.models import (
    Breaker,
    CanaryRun,
    HealthChange,
    HealthState,
    StepRun,
    TenantLoad,
    Worker,
)
from orchestrator.selectors import health
from orchestrator.selectors.tenant_health import tenant_health
from orchestrator.store import workers
from orchestrator.store.health import record
from tenants import services
from tenants.actors import COMMAND
from tenants.models import AuditEntry, Quota
from tests.dashboard.conftest import House

SECRET = "rival: 3 hosts"


@pytest.fixture(autouse=True)
def anew(house: House) -> Iterator[None]:
    health.refresh()
    yield
    health.refresh()


@pytest.fixture
def written(house: House) -> None:
    """A day's history."""
    now = timezone.now()
    for name, state, hours in (
        ("database", "ok", 30), ("database", "down", 5), ("database", "ok", 4), ("locks", "degraded", 1),
    ):  # fmt: skip
        HealthChange.objects.create(
            name=name, state=state, detail=SECRET, at=now - timedelta(hours=hours)
        )
    for name, state, hours in (("database", "ok", 4), ("locks", "degraded", 1), ("disk", "ok", 99)):
        HealthState.objects.create(
            name=name, state=state, since=now - timedelta(hours=hours), seen_at=now, detail=SECRET,
            mend="end it", deep=name == "locks",
        )  # fmt: skip


def page(client: Client, path: str, status: int = 200) -> str:
    answer = client.get(path)
    assert answer.status_code == status, answer.content.decode()
    return answer.content.decode()


def test_members_see_states_and_since_when_and_nothing_of_others(
    house: House, written: None
) -> None:
    Breaker.objects.create(
        tenant=services.create_tenant(slug="rival", actor=COMMAND), host="secret.example",
        state="open", retry_at=timezone.now(),
    )  # fmt: skip
    client = house.client("viewer")
    text = page(client, f"/t/{house.tenant.slug}/health/")
    assert "Everything is read and written as it should." in text
    assert "95.8 % ok, once not" in text
    assert "PostgreSQL" not in text
    for path in ("health", ""):
        text = page(client, f"/t/{house.tenant.slug}/{path}{'/' if path else ''}")
        assert "rival" not in text
        assert "secret.example" not in text
    assert client.get("/staff/health/").status_code == 404


def test_staff_see_what_was_seen_and_what_to_do(house: House, written: None) -> None:
    CanaryRun.objects.create(
        run_id=UUID(int=7), outcome="ok", seconds=0.03, ended_at=timezone.now()
    )
    client = house.client(None, staff=True)
    text = page(client, "/staff/health/")
    assert "PostgreSQL" in text
    assert "Deeper look" in text
    assert SECRET in text
    assert "end it" in text
    assert "30 ms" in text
    assert "The clock has not looked yet" not in text
    HealthState.objects.filter(deep=True).update(state="unknown")
    assert "Nobody has looked: no clock ran." in page(client, "/staff/health/")


def test_a_new_server_says_what_would_appear(house: House) -> None:
    client = house.client(None, staff=True)
    text = page(client, "/staff/health/")
    assert "The clock has not looked yet" in text
    assert "Nothing has changed yet" in text
    assert "nobody has looked yet" in text
    Worker.objects.all().delete()
    for path in ("/staff/workers/", f"/t/{house.tenant.slug}/workers/"):
        assert "No worker is alive" in page(client, path)


def own(house: House) -> dict[str, Check]:
    house.tenant.refresh_from_db()
    return {one.name: one for one in tenant_health(tenant=house.tenant)}


def test_a_tenants_own_work(house: House) -> None:
    house.run()
    assert {one.state for one in own(house).values()} == {State.OK}
    StepRun.objects.filter(state="ready").update(ready_at=timezone.now() - timedelta(minutes=1))
    assert own(house)["work"].state is State.DEGRADED
    Quota.objects.filter(tenant=house.tenant).update(max_connections=0, max_active_runs=1)
    assert "more of them" in own(house)["work"].mend
    assert "Active runs" in own(house)["limits"].detail
    StepRun.objects.filter(state="ready").update(parked="no_worker")
    TenantLoad.objects.update(ready_count=0)
    steps = own(house)["steps"]
    assert steps.state is State.DEGRADED
    assert "core.echo in queue io" in steps.detail
    Breaker.objects.create(
        tenant=house.tenant, host="x.example", state="open", retry_at=timezone.now()
    )
    assert "x.example" in own(house)["hosts"].detail
    services.suspend(tenant=house.tenant, reason="r", actor=COMMAND)
    assert own(house)["work"].state is State.DOWN
    text = page(house.client("viewer"), f"/t/{house.tenant.slug}/health/")
    assert "The tenant is suspended" in text


def test_staff_drain_a_worker_and_let_it_go_on(house: House) -> None:
    Worker.objects.all().delete()
    worker = Worker.objects.create(name="here:1", host="here", pid=1, queues=["io"])
    client = house.client(None, staff=True)
    path = f"/staff/workers/{worker.pk}"
    assert "Drain here:1" in page(client, "/staff/workers/")
    assert client.post(f"{path}/drain").status_code == 302
    worker.refresh_from_db()
    assert (worker.state, worker.drain_at is not None) == ("draining", True)
    connection = store.connection()
    assert workers.renew(connection, worker.pk, in_flight=1, draining=False) is True
    worker.refresh_from_db()
    assert worker.state == "draining"
    text = page(client, "/staff/workers/")
    assert "Resume here:1" in text
    assert "told so" in text
    client.post(f"{path}/drain")
    assert "Nothing was changed" in page(client, "/staff/workers/")
    client.post(f"{path}/resume")
    assert workers.renew(connection, worker.pk, in_flight=0, draining=False) is False
    worker.refresh_from_db()
    assert (worker.state, worker.drain_at) == ("active", None)
    entries = AuditEntry.objects.filter(target="here:1").order_by("pk")
    assert [(one.action, one.tenant, one.actor) for one in entries] == [
        ("worker.drained", None, "user:stranger-staff"),
        ("worker.resumed", None, "user:stranger-staff"),
    ]
    assert entries[0].origin == "127.0.0.1"
    for wrong in (f"{path}/kill", f"/staff/workers/{2**40}/drain"):
        assert client.post(wrong).status_code == 404
    viewer = house.client("viewer")
    assert viewer.post(f"/staff/workers/{worker.pk}/drain").status_code == 404
    text = page(viewer, f"/t/{house.tenant.slug}/workers/")
    assert "here:1" in text
    assert '<button type="submit" class="button"' not in text


def test_a_drained_child_takes_nothing_and_lives(house: House) -> None:
    from orchestrator.conf import Conf
    from orchestrator.handlers import registry

    worker = Worker.objects.create(name="here:2", host="here", pid=2, queues=["io"])
    child = Child(conf=Conf(), queues=["io"], registry=registry)
    child.worker_id = worker.pk
    child._handlers_at = 1e18
    connection = store.connection()
    seen = []
    for drain_at in (None, timezone.now(), None):
        Worker.objects.filter(pk=worker.pk).update(drain_at=drain_at)
        assert child._renew(connection)
        seen.append((child.draining, child.alive))
    assert seen == [(False, True), (True, True), (False, True)]


def test_workers_that_are_silent_or_gone(house: House) -> None:
    Worker.objects.all().delete()
    old = timezone.now() - timedelta(minutes=5)
    Worker.objects.create(name="silent", host="h", pid=1, queues=["io"], seen_at=old)
    Worker.objects.create(name="gone", host="h", pid=2, queues=["io"], seen_at=old, state="gone")
    Worker.objects.create(
        name="forgotten", host="h", pid=3, queues=[], seen_at=old - timedelta(hours=1), state="gone"
    )
    seen: Any = workers_context()
    assert [(one["row"].name, one["state"]) for one in seen["workers"]] == [
        ("silent", "silent"),
        ("gone", "gone"),
    ]
    assert seen["counts"]["active"] == 0


def test_how_many_processes_work(house: House) -> None:
    Worker.objects.all().delete()
    for pid, queue, in_flight in ((1, "io", 2), (2, "gpu", 3)):
        Worker.objects.create(
            name=f"h:{pid}", host="h", pid=pid, queues=[queue], in_flight=in_flight
        )
    staff = house.client("admin", staff=True)
    for address in (f"/t/{house.tenant.slug}/workers/", "/staff/workers/"):
        text = page(staff, address)
        assert "<dt>Active</dt><dd>2</dd>" in text, address
        assert "<dt>In flight</dt><dd>5</dd>" in text
        assert "<span>gpu <b>1</b></span><span>io <b>1</b></span>" in text


def test_while_the_database_is_away_the_page_says_so(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = Check("database", State.DOWN, "host 10.0.0.9 refused")
    monkeypatch.setattr("dashboard.views.unwell.database_ready", lambda: away)
    monkeypatch.setattr("dashboard.views.unwell.checks", lambda: [away, *health.look()[1:3]])
    for path in ("/staff/health/", f"/t/{house.tenant.slug}/health/", "/t/nobodys/health/"):
        answer = Client().get(path)
        assert (answer.status_code, answer["Retry-After"]) == (503, "5")
        text = answer.content.decode()
        assert "The database does not answer" in text
        assert "Broker" in text
        assert "10.0.0.9" not in text
    again = Client().get("/staff/health/?again")
    assert again.status_code == 503
    assert "<html" not in again.content.decode()
    monkeypatch.undo()
    again = Client().get("/staff/health/?again")
    assert again.status_code == 200
    assert "The database answers again" in again.content.decode()


def test_any_page_of_a_database_that_is_away(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OperationalError("connection refused")

    client = house.client("viewer")
    client.raise_request_exception = False
    monkeypatch.setattr("dashboard.views.show.access_tenant", refuse)
    monkeypatch.setattr(
        "dashboard.views.unwell.database_ready", lambda: Check("database", State.DOWN, "")
    )
    text = page(client, f"/t/{house.tenant.slug}/runs/", 503)
    assert "The database does not answer" in text

    def fault(*_: object, **__: object) -> None:
        raise KeyError("ours")

    monkeypatch.setattr("dashboard.views.show.access_tenant", fault)
    assert "Something went wrong" in page(client, f"/t/{house.tenant.slug}/runs/", 500)


def test_a_strip_shows_what_was_short(house: House) -> None:
    now = timezone.now()
    day = now - timedelta(hours=24)
    short = now - timedelta(seconds=30)
    history = [Span("ok", day, short), Span("down", short, now)]
    drawn = bars(history)
    assert [bar.kind for bar in drawn] == ["succeeded", "failed"]
    assert drawn[1].width == 2.0
    assert summary(history) == "99.9 % ok, once not"
    assert summary([Span("ok", day, now)]) == "100 % ok"
    assert bars([]) == []


def test_what_is_written_is_for_staff_alone_in_the_database_too(house: House) -> None:
    from tenants import fence

    record(store.connection(), [Check("breakers", State.OK, SECRET)], deep=False)
    with fence.within(house.tenant.pk):
        assert list(HealthState.objects.values_list("name", "state")) == [("breakers", "ok")]
    with fence.within(house.tenant.pk), pytest.raises(Exception, match="permission denied"):
        HealthState.objects.get()
