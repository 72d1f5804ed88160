"""Where messages go: what of a tenant's address is refused, and what a request is connected to."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

import pytest
import requests

from orchestrator.conf import conf
from orchestrator.domain.channels import TENANT_ARGUMENTS, TENANT_SERVICES, Kind
from orchestrator.services import receivers
from orchestrator.services.receivers import (
    Message,
    NotDelivered,
    Receiver,
    apprise_service,
    deliver,
    refusal,
)
from tenants.guesses import Guesses
from tests.alerts.receiving import receiver

TOLD = Message(key="k", subject="Firing: a", text="b", document={"a": 1}, tone="critical")
SIGNED = {"secret": "s"}
KEY32, KEY64 = "a1b2c3d4" * 4, "a1b2c3d4" * 8
GUID = "a1b2c3d4-a1b2-a1b2-a1b2-a1b2c3d4e5f6"
SERVICES = {
    "gchat": f"gchat://space/{KEY32}/{KEY64}",
    "ilert": f"ilert://{KEY32}",
    "incidentio": f"incidentio://{KEY32}/{KEY32}",
    "line": f"line://{KEY32}/U1234567",
    "opsgenie": f"opsgenie://{GUID}",
    "pagerduty": f"pagerduty://{KEY32}@{KEY32}",
    "pagertree": "pagertree://int_a1b2c3d4e5",
    "pbul": f"pbul://{KEY32}",
    "pover": f"pover://{'u' * 30}@{'a' * 30}",
    "sendgrid": f"sendgrid://{KEY32}:me@example.org/you@example.org",
    "signl4": f"signl4://{KEY32}",
    "splunk": f"splunk://route@{GUID}",
    "squadcast": f"squadcast://{KEY32}",
    "tgram": "tgram://123456789:abcdefg_hijklmnop/12315544",
    "twilio": f"twilio://AC{KEY32}:{KEY32}@12125551234/12125551235",
    "twist": "twist://password:me@example.org",
    "victorops": f"victorops://route@{GUID}",
    "webex": f"webex://{KEY32}{KEY32}{KEY32[:16]}",
    "wxteams": f"wxteams://{KEY32}{KEY32}{KEY32[:16]}",
}  # fmt: skip
"""A URL of each, as its people write it."""
ELSEWHERE = ("10.0.0.5", "x@10.0.0.5:8443", "a.10.0.0.5%3A8443%2F", "file%3A%2F%2F%2Fetc%2Fpasswd")
"""What is put in place of each part of them."""


@pytest.fixture
def asked() -> Iterator[set[str]]:
    """The hosts that the library would connect to; none is reached."""
    found: set[str] = set()

    def send(_: object, request: requests.PreparedRequest, **__: object) -> None:
        found.add(str(urlsplit(request.url).netloc))
        raise requests.ConnectionError("not in tests")

    with mock.patch.object(requests.adapters.HTTPAdapter, "send", send):
        yield found


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Let the server call these hosts alone."""

    def allow(hosts: str) -> None:
        monkeypatch.setenv("ORCHESTRATOR_HTTP_ALLOW", hosts)
        conf.cache_clear()

    yield allow
    monkeypatch.undo()
    conf.cache_clear()


def send(address: str) -> None:
    with pytest.raises(NotDelivered):
        deliver(Receiver(Kind.APPRISE, secrets={"url": address}), TOLD)


def turned(address: str) -> Iterator[str]:
    """The address with each of its parts in turn leading elsewhere, and with more of them."""
    scheme, _, rest = address.partition("://")
    for place in ELSEWHERE:
        parts = rest.replace("@", "\0@\0").replace("/", "\0/\0").replace(":", "\0:\0").split("\0")
        for at in range(0, len(parts), 2):
            yield f"{scheme}://{''.join([*parts[:at], place, *parts[at + 1 :]])}"
        yield f"{address}/{place}"
        yield f"{scheme}://{place}/{rest}"
    for name in TENANT_ARGUMENTS:
        yield f"{address}?{name}=http://10.0.0.5/"


@pytest.mark.parametrize("scheme", TENANT_SERVICES)
def test_a_tenants_service_reaches_its_hosts_alone(asked: set[str], scheme: str) -> None:
    send(SERVICES[scheme])
    assert asked, "it is sent"
    for address in turned(SERVICES[scheme]):
        send(address)
    assert asked <= set(TENANT_SERVICES[scheme])


def test_every_service_for_tenants_is_tried() -> None:
    assert SERVICES.keys() == TENANT_SERVICES.keys()


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("zulip://bot@10.0.0.5/" + KEY32, "not among the services"),
        ("discord://1/tok?template=http://10.0.0.5/", "not among the services"),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ", "not among the services"),
        (SERVICES["tgram"] + "?template=file:///etc/passwd", "may not say template"),
        (SERVICES["tgram"] + "?TEMPLATE=http://10.0.0.5/", "may not say template"),
        (SERVICES["tgram"] + "?a=1;%74emplate=http://10.0.0.5/", "may not say a"),
        (SERVICES["tgram"] + "?to=1;%74emplate=http://10.0.0.5/", "may not say template"),
        (SERVICES["tgram"] + "?+template=http://10.0.0.5/", "may not say +template"),
        (SERVICES["tgram"] + "?redirect=yes", "may not say redirect"),
        (SERVICES["pagertree"] + "?+Host=10.0.0.5", "may not say +host"),
        (SERVICES["tgram"] + "/100001/100002/100003/100004/100005", "more than 5 receivers"),
        ("tgram://nothing", "is no URL"),
        ("tgram:///?to=1", "is no URL"),
        ("tgram://", "is no URL"),
    ],
)
def test_what_a_tenants_url_may_not_say(asked: set[str], address: str, why: str) -> None:
    with pytest.raises(NotDelivered, match=re.escape(why)):
        apprise_service(address, trusted=False)
    assert not asked


def test_with_an_allow_list_services_hosts_are_on_it(only: Callable[[str], None]) -> None:
    only("api.telegram.org,*.opsgenie.com")
    for scheme in ("tgram", "opsgenie"):
        apprise_service(SERVICES[scheme], trusted=False)
    for scheme in TENANT_SERVICES.keys() - {"tgram", "opsgenie"}:
        with pytest.raises(NotDelivered, match="not among the hosts that the server allows"):
            apprise_service(SERVICES[scheme], trusted=False)
    apprise_service(SERVICES["line"], trusted=True)


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let every name have these addresses."""

    def answer(*places: str) -> None:
        entries = [(0, socket.SOCK_STREAM, 0, "", (place, 0)) for place in places]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: entries)

    return answer


def hook(port: str) -> Receiver:
    url = f"http://hooks.example.org:{port}/hook"
    return Receiver(Kind.WEBHOOK, secrets={"url": url, **SIGNED}, trusted=True)


def test_the_next_address_is_tried_where_the_first_refuses(resolved: Callable[..., None]) -> None:
    with receiver() as place:
        port = str(urlsplit(place.url).port)
        resolved("127.0.0.2", "127.0.0.2", "127.0.0.1")
        assert deliver(hook(port), TOLD) == "204 No Content"
        assert place.next().headers["host"] == f"hooks.example.org:{port}"
    with pytest.raises(NotDelivered, match="ConnectError"):
        deliver(hook(port), TOLD)


def test_a_resolver_that_hangs_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def hang(*_: object, **__: object) -> None:
        asked.set()
        go_on.wait(60)
        raise OSError

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setattr(receivers, "WITHIN_S", 0.1)
    with pytest.raises(NotDelivered, match="no answer within"):
        deliver(hook("1"), TOLD)
    assert asked.is_set()
    assert not go_on.is_set(), "it still hangs"
    go_on.set()


def test_a_name_that_cannot_be_looked_up() -> None:
    for host in ("a..b", "a" * 64, "ex[ample.com", "a|b"):
        assert "names no host" in (refusal(f"http://{host}/", trusted=True) or "")
    assert refusal("http://xn--bcher-kva.example./", trusted=False) is None
    assert refusal("http://bücher.example/", trusted=False) is None
    assert refusal("http://[2606:4700::1111]/", trusted=False) is None


def test_a_tenants_letters_are_counted(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receivers, "letters", Guesses(burst=3, per_s=1 / 3600))
    settings.MAIL_IS_SENT = True
    two = Receiver(Kind.EMAIL, to=("a@example.org", "b@example.org"))

    def letter(owner: int) -> Message:
        return replace(TOLD, tone="info", owner=owner)

    for _ in range(2):
        assert deliver(two, letter(1)) == "taken by the mail server"
    with pytest.raises(NotDelivered, match="300 letters within an hour"):
        deliver(two, letter(1))
    assert deliver(two, letter(2)) == "taken by the mail server"
    for _ in range(3):
        deliver(replace(two, trusted=True), letter(0))
