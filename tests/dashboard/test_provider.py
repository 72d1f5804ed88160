"""Sign-in through a real OpenID provider, which signs real tokens, in a process of its own."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import httpx
import pytest
from django.contrib.auth.models import User
from django.test import Client, override_settings

from dashboard.views.entry import BACKEND
from tenants import services
from tenants.actors import COMMAND
from tenants.environment import Oidc
from tenants.models import AuditEntry, Identity, Membership, Role, Session, Tenant
from tests.tenants.people import PASSWORD, person

pytestmark = [pytest.mark.django_db, pytest.mark.thorough]


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    """A provider at which everybody may sign in as whom they like."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "oidc_provider_mock", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{address}/.well-known/openid-configuration", process)
        yield address
    finally:
        process.terminate()
        process.wait(10)


def wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        assert process.poll() is None, "the provider has ended"
        try:
            httpx.get(address).raise_for_status()
        except httpx.TransportError:
            time.sleep(0.05)  # it tells nobody when it listens
        else:
            return
    raise AssertionError("the provider did not answer")


@pytest.fixture
def provider(issuer: str) -> Iterator[str]:
    with override_settings(OIDC=Oidc(issuer, "millrace", "secret", "Acme Id")):
        yield issuer


@pytest.fixture
def tenant() -> Tenant:
    return services.create_tenant(slug="mill", actor=COMMAND)


def ask(client: Client, query: str = "") -> str:
    """Where the browser is sent."""
    answer = client.get(f"/login/provider{query}")
    assert answer.status_code == 302
    return str(answer.url)  # type: ignore[attr-defined]


def consent(where: str, subject: str, issuer: str, **claims: object) -> str:
    """Sign in at the provider; where it sends the browser back to."""
    if claims:
        httpx.put(f"{issuer}/users/{quote(subject)}", json=claims).raise_for_status()
    answer = httpx.post(where, data={"sub": subject})
    assert answer.status_code == 302, answer.text
    return answer.headers["Location"].removeprefix("http://testserver")


def come_in(client: Client, subject: str, issuer: str, query: str = "", **claims: object) -> Any:
    """The whole way there and back."""
    return client.get(consent(ask(client, query), subject, issuer, **claims))


def known(user: User, issuer: str, subject: str) -> User:
    Identity.objects.create(user=user, issuer=issuer, subject=subject)
    return user


def is_in(client: Client) -> bool:
    return client.get("/account/").status_code == 200


def test_what_is_asked_is_bound_to_this_browser(client: Client, provider: str) -> None:
    assert "Sign in with Acme Id" in client.get("/login").content.decode()
    asked = parse_qs(urlsplit(ask(client)).query)
    assert asked["response_type"] == ["code"]
    assert asked["scope"] == ["openid email profile"]
    assert asked["redirect_uri"] == ["http://testserver/login/provider/answer"]
    assert asked["code_challenge_method"] == ["S256"]
    assert {"state", "nonce", "code_challenge"} <= asked.keys()
    row = Session.objects.get()
    assert row.expire_date - row.seen_at < timedelta(minutes=16)  # of somebody who never comes back


def test_who_is_connected_comes_in(client: Client, provider: str, tenant: Tenant) -> None:
    known(person("ann", tenant), provider, "sub-1")
    answer = come_in(client, "sub-1", provider, "?next=/account/")
    assert (answer.status_code, answer.url) == (302, "/account/")
    assert is_in(client)
    row = Session.objects.get()
    assert row.expire_date - row.seen_at > timedelta(days=13)


def test_nobody_is_led_elsewhere(client: Client, provider: str, tenant: Tenant) -> None:
    known(person("ann", tenant), provider, "sub-1")
    assert come_in(client, "sub-1", provider, "?next=https://evil.example/").url == "/"


def test_names_and_addresses_connect_nobody(client: Client, provider: str, tenant: Tenant) -> None:
    person("ann", tenant, email="ann@example.org")
    answer = come_in(
        client, "ann", provider,
        email="ann@example.org", email_verified=True, preferred_username="ann",
    )  # fmt: skip
    assert answer.status_code == 403
    assert "no account here is connected" in answer.content.decode()
    assert not is_in(client)
    assert User.objects.count() == 1


def test_who_is_off_does_not_come_in(client: Client, provider: str, tenant: Tenant) -> None:
    ann = known(person("ann", tenant), provider, "sub-1")
    ann.is_active = False
    ann.save()
    assert come_in(client, "sub-1", provider).status_code == 403
    assert not is_in(client)


def test_an_invitation_makes_an_account(client: Client, provider: str, tenant: Tenant) -> None:
    person("guest")
    _, link = services.invite(tenant=tenant, role=Role.OPERATOR, link=str, actor=COMMAND)
    page = client.get(f"/invitations/{link}").content.decode()
    found = re.search(r'href="/login/provider(\?invitation=[^"]+)"', page)
    assert found is not None
    query = found[1].replace("&amp;", "&")
    said = {"email": "g@example.org", "email_verified": True, "preferred_username": "guest"}
    answer = come_in(client, "sub-9", provider, query, **said)
    assert answer.url == "/t/mill/"
    member = Membership.objects.select_related("user").get()
    assert member.role == Role.OPERATOR
    assert member.user.username.startswith("guest-")
    assert member.user.email == "g@example.org"
    assert not member.user.has_usable_password()
    assert is_in(client)
    assert AuditEntry.objects.filter(action="identity.connected").exists()
    again = Client()
    assert come_in(again, "sub-9", provider).url == "/"  # they are known now
    assert come_in(Client(), "sub-10", provider, query).status_code == 403  # it is used up
    refused = client.post("/account/disconnect", follow=True).content.decode()
    assert "Set a password first" in refused
    assert Identity.objects.exists()


def test_an_unverified_address_is_not_kept(client: Client, provider: str, tenant: Tenant) -> None:
    _, link = services.invite(tenant=tenant, role=Role.VIEWER, link=str, actor=COMMAND)
    come_in(client, "sub-11", provider, f"?invitation={link}", email="boss@example.org")
    assert Membership.objects.get().user.email == ""


def test_an_account_is_connected_by_its_owner(
    client: Client, provider: str, tenant: Tenant
) -> None:
    ann = person("ann", tenant)
    client.force_login(ann, backend=BACKEND)
    # a link alone, which somebody else may have set, connects nothing
    assert come_in(client, "evil", provider).url == "/"
    assert not Identity.objects.exists()
    client.post("/account/connect", {"current": "wrong"})
    come_in(client, "evil", provider)
    assert not Identity.objects.exists()
    page = client.post("/account/connect", {"current": PASSWORD}).content.decode()
    assert "Go on to Acme Id" in page
    done = come_in(client, "sub-1", provider, "?next=/account/")
    assert done.url == "/account/"
    assert Identity.objects.get().user == ann
    other = Client()
    assert come_in(other, "sub-1", provider).url == "/"
    assert is_in(other)
    eve = Client()
    eve.force_login(person("eve", tenant), backend=BACKEND)
    eve.post("/account/connect", {"current": PASSWORD})
    come_in(eve, "sub-1", provider)
    assert "connected to another account" in eve.get("/account/").content.decode()
    client.post("/account/disconnect", {"current": PASSWORD})
    assert not Identity.objects.exists()


def test_an_answer_counts_in_the_browser_that_asked_and_once(
    client: Client, provider: str, tenant: Tenant
) -> None:
    known(person("ann", tenant), provider, "sub-1")
    back = consent(ask(client), "sub-1", provider)
    victim = Client()
    ask(victim)
    assert victim.get(back).status_code == 502
    assert Client().get(back).status_code == 502
    assert client.get(back).status_code == 302
    client.post("/logout")
    assert client.get(back).status_code == 502
    assert not is_in(client)
    code = parse_qs(urlsplit(back).query)["code"][0]
    state = parse_qs(urlsplit(ask(client)).query)["state"][0]
    replayed = client.get(f"/login/provider/answer?code={code}&state={state}")
    assert replayed.status_code == 502
    denied = httpx.post(ask(client), data={"action": "deny"})
    location = denied.headers["Location"].removeprefix("http://testserver")
    assert client.get(location).status_code == 502


def test_a_token_for_another_server_is_refused(
    client: Client, provider: str, tenant: Tenant
) -> None:
    known(person("ann", tenant), provider, "sub-1")
    back = consent(ask(client), "sub-1", provider)
    with override_settings(OIDC=Oidc(provider, "other", "secret", "Acme Id")):
        assert client.get(back).status_code == 502
    back = consent(ask(client), "sub-1", provider)
    other_name = provider.replace("127.0.0.1", "localhost")
    with override_settings(OIDC=Oidc(other_name, "millrace", "secret", "Acme Id")):
        assert client.get(back).status_code in (403, 502)  # another issuer's number for them
    assert not is_in(client)


def test_a_provider_that_is_away(client: Client) -> None:
    assert client.get("/login/provider").status_code == 404
    assert client.get("/login/provider/answer").status_code == 404
    with override_settings(OIDC=Oidc("http://127.0.0.1:9", "millrace", "secret", "Gone")):
        answer = client.get("/login/provider")
    assert answer.status_code == 502
    assert "Gone did not confirm" in answer.content.decode()
