"""Members and invitations: one admin is always left, a link works once, nobody learns who is there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from tenants import access, services
from tenants.actors import COMMAND, Actor
from tenants.errors import (
    AlreadyThere,
    InvalidValue,
    InvitationNotFound,
    LastAdmin,
    TenantsError,
    TooManyOpen,
)
from tenants.models import AuditEntry, Invitation, Membership, Role, Tenant
from tenants.services import invitations
from tests.tenants.people import PASSWORD, person

ANN = Actor("user", "ann", "10.0.0.1")


def house(slug: str = "acme") -> Tenant:
    return services.create_tenant(slug=slug, actor=COMMAND)


def invite(tenant: Tenant, role: Role = Role.OPERATOR, **more: Any) -> str:
    """The token of a new invitation."""
    _, link = services.invite(
        tenant=tenant, role=role, link=lambda token: f"https://x/{token}", actor=ANN, **more
    )
    return link.removeprefix("https://x/")


@pytest.mark.django_db
def test_the_last_admin_stays() -> None:
    tenant = house()
    ann = person("ann", tenant, Role.ADMIN)
    bob = person("bob", tenant, Role.ADMIN)
    off = person("off", tenant, Role.ADMIN)
    off.is_active = False
    off.save()
    services.set_member(tenant=tenant, user=bob, role=Role.VIEWER, actor=ANN)
    member = Membership.objects.get(user=ann)
    with pytest.raises(LastAdmin):
        services.set_member(tenant=tenant, user=ann, role=Role.OPERATOR, actor=ANN)
    with pytest.raises(LastAdmin):
        services.remove_member(member=member, actor=ANN)
    services.set_member(tenant=tenant, user=ann, role=Role.ADMIN, actor=ANN)
    services.set_member(tenant=tenant, user=bob, role=Role.ADMIN, actor=ANN)
    services.remove_member(member=member, actor=ANN)
    assert set(
        Membership.objects.filter(role="admin").values_list("user__username", flat=True)
    ) == {
        "bob",
        "off",
    }
    other = house("other")  # a tenant that never had one needs none
    services.remove_member(
        member=services.set_member(tenant=other, user=ann, role=Role.VIEWER, actor=ANN), actor=ANN
    )


@pytest.mark.django_db(transaction=True)
def test_two_admins_who_remove_each_other_leave_one() -> None:
    tenant = house()
    members = [
        Membership.objects.select_related("tenant", "user").get(
            user=person(name, tenant, Role.ADMIN)
        )
        for name in ("ann", "bob")
    ]
    outcomes = at_once(
        *(lambda one=one: services.remove_member(member=one, actor=ANN) for one in members)
    )
    assert sorted(outcomes) == ["LastAdmin", "done"]
    assert Membership.objects.count() == 1


def at_once(*calls: Callable[[], object]) -> list[str]:
    """What became of these calls, made by threads that start together."""
    barrier = threading.Barrier(len(calls))
    outcomes: list[str] = []

    def run(call: Callable[[], object]) -> None:
        try:
            barrier.wait(5)
            call()
            outcomes.append("done")
        except TenantsError as error:
            outcomes.append(type(error).__name__)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    return outcomes


@pytest.mark.django_db
def test_an_invitation_makes_a_new_person_a_member_once() -> None:
    tenant = house()
    token = invite(tenant, email="new@example.org")
    assert token not in str(list(Invitation.objects.values()) + list(AuditEntry.objects.values()))
    user, found = services.join(token=token, name="new", password=PASSWORD, origin="10.0.0.9")
    assert access.access_tenant(user=user, slug="acme", role=Role.OPERATOR).tenant == tenant
    assert (user.email, found.tenant) == ("", tenant)  # whoever invites does not choose it
    for again in (token, "x", token + "x", "\0" * 43):
        with pytest.raises(InvitationNotFound):
            services.join(token=again, name="other", password=PASSWORD, origin="")
    assert not User.objects.filter(username="other").exists()
    actions = list(AuditEntry.objects.order_by("id").values_list("action", "actor", "origin"))
    assert actions[-4:] == [
        ("invitation.created", "user:ann", "10.0.0.1"),
        ("user.created", "user:new", "10.0.0.9"),
        ("invitation.accepted", "user:new", "10.0.0.9"),
        ("member.set", "user:new", "10.0.0.9"),
    ]


@pytest.mark.django_db
def test_an_invitation_never_takes_rights_away() -> None:
    tenant = house()
    ann = person("ann", tenant, Role.ADMIN)
    services.accept(token=invite(tenant, Role.VIEWER), user=ann, actor=ANN)
    assert Membership.objects.get(user=ann).role == Role.ADMIN
    bob = person("bob", tenant)
    services.accept(token=invite(tenant, Role.OPERATOR), user=bob, actor=ANN)
    assert Membership.objects.get(user=bob).role == Role.OPERATOR


@pytest.mark.django_db
def test_expired_and_withdrawn_ones_lead_nowhere() -> None:
    tenant = house()
    expired, withdrawn = invite(tenant), invite(tenant)
    Invitation.objects.filter(digest=invitations.digest(expired)).update(
        expires_at=timezone.now() - timedelta(seconds=1)
    )
    number = Invitation.objects.get(digest=invitations.digest(withdrawn)).pk
    with pytest.raises(InvitationNotFound):  # another tenant's
        services.revoke_invitation(tenant=house("other"), invitation_id=number, actor=ANN)
    services.revoke_invitation(tenant=tenant, invitation_id=number, actor=ANN)
    with pytest.raises(InvitationNotFound):
        services.revoke_invitation(tenant=tenant, invitation_id=number, actor=ANN)
    for token in (expired, withdrawn):
        with pytest.raises(InvitationNotFound):
            services.accept(token=token, user=person(f"p{token[:5]}"), actor=ANN)
    assert not Membership.objects.exists()


@pytest.mark.django_db
def test_names_are_not_tried_with_an_invitation() -> None:
    tenant = house()
    for nr in range(invitations.MOST_ATTEMPTS):
        person(f"p{nr}")
    token = invite(tenant)
    for nr in range(invitations.MOST_ATTEMPTS):
        with pytest.raises(AlreadyThere):
            services.join(token=token, name=f"p{nr}", password=PASSWORD, origin="")
    with pytest.raises(InvitationNotFound):
        services.join(token=token, name="fresh", password=PASSWORD, origin="")


@pytest.mark.django_db
def test_a_refused_password_uses_nothing_up() -> None:
    token = invite(house())
    with pytest.raises(InvalidValue, match="password"):
        services.join(token=token, name="new", password="short", origin="")
    services.join(token=token, name="new", password=PASSWORD, origin="")


@pytest.mark.django_db(transaction=True)
def test_of_several_who_accept_at_once_one_succeeds() -> None:
    tenant = house()
    token = invite(tenant)
    people = [person(f"p{nr}") for nr in range(4)]
    outcomes = at_once(
        *(lambda one=one: services.accept(token=token, user=one, actor=ANN) for one in people)
    )
    assert sorted(outcomes) == ["InvitationNotFound"] * 3 + ["done"]
    assert Membership.objects.count() == 1


@pytest.mark.django_db
def test_invitations_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invitations, "MOST_OPEN", 2)
    tenant = house()
    invite(tenant)
    invite(tenant)
    with pytest.raises(TooManyOpen):
        invite(tenant)
    invite(house("other"))
    for wrong in (
        {"email": "nonsense"},
        {"lifetime": timedelta(days=31)},
        {"lifetime": -timedelta(1)},
    ):
        with pytest.raises(InvalidValue):
            invite(tenant, **wrong)


@pytest.mark.django_db
def test_a_name_from_a_provider_is_made_free() -> None:
    person("ann")
    assert invitations.free_name("ann").startswith("ann-")
    assert invitations.free_name("Ann Müller / x") == "Ann-Müller---x"
    assert invitations.free_name("///") == "user"
