"""The Members page: for admins alone; invitations, roles, removal."""

from __future__ import annotations

import re

import pytest
from django.test import Client

from tenants import services
from tenants.actors import COMMAND
from tenants.models import Invitation, Membership, Role
from tests.dashboard.conftest import House
from tests.dashboard.mailbox import mailbox
from tests.tenants.people import PASSWORD

HOME = "/t/mill/members"


def link(page: str) -> str:
    found = re.search(r'<code id="link">http://testserver(/invitations/[\w-]{43})</code>', page)
    assert found is not None
    return found[1]


def test_it_is_for_admins_alone(house: House) -> None:
    admin, operator, stranger = house.client("admin"), house.client("operator"), house.client(None)
    for address in (f"{HOME}/", f"{HOME}/operator/"):
        assert admin.get(address).status_code == 200
        assert operator.get(address).status_code == 403
        assert operator.get(address, headers={"X-Live": "1"}).status_code == 403
        assert stranger.get(address).status_code == 404
        assert Client().get(address).status_code == 302
    assert admin.get(f"{HOME}/stranger/").status_code == 404
    for action in (
        f"{HOME}/operator/role", f"{HOME}/operator/remove",
        "/t/mill/invitations/create", "/t/mill/invitations/withdraw",
    ):  # fmt: skip
        assert operator.post(action, {"role": "admin"}).status_code == 403
        assert stranger.post(action, {"role": "admin"}).status_code == 404
    for action in (f"{HOME}/stranger/role", f"{HOME}/stranger/remove"):
        assert admin.post(action, {"role": "admin"}).status_code == 404
    assert HOME not in operator.get("/t/mill/").content.decode()
    assert HOME in admin.get("/t/mill/").content.decode()
    assert Membership.objects.get(user__username="operator").role == Role.OPERATOR
    assert not Invitation.objects.exists()


def test_somebody_is_invited_and_joins(house: House) -> None:
    admin = house.client("admin")
    answer = admin.post("/t/mill/invitations/create", {"role": "operator", "email": "a@b.example"})
    assert answer["Cache-Control"] == "no-store"
    where = link(answer.content.decode())
    page = admin.get(f"{HOME}/").content.decode()
    assert "a@b.example" in page
    assert where not in page
    guest = Client()
    seen = guest.get(where)
    assert "as <strong>operator</strong>" in seen.content.decode()
    assert "no-store" in seen["Cache-Control"]
    taken = guest.post(where, {"name": "admin", "password": PASSWORD})
    assert (taken.status_code, "choose another" in taken.content.decode()) == (422, True)
    weak = guest.post(where, {"name": "guest", "password": "x"})
    assert (weak.status_code, "password:" in weak.content.decode()) == (422, True)
    joined = guest.post(where, {"name": "guest", "password": PASSWORD}, follow=True)
    assert joined.redirect_chain == [("/t/mill/", 302)]
    assert "You are a member of mill now." in joined.content.decode()
    assert guest.get(f"{HOME}/").status_code == 403
    assert Client().get(where).status_code == 404
    assert "a@b.example" not in re.sub(
        "(?s)guest.*?</tr>", "", admin.get(f"{HOME}/").content.decode()
    )


def test_who_is_signed_in_joins_as_they_are(house: House) -> None:
    admin, stranger = house.client("admin"), house.client(None)
    where = link(admin.post("/t/mill/invitations/create", {"role": "viewer"}).content.decode())
    assert "Join as stranger" in stranger.get(where).content.decode()
    assert stranger.post(where, follow=True).status_code == 200
    assert stranger.get("/t/mill/").status_code == 200
    assert stranger.post(where).status_code == 404


def test_an_invitation_is_withdrawn(house: House) -> None:
    admin = house.client("admin")
    where = link(admin.post("/t/mill/invitations/create", {}).content.decode())
    number = Invitation.objects.get().pk
    assert Invitation.objects.get().role == Role.VIEWER
    done = admin.post("/t/mill/invitations/withdraw", {"id": number}, follow=True)
    assert "The invitation is withdrawn." in done.content.decode()
    assert Client().get(where).status_code == 404
    for nonsense in (number, "x", "9" * 30, ""):
        again = admin.post("/t/mill/invitations/withdraw", {"id": nonsense}, follow=True)
        assert "used or withdrawn" in again.content.decode()
    bad = admin.post("/t/mill/invitations/create", {"email": "nonsense"}, follow=True)
    assert "Nobody was invited. email:" in bad.content.decode()


@pytest.mark.django_db(transaction=True)
def test_the_link_is_sent_where_there_is_a_mail_server(house: House) -> None:
    admin = house.client("admin")
    with mailbox() as box:
        form = {"role": "admin", "email": "new@example.org"}
        where = link(admin.post("/t/mill/invitations/create", form).content.decode())
        letter = box.next()
    assert letter["To"] == "new@example.org"
    assert f"http://testserver{where}" in letter.get_content()
    assert "as admin" in letter.get_content()


def test_roles_change_and_members_go_at_once(house: House) -> None:
    admin, viewer = house.client("admin"), house.client("viewer")
    changed = admin.post(f"{HOME}/viewer/role", {"role": "operator"}, follow=True)
    assert "viewer is operator now." in changed.content.decode()
    gone = admin.post(f"{HOME}/viewer/remove", follow=True)
    assert "viewer is no member any more." in gone.content.decode()
    assert viewer.get("/t/mill/").status_code == 404
    last = admin.post(f"{HOME}/admin/role", {"role": "viewer"}, follow=True)
    assert "last admin" in last.content.decode()
    last = admin.post(f"{HOME}/admin/remove", follow=True)
    assert Membership.objects.get().role == Role.ADMIN
    services.create_user(
        name="second", password=PASSWORD, tenant=house.tenant, role=Role.ADMIN, actor=COMMAND
    )
    assert admin.post(f"{HOME}/admin/remove").url == "/"  # type: ignore[attr-defined]
    assert admin.get(f"{HOME}/").status_code == 404


def test_pages_of_members(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    admin = house.client("admin")
    house.user("viewer")
    monkeypatch.setattr("dashboard.pages.members.LIMIT", 1)
    page = admin.get(f"{HOME}/?cursor=rubbish").content.decode()
    after = re.search(r'rel="next" href="(\?cursor=[^"]+)"', page)
    assert after is not None
    assert "/members/viewer/" in admin.get(f"{HOME}/{after[1]}").content.decode()
    live = admin.get(f"{HOME}/viewer/", headers={"X-Live": "1"}).content.decode()
    assert '<div id="section-head" hx-swap-oob' in live


def test_staff_see_a_tenant_without_members(house: House) -> None:
    staff = house.client(None, staff=True)
    assert "No member yet" in staff.get(f"{HOME}/").content.decode()
