"""The account page: password, e-mail, second factor, sessions; each change needs the password."""

from __future__ import annotations

import html
import re
import time

import pytest
from django.contrib.auth.models import User
from django.test import Client, override_settings

from dashboard.views.entry import BACKEND
from dashboard.words import browser
from tenants import services, sessions
from tenants.actors import COMMAND
from tenants.models import AuditEntry, Role, Session
from tenants.services.factors import has_totp
from tests.tenants.people import PASSWORD, code_of, person, with_totp

pytestmark = pytest.mark.django_db
NEW = "another long passphrase"


@pytest.fixture
def ann() -> User:
    return person("ann", services.create_tenant(slug="mill", actor=COMMAND), Role.ADMIN)


@pytest.fixture
def browser_of_ann(client: Client, ann: User) -> Client:
    return signed_in()


def signed_in(agent: str = "Mozilla/5.0 (Windows NT 10.0) Chrome/150 Safari/537") -> Client:
    client = Client(headers={"User-Agent": agent})
    answer = client.post("/login", {"username": "ann", "password": PASSWORD})
    assert answer.status_code == 302
    return client


def said(client: Client, path: str, **form: str) -> str:
    return html.unescape(client.post(f"/account/{path}", form, follow=True).content.decode())


def test_a_password_is_changed_and_other_sessions_end(browser_of_ann: Client, ann: User) -> None:
    other = signed_in()
    before = browser_of_ann.cookies["sessionid"].value
    wrong = said(browser_of_ann, "password", current="wrong", password=NEW)
    assert "Your present password was not right" in wrong
    weak = said(browser_of_ann, "password", current=PASSWORD, password="ann")
    assert "password: " in weak
    ann.refresh_from_db()
    assert ann.check_password(PASSWORD)
    assert "The new password is set." in said(
        browser_of_ann, "password", current=PASSWORD, password=NEW
    )
    ann.refresh_from_db()
    assert ann.check_password(NEW)
    assert browser_of_ann.cookies["sessionid"].value != before
    assert browser_of_ann.get("/account/").status_code == 200
    assert other.get("/account/").status_code == 302
    assert Session.objects.filter(user=ann).count() == 1


def test_guessing_from_a_stolen_session_locks_out(browser_of_ann: Client, ann: User) -> None:
    for _ in range(9):
        said(browser_of_ann, "password", current="wrong", password=NEW)
    locked = browser_of_ann.post("/account/password", {"current": "wrong", "password": NEW})
    assert locked.status_code == 429
    browser_of_ann.post("/account/password", {"current": PASSWORD, "password": NEW})
    ann.refresh_from_db()
    assert ann.check_password(PASSWORD)


def test_an_address_needs_the_password(browser_of_ann: Client, ann: User) -> None:
    assert "not right" in said(browser_of_ann, "email", current="", email="evil@example.org")
    assert "email: that is" in said(browser_of_ann, "email", current=PASSWORD, email="nonsense")
    for _ in range(2):
        assert "is saved" in said(browser_of_ann, "email", current=PASSWORD, email="a@example.org")
    ann.refresh_from_db()
    assert ann.email == "a@example.org"
    assert AuditEntry.objects.filter(action="email.set", actor="user:ann").count() == 1


def test_a_second_factor_from_end_to_end(browser_of_ann: Client, ann: User) -> None:
    assert browser_of_ann.get("/account/totp").url == "/account/"  # type: ignore[attr-defined]
    assert "not right" in said(browser_of_ann, "totp/begin", current="wrong")
    page = said(browser_of_ann, "totp/begin", current=PASSWORD)
    assert "<svg" in page
    assert "style=" not in page
    found = re.search(r'<code id="totp-key">([A-Z2-7 ]+)</code>', page)
    assert found is not None
    with override_settings(SECRET_KEY_FALLBACKS=[], SECRET_KEY="another"):
        other = Client()
        other.force_login(ann, backend=BACKEND)
        assert "begin anew" in other.get("/account/totp", follow=True).content.decode()
    assert "That was not its code" in said(browser_of_ann, "totp/confirm", code="000000")
    answer = browser_of_ann.post("/account/totp/confirm", {"code": code_of(found[1])})
    assert answer["Cache-Control"] == "no-store"
    codes = re.findall(r"<li>((?:[a-z0-9]{4}-){3}[a-z0-9]{4})</li>", answer.content.decode())
    assert len(codes) == 10
    assert has_totp(ann)
    assert (
        "Recovery codes left: <strong>10</strong>"
        in browser_of_ann.get("/account/").content.decode()
    )
    assert "not right" in said(browser_of_ann, "totp/codes", current="wrong")
    renewed = said(browser_of_ann, "totp/codes", current=PASSWORD)
    assert codes[0] not in renewed
    assert "not right" in said(browser_of_ann, "totp/remove", current="wrong")
    assert has_totp(ann)
    assert "no code any more" in said(browser_of_ann, "totp/remove", current=PASSWORD)
    assert not has_totp(ann)
    assert browser_of_ann.post("/account/totp/codes", {"current": PASSWORD}).status_code == 302


def test_sessions_are_listed_and_ended(browser_of_ann: Client, ann: User) -> None:
    phone = signed_in("Mozilla/5.0 (iPhone) Safari/605")
    third = signed_in("curl/8")
    page = browser_of_ann.get("/account/").content.decode()
    for name in ("Chrome on Windows", "Safari on iPhone", "curl/8"):
        assert name in page
    for client in (browser_of_ann, phone, third):
        assert client.cookies["sessionid"].value not in page
    which = re.search(r'Safari on iPhone.*?name="which" value="([0-9a-f]{32})"', page, re.DOTALL)
    assert which is not None
    bob = person("bob")
    stranger = Client()
    stranger.force_login(bob, backend=BACKEND)
    stranger.post("/account/sessions/end", {"which": which[1]})
    assert phone.get("/account/").status_code == 200
    said(browser_of_ann, "sessions/end", which=which[1])
    assert phone.get("/account/").status_code == 302
    assert third.get("/account/").status_code == 200
    assert "have ended: 1" in said(browser_of_ann, "sessions/end")
    assert third.get("/account/").status_code == 302
    assert browser_of_ann.get("/account/").status_code == 200
    assert stranger.get("/account/").status_code == 200
    found = AuditEntry.objects.filter(actor="user:ann").values_list("action", flat=True)
    assert list(found) == ["session.ended", "sessions.ended"]


def test_when_a_session_was_seen_is_written_once_a_minute(
    browser_of_ann: Client, ann: User
) -> None:
    row = Session.objects.get(user=ann)
    browser_of_ann.get("/account/")
    assert Session.objects.get(user=ann).seen_at == row.seen_at
    long_ago = row.seen_at - sessions.SEEN_EVERY * 2
    Session.objects.update(seen_at=long_ago)
    browser_of_ann.get("/account/")
    assert Session.objects.get(user=ann).seen_at > long_ago


def test_who_has_no_password_has_signed_in_a_moment_ago(client: Client) -> None:
    user = services.create_user(name="oda", password=None, actor=COMMAND)
    client.force_login(user, backend=BACKEND)
    assert "Sign out and in again first" in said(client, "password", password=NEW)
    session = client.session
    session[sessions.SIGNED_IN_AT] = time.time()
    session.save()
    assert "The new password is set." in said(client, "password", password=NEW)


def test_a_second_factor_holds_for_the_admin_too(client: Client) -> None:
    staff = services.create_user(name="sam", password=PASSWORD, staff=True, actor=COMMAND)
    _, codes = with_totp(staff)
    way = client.get("/admin/", follow=True).redirect_chain[-1][0]
    answer = client.post(way, {"username": "sam", "password": PASSWORD, "next": "/admin/"})
    assert answer.url == "/login/code"  # type: ignore[attr-defined]
    assert client.get("/admin/").status_code == 302
    assert client.post("/login/code", {"code": codes[0]}).url == "/admin/"  # type: ignore[attr-defined]
    assert client.get("/admin/").status_code == 200


def test_the_frame_is_that_of_the_tenant_that_was_used_last(browser_of_ann: Client) -> None:
    assert "/t/mill/members/" not in browser_of_ann.get("/account/").content.decode()
    browser_of_ann.get("/t/mill/")
    assert "/t/mill/members/" in browser_of_ann.get("/account/").content.decode()


def test_browsers_in_words() -> None:
    assert browser("Mozilla/5.0 (Macintosh; Mac OS X) Version/18 Safari/605") == "Safari on macOS"
    assert browser("Mozilla/5.0 (Linux; Android 15) Chrome/1 Safari/1 Edg/1") == "Edge on Android"
    assert browser("") == "unknown"
