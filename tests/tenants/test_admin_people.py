"""People in the admin: users, memberships, their sessions and second factors."""

from __future__ import annotations

import pytest
from django.test import Client

from tenants import services
from tenants.actors import COMMAND
from tenants.models import (
    AuditEntry,
    Membership,
    Role,
    Session,
    Tenant,
    Totp,
)
from tests.tenants.people import with_totp

pytestmark = [pytest.mark.django_db, pytest.mark.thorough]
PASSWORD = "a long enough passphrase"


@pytest.fixture
def staff(client: Client) -> Client:
    user = services.create_user(name="sam", password=PASSWORD, staff=True, actor=COMMAND)
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


@pytest.fixture
def tenant() -> Tenant:
    return services.create_tenant(slug="acme", actor=COMMAND)


def test_members_and_people(staff: Client, tenant: Tenant) -> None:
    staff.post(
        "/admin/auth/user/add/",
        {
            "username": "ann",
            "password1": PASSWORD,
            "password2": PASSWORD,
            "usable_password": "true",
        },
    )
    ann = AuditEntry.objects.get(action="user.created", target="ann")
    assert ann.actor == "user:sam"
    from django.contrib.auth.models import User

    user = User.objects.get(username="ann")
    staff.post(
        "/admin/tenants/membership/add/", {"tenant": tenant.pk, "user": user.pk, "role": "operator"}
    )
    member = Membership.objects.get()
    assert member.role == "operator"
    change, delete = (
        f"/admin/tenants/membership/{member.pk}/{act}/" for act in ("change", "delete")
    )
    staff.post(change, {"role": "admin"}, follow=True)
    chosen = {"action": "delete_selected", "_selected_action": [member.pk], "post": "yes"}
    for page, form in (
        (change, {"role": "viewer"}),
        (delete, {"post": "yes"}),
        ("/admin/tenants/membership/", chosen),
    ):
        told = staff.post(page, form, follow=True).content.decode()
        assert "last admin" in told
        assert "successfully" not in told
    member.refresh_from_db()
    assert member.role == "admin"
    eve = services.create_user(
        name="eve", password=PASSWORD, tenant=tenant, role=Role.ADMIN, actor=COMMAND
    )
    staff.post(delete, {"post": "yes"})
    assert Membership.objects.get().user == eve
    staff.post(f"/admin/auth/user/{user.pk}/delete/", {"post": "yes"})
    actions = AuditEntry.objects.order_by("id").values_list("action", flat=True)
    assert list(actions)[-3:] == ["member.set", "member.removed", "user.deleted"]


def test_what_changes_of_a_person_is_told(staff: Client, tenant: Tenant) -> None:
    user = services.create_user(name="ann", password=PASSWORD, tenant=tenant, actor=COMMAND)
    Client().force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    page = f"/admin/auth/user/{user.pk}/"
    form = {"username": "ann", "is_active": "on"}
    before, after = {"email": "", "staff": False}, {"email": "ann@acme.example", "staff": True}
    last = AuditEntry.objects.latest("pk").pk
    for _ in range(2):  # once there is nothing to tell
        sent = form | {"email": "ann@acme.example", "is_staff": "on"}
        assert staff.post(f"{page}change/", sent).status_code == 302
    passwords = {"password1": "another long word 7", "password2": "another long word 7"}
    for sent in ({"password1": "x", "password2": "y"}, passwords, {"usable_password": "false"}):
        staff.post(f"{page}password/", sent | {"unset-password": "1"})
    user.refresh_from_db()
    assert not user.has_usable_password()
    assert not Session.objects.filter(user=user).exists()
    told = AuditEntry.objects.filter(pk__gt=last).order_by("pk")
    assert list(told.values_list("action", "before", "after")) == [
        ("user.changed", before, after),
        ("password.set", None, None),
        ("sessions.ended", {"count": 1}, None),
        ("password.set", None, {"usable": False}),
    ]
    assert {(one.target, one.actor) for one in told} == {("ann", "user:sam")}
    assert staff.get("/admin/auth/user/nobody/password/").status_code == 404


def test_a_tenants_last_admin_is_not_deleted(staff: Client, tenant: Tenant) -> None:
    other = services.create_tenant(slug="beta", actor=COMMAND)
    ann, bob = (
        services.create_user(
            name=name, password=PASSWORD, tenant=tenant, role=Role.ADMIN, actor=COMMAND
        )
        for name in ("ann", "bob")
    )
    services.set_member(tenant=other, user=ann, role=Role.VIEWER, actor=COMMAND)
    chosen = {"action": "delete_selected", "_selected_action": [ann.pk, bob.pk], "post": "yes"}
    text = staff.post("/admin/auth/user/", chosen, follow=True).content.decode()
    assert "is the last admin of acme" in text
    assert Membership.objects.count() == 3
    staff.post(f"/admin/auth/user/{ann.pk}/delete/", {"post": "yes"}, follow=True)
    text = staff.post(
        f"/admin/auth/user/{bob.pk}/delete/", {"post": "yes"}, follow=True
    ).content.decode()
    assert "bob is the last admin of acme" in text
    assert "successfully" not in text
    assert Membership.objects.get().user == bob
    gone = AuditEntry.objects.filter(target="ann", action__in=("member.removed", "user.deleted"))
    assert list(gone.order_by("pk").values_list("tenant__slug", "action")) == [
        ("acme", "member.removed"),
        ("beta", "member.removed"),
        (None, "user.deleted"),
    ]


def test_staff_end_sessions_and_take_second_factors_away(staff: Client, tenant: Tenant) -> None:
    ann = services.create_user(name="ann", password=PASSWORD, tenant=tenant, actor=COMMAND)
    Client().force_login(ann, backend="django.contrib.auth.backends.ModelBackend")
    with_totp(ann)
    for action in ("end_sessions", "remove_totp"):
        staff.post("/admin/auth/user/", {"action": action, "_selected_action": [ann.pk]})
    assert not Session.objects.filter(user=ann).exists()
    assert not Totp.objects.exists()
    found = AuditEntry.objects.filter(target="ann", actor="user:sam").values_list(
        "action", flat=True
    )
    assert list(found) == ["sessions.ended", "totp.removed"]
