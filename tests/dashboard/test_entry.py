"""The way in: password, second factor, a forgotten password.  Nobody learns who is there."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client, override_settings

from dashboard.views import entry
from tenants import mail, services
from tenants.actors import COMMAND
from tenants.models import AuditEntry, Role, Session, Tenant
from tests.dashboard.mailbox import Mailbox, mailbox
from tests.tenants.people import PASSWORD, code_of, person, with_totp

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def unlimited() -> None:
    entry.letters_asked.forget()
    mail.letters.forget()


@pytest.fixture
def ann() -> User:
    return person("ann", services.create_tenant(slug="mill", actor=COMMAND), Role.ADMIN)


@pytest.fixture
def box() -> Iterator[Mailbox]:
    with mailbox() as found:
        yield found


def sign_in(client: Client, name: str = "ann", password: str = PASSWORD, **more: Any) -> Any:
    return client.post("/login", {"username": name, "password": password}, **more)


def is_in(client: Client) -> bool:
    return client.get("/account/").status_code == 200


def test_signing_in_begins_a_new_session(client: Client, ann: User) -> None:
    client.get("/login")
    session = client.session
    session["of"] = "somebody"
    session.save()
    before = str(session.session_key)
    client.cookies["sessionid"] = before
    answer = sign_in(client, headers={"User-Agent": "Mozilla/5.0 (X11; Linux) Firefox/140"})
    assert (answer.status_code, answer.url) == (302, "/")
    assert client.cookies["sessionid"].value != before
    assert not Session.objects.filter(session_key=before).exists()
    row = Session.objects.get(user=ann)
    assert row.agent.endswith("Firefox/140")
    assert (row.origin, row.signed_in_at is None) == ("127.0.0.1", False)
    assert is_in(client)
    stolen = Client()
    stolen.cookies["sessionid"] = before
    assert not is_in(stolen)


@pytest.mark.parametrize(
    ("target", "leads"),
    [
        ("/account/", "/account/"),
        ("https://evil.example/", "/"),
        ("//evil.example/", "/"),
        ("javascript:alert(1)", "/"),
        ("/\\evil.example", "/"),
    ],
)
def test_nobody_is_led_elsewhere(client: Client, ann: User, target: str, leads: str) -> None:
    answer = client.post("/login", {"username": "ann", "password": PASSWORD, "next": target})
    assert answer.url == leads  # type: ignore[attr-defined]
    _, codes = with_totp(ann)
    client = Client()
    client.post("/login", {"username": "ann", "password": PASSWORD, "next": target})
    assert client.post("/login/code", {"code": codes[0]}).url == leads  # type: ignore[attr-defined]


def test_wrong_name_and_wrong_password_look_the_same(client: Client, ann: User) -> None:
    off = person("off")
    off.is_active = False
    off.save()
    pages = set()
    for name, password in (("ann", "wrong"), ("nobody", "wrong"), ("off", PASSWORD)):
        answer = sign_in(client, name, password)
        assert answer.status_code == 200
        page = re.sub(r'(name="csrfmiddlewaretoken" value)="[^"]+"', "", answer.content.decode())
        pages.add(page.replace(f'value="{name}"', ""))
    assert len(pages) == 1


@pytest.mark.parametrize("name", ["ann", "nobody"])
def test_ten_wrong_passwords_lock_a_name_out(client: Client, ann: User, name: str) -> None:
    statuses = [sign_in(client, name, "wrong").status_code for _ in range(10)]
    assert statuses[:9] == [200] * 9
    assert statuses[9] == 429
    locked = sign_in(client, name)
    assert locked.status_code == 429
    assert "Too many attempts" in locked.content.decode()
    assert not is_in(client)


def test_the_second_factor_is_asked_for(client: Client, ann: User) -> None:
    key, codes = with_totp(ann)
    assert client.get("/login/code").url == "/login"  # type: ignore[attr-defined]
    answer = sign_in(client)
    assert answer.url == "/login/code"
    half = client.cookies["sessionid"].value
    assert not is_in(client)
    assert client.get("/t/mill/").status_code == 302
    assert client.get("/login/code").status_code == 200
    wrong = client.post("/login/code", {"code": "000000"})
    assert wrong.status_code == 403
    assert "That code was not right" in wrong.content.decode()
    assert not is_in(client)
    assert client.post("/login/code", {"code": code_of(key)}).status_code == 302
    assert is_in(client)
    assert client.cookies["sessionid"].value != half
    other = Client()
    sign_in(other)
    assert other.post("/login/code", {"code": code_of(key)}).status_code == 403  # taken before
    assert other.post("/login/code", {"code": codes[0]}).status_code == 302


def test_half_a_sign_in_does_not_last(
    client: Client, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, _ = with_totp(ann)
    sign_in(client)
    began = time.time()
    monkeypatch.setattr("dashboard.views.entry.time.time", lambda: began + entry.HALF_S + 1)
    assert client.post("/login/code", {"code": code_of(key)}).url == "/login"  # type: ignore[attr-defined]
    monkeypatch.undo()
    sign_in(client)
    services.set_password(user=ann, password="another long passphrase", actor=COMMAND)
    assert client.post("/login/code", {"code": code_of(key)}).url == "/login"  # type: ignore[attr-defined]
    assert not is_in(client)


def test_guessed_codes_lock_out_too(client: Client, ann: User) -> None:
    key, _ = with_totp(ann)
    sign_in(client)
    statuses = [client.post("/login/code", {"code": "1"}).status_code for _ in range(10)]
    assert statuses == [403] * 9 + [429]
    assert client.post("/login/code", {"code": code_of(key)}).status_code == 429
    elsewhere = Client(REMOTE_ADDR="10.0.0.7")
    sign_in(elsewhere)
    assert elsewhere.post("/login/code", {"code": code_of(key)}).status_code == 403
    assert not is_in(elsewhere)


def test_forms_need_their_token(ann: User) -> None:
    strict = Client(enforce_csrf_checks=True)
    for path in ("/login", "/login/forgotten", "/invitations/x"):
        assert strict.post(path, {}).status_code in (403, 404), path
    strict.force_login(ann, backend=entry.BACKEND)
    for path in (
        "/account/password", "/account/email", "/account/totp/begin", "/account/totp/confirm",
        "/account/totp/codes", "/account/totp/remove", "/account/connect", "/account/disconnect",
        "/account/sessions/end", "/t/mill/invitations/create", "/t/mill/invitations/withdraw",
        "/t/mill/members/ann/role", "/t/mill/members/ann/remove", "/t/mill/api-keys/create",
        "/t/mill/api-keys/x/rotate", "/t/mill/api-keys/x/revoke",
    ):  # fmt: skip
        assert strict.post(path, {}).status_code == 403, path


def test_cookies_are_for_tls_alone_behind_it(client: Client, ann: User) -> None:
    with override_settings(SESSION_COOKIE_SECURE=True, CSRF_COOKIE_SECURE=True):
        client.get("/login")
        sign_in(client)
    for name in ("sessionid", "csrftoken"):
        assert client.cookies[name]["secure"]
        assert client.cookies[name]["samesite"] == "Lax"
    assert client.cookies["sessionid"]["httponly"]


def test_monitors_ask_past_the_proxy_that_does_tls(db: None) -> None:
    with override_settings(SECURE_SSL_REDIRECT=True):
        behind = Client()
        assert behind.get("/login").status_code == 301
        assert behind.get("/metrics").status_code == 200
        assert behind.get("/health").status_code == 401


def test_a_forgotten_password_is_set_by_a_letter(client: Client, ann: User, box: Mailbox) -> None:
    services.set_email(user=ann, email="ann@example.org", actor=COMMAND)
    elsewhere = Client()
    sign_in(elsewhere)
    page = client.post("/login/forgotten", {"email": "Ann@Example.org"}).content.decode()
    letter = box.next()
    assert (letter["To"], letter["From"]) == ("ann@example.org", "mill@example.org")
    link = re.search(r"http://testserver(/login/forgotten/\S+)", letter.get_content())
    assert link is not None
    unknown = client.post("/login/forgotten", {"email": "nobody@example.org"}).content.decode()
    assert unknown == page
    form = client.get(link[1])
    assert form.status_code == 302  # the token goes from the address into the session
    assert link[1].rsplit("/", 1)[1] not in form.url  # type: ignore[attr-defined]
    weak = client.post(form.url, {"new_password1": "short", "new_password2": "short"})  # type: ignore[attr-defined]
    assert "too short" in weak.content.decode()
    new = {"new_password1": "another long passphrase", "new_password2": "another long passphrase"}
    done = client.post(form.url, new, follow=True)  # type: ignore[attr-defined]
    assert "The new password is set" in done.content.decode()
    assert not is_in(client)
    assert not is_in(elsewhere)
    assert client.get(link[1]).status_code == 200
    assert "was used, or has expired" in client.get(link[1]).content.decode()
    assert sign_in(client, password="another long passphrase").status_code == 302
    assert AuditEntry.objects.filter(action="password.set", target="ann").exists()
    assert box.letters.empty()


def test_an_invitations_address_is_no_way_into_the_account_that_it_makes(
    ann: User, box: Mailbox
) -> None:
    """Whoever invites chooses that address; whoever joins says their own, or none."""
    tenant = Tenant.objects.get(slug="mill")

    def join(name: str, **given: str) -> None:
        path = services.invite(
            tenant=tenant,
            role=Role.VIEWER,
            email="inviter@example.org",
            link=lambda token: f"/invitations/{token}",
            actor=COMMAND,
        )[1]
        guest = Client()
        assert "inviter@example.org" not in guest.get(path).content.decode()
        wrong = guest.post(path, {"name": name, "password": PASSWORD, "email": "nonsense"})
        assert (wrong.status_code, "email:" in wrong.content.decode()) == (422, True)
        assert 'value="nonsense"' in wrong.content.decode()
        form = {"name": name, "password": PASSWORD, **given}
        assert guest.post(path, form, follow=True).redirect_chain == [("/t/mill/", 302)]

    join("bob")
    join("eve", email=" eve@example.org ")
    assert User.objects.get(username="bob").email == ""
    for address in ("inviter@example.org", "eve@example.org"):
        Client().post("/login/forgotten", {"email": address})
    assert box.next()["To"] == "eve@example.org"
    assert box.letters.empty()


def test_letters_are_bounded(client: Client, ann: User, box: Mailbox) -> None:
    services.set_email(user=ann, email="ann@example.org", actor=COMMAND)
    for nr in range(7):
        other = Client(REMOTE_ADDR=f"10.0.0.{nr}")
        assert other.post("/login/forgotten", {"email": "ann@example.org"}).status_code == 200
    for _ in range(5):
        box.next()
    marker = person("bob", email="bob@example.org")
    Client(REMOTE_ADDR="10.0.1.1").post("/login/forgotten", {"email": marker.email})
    assert box.next()["To"] == "bob@example.org"
    asking = Client(REMOTE_ADDR="10.0.2.1")
    for nr in range(25):
        person(f"p{nr}", email=f"p{nr}@example.org")
        asking.post("/login/forgotten", {"email": f"p{nr}@example.org"})
    assert [box.next()["To"] for _ in range(20)][-1] == "p19@example.org"
    Client(REMOTE_ADDR="10.0.2.2").post("/login/forgotten", {"email": "bob@example.org"})
    assert box.next()["To"] == "bob@example.org"


def test_without_a_mail_server_the_page_says_so(client: Client, ann: User) -> None:
    assert "manage.py user_recover" in client.get("/login/forgotten").content.decode()
    page = client.post("/login/forgotten", {"email": "x@example.org"}).content.decode()
    assert "manage.py user_recover" in page
    assert "Forgotten" not in client.get("/login").content.decode()
