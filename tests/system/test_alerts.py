"""Alerts on a running system: a planted rule pends, fires, is told, seen to, and over, and so does an SLA
whose runs are slow; the clock is killed between sending and marking; the watchdog is fed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import uuid4

import httpx
import psycopg
import pytest

from orchestrator.domain.observations import Sight
from orchestrator.domain.webhooks import Scheme, check
from tests.alerts.planted import Planted
from tests.alerts.receiving import Letter, Place, receiver
from tests.system.running_system import System, TestTenant, start_system

pytestmark = pytest.mark.system
PASSWORD = "a-long-enough-word-9"
PLANTED = "planted:orders"
"""No `sla:`, since the clock ends alerts of SLAs that are not there."""


@pytest.fixture(scope="module")
def beats() -> Iterator[Place]:
    with receiver() as found:
        yield found


@pytest.fixture(scope="module")
def alarming(beats: Place) -> Iterator[System]:
    """A system whose tenants may call this host, and which feeds a watchdog."""
    with start_system(
        ORCHESTRATOR_HTTP_ALLOW_PRIVATE="true", ORCHESTRATOR_WATCHDOG_URL=beats.url
    ) as running:
        yield running


@contextmanager
def looking(system: System, rule: Planted) -> Iterator[Rule]:
    """A planted rule of a system, to be looked at as an evaluator does."""
    with psycopg.connect(system.env["SYSTEM_DATABASE_URL"], autocommit=True) as connection:
        yield Rule(rule, connection)


class Rule:
    """A planted rule on a connection of the system's."""

    def __init__(
        self, planted: Planted, connection: psycopg.Connection[tuple[object, ...]]
    ) -> None:
        self.planted, self._connection = planted, connection

    def see(self, sight: Sight) -> int:
        """One look; how many alerts moved."""
        return self.planted.look(sight, connection=self._connection)


def alert(tenant: TestTenant) -> dict[str, object]:
    """The tenant's newest alert."""
    return dict(tenant.http.get("/alerts").json()["items"][0])


def channel(tenant: TestTenant, place: Place) -> str:
    """A webhook of the tenant's; its secret."""
    body = {"kind": "webhook", "url": place.url, "group_wait": 0}
    made = tenant.http.put("/channels/ops", json=body)
    assert made.status_code == 201, made.text
    return str(made.json()["secret"])


@contextmanager
def person(system: System, name: str) -> Iterator[httpx.Client]:
    """A browser without JavaScript, signed in."""
    with httpx.Client(base_url=system.url, follow_redirects=True, timeout=30) as client:
        sign_in(client, system, name)
        yield client


def sign_in(client: httpx.Client, system: System, name: str) -> None:
    """As the form does."""
    client.get("/login")
    form = {
        "username": name,
        "password": PASSWORD,
        "csrfmiddlewaretoken": client.cookies["csrftoken"],
    }
    assert client.post("/login", data=form, headers={"Referer": system.url}).status_code == 200


def acknowledge(system: System, tenant: TestTenant, name: str, letter: Letter) -> None:
    """A person acknowledges the alert of a notice on its page."""
    where = f"/t/{tenant.slug}/alerts/{letter.document['alerts'][0]['id']}/"
    with person(system, name) as browser:
        page = browser.get(where)
        assert "Acknowledge" in page.text
        form = {"comment": "On it.", "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
        answer = browser.post(f"{where}acknowledge", data=form, headers={"Referer": system.url})
        assert "It is acknowledged" in answer.text
    assert alert(tenant)["acknowledged_by"] == f"user:{name}"


def moves(system: System, tenant: TestTenant) -> list[str]:
    """The states that the tenant's alerts came to, in their order."""
    rows = system.sql(
        "SELECT type FROM event WHERE tenant_id = %s AND type LIKE 'alert.%%' ORDER BY seq",
        tenant.id,
    )
    return [row[0].removeprefix("alert.") for row in rows]


def test_from_the_first_bad_look_to_the_notice_of_its_end(alarming: System) -> None:
    name = f"ann-{uuid4().hex[:6]}"
    tenant = alarming.tenant(users=[{"name": name, "password": PASSWORD, "role": "operator"}])
    rule = Planted(tenant.id, PLANTED, {"workflow": "orders"}, for_s=0.5, clear_for_s=0.5)
    with receiver() as place, looking(alarming, rule) as seen:
        secret = channel(tenant, place)
        assert seen.see(Sight.BAD) == 1
        assert alert(tenant)["state"] == "pending"
        alarming.until(lambda: seen.see(Sight.BAD), every_s=0.1)
        alarm = place.next()
        assert alarm.document["notice"] == "firing"
        fault = check(Scheme.MILLRACE, [secret], alarm.headers, alarm.body, now=time.time())
        assert fault is None
        acknowledge(alarming, tenant, name, alarm)
        assert seen.see(Sight.GOOD) == 0
        alarming.until(lambda: seen.see(Sight.GOOD), every_s=0.1)
        end = place.next().document
        assert (end["notice"], end["alerts"][0]["acknowledged_by"]) == ("resolved", f"user:{name}")
        assert alert(tenant)["state"] == "resolved"
        assert moves(alarming, tenant) == ["pending", "firing", "acknowledged", "resolved"]


def test_from_a_slow_run_to_the_notice_that_its_sla_is_good_again(alarming: System) -> None:
    """Nothing is planted: the runs are slow, the clock looks, and quick runs make it good."""
    name = f"ben-{uuid4().hex[:6]}"
    tenant = alarming.tenant(users=[{"name": name, "password": PASSWORD, "role": "operator"}])

    def publish(ms: int) -> None:
        tenant.publish("orders", [{"name": "a", "handler": "core.sleep", "args": {"ms": ms}}])

    publish(3000)
    rule = {
        "kind": "p95_threshold",
        "workflows": ["orders"],
        "threshold": "2s",
        "window": "1m",
        "for": "1s",
    }
    with receiver() as place:
        secret = channel(tenant, place)
        assert tenant.http.put("/slas/quick", json=rule).status_code == 201
        slow = tenant.run("orders")["id"]
        alarm = place.next(90)
        assert check(Scheme.MILLRACE, [secret], alarm.headers, alarm.body, now=time.time()) is None
        assert alarm.document["notice"] == "firing"
        (told,) = alarm.document["alerts"]
        assert told["labels"] == {"sla": "quick", "workflow": "orders"}
        shown = tenant.http.get(f"/alerts/{told['id']}").json()
        assert [line["kind"] for line in shown["timeline"]][:2] == ["pending", "firing"]
        assert shown["run_ids"] == [slow]
        acknowledge(alarming, tenant, name, alarm)
        publish(1)

        def is_over() -> bool:
            tenant.run("orders")
            return bool(alert(tenant)["state"] == "resolved")

        alarming.until(is_over, within_s=240, every_s=0.2)
        end = place.next(90)
        assert check(Scheme.MILLRACE, [secret], end.headers, end.body, now=time.time()) is None
        assert end.document["notice"] == "resolved"
        (over,) = end.document["alerts"]
        assert (over["id"], over["acknowledged_by"]) == (told["id"], f"user:{name}")
        assert moves(alarming, tenant) == ["pending", "firing", "acknowledged", "resolved"]
        with person(alarming, name) as browser:
            page = browser.get(f"/t/{tenant.slug}/slas/quick/").text
        assert f"/t/{tenant.slug}/alerts/{told['id']}/" in page


def test_a_clock_that_is_killed_between_sending_and_marking(alarming: System) -> None:
    """At least once: the message comes again, under the same key, and is marked once."""
    tenant = alarming.tenant()
    with receiver() as place, looking(alarming, Planted(tenant.id, PLANTED)) as seen:
        channel(tenant, place)

        def kill() -> None:
            place.then = lambda: None
            for pid in alarming.pids("clock"):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

        place.then = kill
        seen.see(Sight.BAD)
        first = place.next()
        alarming.sql(
            "UPDATE notification SET claimed_until = now() WHERE tenant_id = %s", tenant.id
        )
        again = place.next(60)
        assert first.key == again.key

        def sent() -> bool:
            page = tenant.http.get("/channels/ops/notifications").json()["items"]
            return [(one["state"], one["attempts"]) for one in page] == [("sent", 2)]

        alarming.until(sent)


def test_the_watchdog_is_fed_while_all_is_well(alarming: System, beats: Place) -> None:
    assert beats.next(60).body == b""
