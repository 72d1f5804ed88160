"""Handing a message to a receiver: by mail, as a signed request, to a chat, or by apprise.

A tenant's receivers may be at public addresses alone (as with core.http): names are resolved here, each
address is judged, and the connection goes to the judged one.  Redirects are not followed.  Time is
bounded; what is said of a failure holds nothing of the address, which may be a secret."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from importlib import import_module
from smtplib import SMTPRecipientsRefused
from types import ModuleType
from typing import TYPE_CHECKING, Any

import httpx
from django.conf import settings
from django.core.mail import EmailMessage

from orchestrator.conf import conf, names
from orchestrator.domain.channels import REFUSED, TENANT_ARGUMENTS, TENANT_SERVICES, Kind
from orchestrator.domain.webhooks import sign
from tenants.guesses import Guesses
from tenants.networks import Address, is_public

if TYPE_CHECKING:
    import apprise

WITHIN_S = 10.0
"""What one attempt may take."""
CONNECT_S = 3.0
"""What of it one of a receiver's addresses may take to be connected to, and how many are tried."""
MOST_PLACES = 3
APPRISE_S = 4.0
"""To connect, and for each read, of apprise's services."""
MOST_RECEIVERS = 5
"""Of one tenant's apprise URL: each is a request of its own, one after the other."""
LETTERS_AN_HOUR = 300
"""To tenants' addresses, of each tenant: they say where letters go, and the server's name stands on them."""
letters = Guesses(burst=LETTERS_AN_HOUR, per_s=LETTERS_AN_HOUR / 3600)
_FOR_GOOD = 500
"""Of SMTP's answers those from here on: asking again changes nothing."""
_TONES = {"critical": "failure", "warning": "warning", "resolved": "success", "info": "info"}
"""As apprise calls them."""
_LABEL = re.compile(r"[a-z0-9_-]{1,63}")


class NotDelivered(Exception):
    """The receiver did not take the message; the text says why, and holds no secret."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where a message goes.  `secrets`: `url`, and a webhook's `secret`.  `trusted`: it is the server's
    own, which staff chose: any address."""

    kind: str
    to: tuple[str, ...] = ()
    secrets: Mapping[str, str] = field(default_factory=dict)
    trusted: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """What is told: as a line, as text, as JSON.  `key`: the same whenever the same message is sent.
    `owner`: the tenant, or 0, whose letters are counted."""

    key: str
    subject: str
    text: str
    document: Mapping[str, object]
    tone: str = "info"
    owner: int = 0


def deliver(receiver: Receiver, message: Message) -> str:
    """Hand it over; answers what the receiver said, shortly.  Raises NotDelivered."""
    match receiver.kind:
        case Kind.EMAIL:
            return _mail(receiver, message)
        case Kind.WEBHOOK:
            return _webhook(receiver, message)
        case Kind.SLACK:
            body = {"text": f"*{_slack(message.subject)}*\n{_slack(message.text)}"}
            return asyncio.run(_post(receiver, json.dumps(body).encode(), _headers(message)))
        case _:
            return _apprise(receiver, message)


def _mail(receiver: Receiver, message: Message) -> str:
    if not settings.MAIL_IS_SENT:
        raise NotDelivered("the server has no mail server (SMTP_URL)")
    if not receiver.trusted:
        _count_letters(str(message.owner), len(receiver.to))
    letter = EmailMessage(
        subject=" ".join(message.subject.split()),
        body=message.text,
        to=list(receiver.to),
        headers={
            "Message-ID": f"<{message.key}@millrace>",
            "Idempotency-Key": message.key,
            "Auto-Submitted": "auto-generated",
        },
    )
    try:
        letter.send()
    except SMTPRecipientsRefused as error:
        if all(code >= _FOR_GOOD for code, _ in error.recipients.values()):
            raise NotDelivered(REFUSED) from error
        raise NotDelivered("the mail server takes no letter to these addresses now") from error
    except (OSError, ValueError) as error:  # smtplib's errors are OSErrors
        raise NotDelivered(f"the mail server did not take it ({type(error).__name__})") from error
    return "taken by the mail server"


def _count_letters(owner: str, count: int) -> None:
    """Take so many letters out of a tenant's bucket.  Raises NotDelivered where it is empty: it is
    tried again later."""
    if letters.wait_s(owner):
        raise NotDelivered(f"the tenant has sent {LETTERS_AN_HOUR} letters within an hour")
    for _ in range(count):
        letters.note(owner)


def _headers(message: Message) -> dict[str, str]:
    return {"content-type": "application/json", "idempotency-key": message.key}


def _webhook(receiver: Receiver, message: Message) -> str:
    body = json.dumps(message.document, ensure_ascii=False).encode()
    stamp = str(int(time.time()))
    signature = sign(receiver.secrets["secret"], stamp, body)
    headers = {
        **_headers(message),
        "millrace-timestamp": stamp,
        "millrace-signature": f"v1={signature}",
    }
    return asyncio.run(_post(receiver, body, headers))


def _slack(text: str) -> str:
    """Text in which nothing is a mention or a link."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


async def _post(receiver: Receiver, body: bytes, headers: Mapping[str, str]) -> str:
    try:
        async with asyncio.timeout(WITHIN_S):
            return await request(
                "POST", receiver.secrets["url"], body, headers, trusted=receiver.trusted
            )
    except TimeoutError:
        raise NotDelivered(f"no answer within {WITHIN_S:g} s") from None


async def request(
    method: str, address: str, body: bytes, headers: Mapping[str, str], *, trusted: bool
) -> str:
    """One request of which the answer's body is not read.  Raises NotDelivered."""
    url = httpx.URL(address)
    places = await _judge(url, trusted=trusted)
    sent = {**headers, "host": url.netloc.decode(), "user-agent": "Millrace"}
    async with httpx.AsyncClient(
        verify=_tls(),
        timeout=httpx.Timeout(WITHIN_S, connect=CONNECT_S),
        trust_env=False,
        follow_redirects=False,
    ) as client:
        asked = [
            client.build_request(
                method,
                url.copy_with(host=str(place)),
                headers=sent,
                content=body,
                extensions={"sni_hostname": url.host},
            )
            for place in places
        ]
        try:
            answer = await _first(client, asked)
        except httpx.TimeoutException:
            raise NotDelivered(f"no answer within {WITHIN_S:g} s") from None
        except httpx.HTTPError as error:
            raise NotDelivered(f"no answer ({type(error).__name__})") from error
        await answer.aclose()
    if answer.is_redirect:
        raise NotDelivered(f"{answer.status_code}: it redirects, which is not followed")
    if not answer.is_success:
        raise NotDelivered(f"{answer.status_code} {answer.reason_phrase[:80]}".strip())
    return f"{answer.status_code} {answer.reason_phrase[:80]}".strip()


async def _first(client: httpx.AsyncClient, asked: Sequence[httpx.Request]) -> httpx.Response:
    """The answer of the first address that can be connected to: nothing was sent to those before it."""
    for request in asked[:-1]:
        try:
            return await client.send(request, stream=True)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            continue
    return await client.send(asked[-1], stream=True)


def refusal(address: str, *, trusted: bool) -> str | None:
    """Why requests may not go to an address, as far as the text tells; None where they may."""
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL as error:
        return f"is no address: {error}"
    if url.scheme not in ("http", "https") or not url.host:
        return "must begin with http:// or https:// and name a host"
    if url.userinfo:
        return "may not hold a user or a password"
    if not _is_name(url):
        return "names no host: a part of its name is empty, too long, or has other characters"
    host = url.host.lower().rstrip(".")
    if trusted:
        return None
    if (why := _outside(host)) is not None:
        return why
    try:
        literal = ipaddress.ip_address(host)
    except ValueError:
        return None
    return _private(host, [literal])


def _is_name(url: httpx.URL) -> bool:
    """Whether the host is an address, or a name that can be looked up."""
    host = url.raw_host.decode().lower().removesuffix(".")
    return ":" in host or all(_LABEL.fullmatch(label) for label in host.split("."))


def _outside(host: str) -> str | None:
    patterns = names(conf().http_allow)
    if patterns and not any(fnmatchcase(host, pattern) for pattern in patterns):
        return f"{host} is not among the hosts that the server allows"
    return None


def _private(host: str, addresses: list[Address]) -> str | None:
    if conf().http_allow_private or all(is_public(address) for address in addresses):
        return None
    return f"{host} is at a private address, which is not allowed"


async def _judge(url: httpx.URL, *, trusted: bool) -> list[Address]:
    """The addresses to connect to, at most MOST_PLACES.  Raises NotDelivered for what the server does
    not allow."""
    if (why := refusal(str(url), trusted=trusted)) is not None:
        raise NotDelivered(why)
    port = url.port or (443 if url.scheme == "https" else 80)
    try:
        found = await _looked_up(url.host, port)
    except (OSError, UnicodeError) as error:
        raise NotDelivered("its host's name has no address") from error
    addresses = [ipaddress.ip_address(one) for one in found]
    if not trusted and (why := _private("its host", addresses)) is not None:
        raise NotDelivered(why)
    return addresses[:MOST_PLACES]


async def _looked_up(host: str, port: int) -> list[str]:
    """The addresses of a name, looked up in a thread that nobody waits for when time is up: the loop's
    own threads are waited for at its end, however long the resolver takes."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[list[str]] = loop.create_future()

    def say(found: list[str] | Exception) -> None:
        if done.done():
            return
        if isinstance(found, Exception):
            done.set_exception(found)
        else:
            done.set_result(found)

    def look() -> None:
        found: list[str] | Exception
        try:
            entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found = list(dict.fromkeys(str(entry[4][0]).split("%")[0] for entry in entries))
        except (OSError, UnicodeError) as error:
            found = error
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(say, found)

    threading.Thread(target=look, name="resolver", daemon=True).start()
    return await done


@cache
def _tls() -> ssl.SSLContext:
    """The system's certificates; read once, since that takes tens of milliseconds."""
    return ssl.create_default_context()


@cache
def _library() -> ModuleType:
    """apprise with its 150 services: 40 MB and a second, for processes alone that have to do with it."""
    return import_module("apprise")


def apprise_service(address: str, *, trusted: bool) -> apprise.NotifyBase:
    """The service of an apprise URL.  Raises NotDelivered, with a text for people."""
    scheme = address.partition("://")[0].strip().lower()
    if not trusted:
        _judge_scheme(scheme)
    library = _library()
    parsed = _parsed(address)
    if parsed is not None and not trusted:
        _judge_scheme(parsed["schema"])
        _judge_arguments(parsed["qsd"])
    asset = library.AppriseAsset(
        app_id="Millrace",
        app_desc="Millrace",
        app_url="",
        storage_mode=library.PersistentStoreMode.MEMORY,
        secure_logging=True,
    )
    service = None
    if parsed is not None:
        service = library.Apprise.instantiate(parsed, asset=asset, suppress_exceptions=True)
    if service is None:
        raise NotDelivered(f"is no URL of the service {scheme[:40]}")
    if not trusted and len(service) > MOST_RECEIVERS:
        raise NotDelivered(f"names more than {MOST_RECEIVERS} receivers")
    # what the URL may have said otherwise
    service.socket_connect_timeout = service.socket_read_timeout = APPRISE_S
    service.service_retry = 0
    service.redirects = False
    service.verify_certificate = True
    service.request_rate_per_sec = 0.0  # seconds that it would sleep between two receivers
    return service  # type: ignore[no-any-return]


def _parsed(address: str) -> dict[str, Any] | None:
    """What the library reads in a URL, from which it makes the service; None where that is nothing."""
    try:
        found: dict[str, Any] | None = import_module("apprise.plugins").url_to_dict(address)
    except Exception:  # some services trip over what they cannot read
        return None
    return found or None


def _judge_scheme(scheme: str) -> None:
    """Whether tenants may use a service, and the server may call it.  Raises NotDelivered."""
    if scheme not in TENANT_SERVICES:
        known = ", ".join(sorted(TENANT_SERVICES))
        raise NotDelivered(f"{scheme[:40]}:// is not among the services for tenants: {known}")
    for host in TENANT_SERVICES[scheme]:
        if (why := _outside(host)) is not None:
            raise NotDelivered(why)


def _judge_arguments(given: Iterable[str]) -> None:
    """Whether tenants may say these in a URL's query.  Raises NotDelivered."""
    for name in given:
        if name and name not in TENANT_ARGUMENTS:
            known = ", ".join(sorted(TENANT_ARGUMENTS))
            raise NotDelivered(f"may not say {name[:40]}: tenants' URLs may say {known}")


def _apprise(receiver: Receiver, message: Message) -> str:
    service = apprise_service(receiver.secrets["url"], trusted=receiver.trusted)
    taken = service.notify(
        body=message.text,
        title=message.subject,
        notify_type=_TONES[message.tone],
        body_format="text",
    )
    if not taken:
        raise NotDelivered(f"{service.service_name} did not take it")
    return f"taken by {service.service_name}"
