"""From a person to a tenant: each read is tried by a stranger."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser

from tenants import access, services
from tenants.actors import COMMAND
from tenants.errors import RoleRequired, TenantNotFound
from tenants.models import Role

pytestmark = pytest.mark.django_db
PASSWORD = "a long enough passphrase"


@pytest.fixture
def people() -> dict[str, Any]:
    acme = services.create_tenant(slug="acme", actor=COMMAND)
    beta = services.create_tenant(slug="beta", actor=COMMAND)

    def make(name: str, **kwargs: Any) -> Any:
        return services.create_user(name=name, password=PASSWORD, actor=COMMAND, **kwargs)

    return {
        "acme": acme,
        "beta": beta,
        "viewer": make("viewer", tenant=acme),
        "operator": make("operator", tenant=acme, role=Role.OPERATOR),
        "stranger": make("stranger", tenant=beta, role=Role.ADMIN),
        "staff": make("staff", staff=True),
    }


def test_members_get_in_with_their_role(people: dict[str, Any]) -> None:
    got = access.access_tenant(user=people["operator"], slug="acme", role=Role.OPERATOR)
    assert (got.tenant, got.role) == (people["acme"], Role.OPERATOR)
    assert got.may(Role.VIEWER)
    assert not got.may(Role.ADMIN)


def test_a_lower_role_is_told_so(people: dict[str, Any]) -> None:
    with pytest.raises(RoleRequired, match="operator"):
        access.access_tenant(user=people["viewer"], slug="acme", role=Role.OPERATOR)


def test_absent_and_foreign_look_the_same(people: dict[str, Any]) -> None:
    errors = []
    for user, slug in (
        (people["stranger"], "acme"),
        (people["viewer"], "nothing"),
        (AnonymousUser(), "acme"),
        (people["staff"], "nothing"),
    ):
        with pytest.raises(TenantNotFound) as caught:
            access.access_tenant(user=user, slug=slug)
        errors.append((caught.value.message, caught.value.code, caught.value.status))
    assert len(set(errors)) == 1


def test_staff_are_admins_everywhere_until_they_are_locked_out(people: dict[str, Any]) -> None:
    assert (
        access.access_tenant(user=people["staff"], slug="beta", role=Role.ADMIN).role is Role.ADMIN
    )
    people["staff"].is_active = False
    with pytest.raises(TenantNotFound):
        access.access_tenant(user=people["staff"], slug="beta")
    assert access.tenants_of(people["staff"]) == []
    assert access.last_used(people["staff"]) is None


def test_tenants_of(people: dict[str, Any]) -> None:
    assert access.tenants_of(people["viewer"]) == [people["acme"]]
    assert access.tenants_of(people["stranger"]) == [people["beta"]]
    assert access.tenants_of(people["staff"]) == [people["acme"], people["beta"]]
    assert access.tenants_of(AnonymousUser()) == []


def test_last_used_is_remembered(people: dict[str, Any]) -> None:
    viewer = people["viewer"]
    services.set_member(tenant=people["beta"], user=viewer, role=Role.VIEWER, actor=COMMAND)
    assert access.last_used(viewer) is None
    access.mark_used(user=viewer, tenant=people["beta"])
    assert access.last_used(viewer) == people["beta"]
    access.mark_used(user=people["stranger"], tenant=people["acme"])
    assert access.last_used(people["stranger"]) is None
