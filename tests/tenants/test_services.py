"""Tenants, people and quotas: what is written, audited and refused."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model

from tenants import services
from tenants.actors import COMMAND, SYSTEM, Actor
from tenants.errors import AlreadyThere, InvalidValue
from tenants.models import AuditEntry, Membership, Quota, Role, Tenant

pytestmark = pytest.mark.django_db

ANN = Actor(kind="user", name="ann", origin="192.0.2.7")
PASSWORD = "a long enough passphrase"


def test_actor_as_text() -> None:
    assert [str(ANN), str(COMMAND), str(SYSTEM)] == ["user:ann", "command", "system"]
    assert str(Actor(kind="key", name="mr_ab12cd34")) == "key:mr_ab12cd34"


def test_create_tenant_makes_its_quota_and_an_audit_row() -> None:
    tenant = services.create_tenant(slug="acme", name="Acme", max_connections=6, actor=ANN)
    assert tenant.quota.max_connections == 6
    assert tenant.quota.weight == 1.0
    entry = AuditEntry.objects.get(tenant=tenant)
    assert (entry.actor, entry.action, entry.target, entry.origin) == (
        "user:ann",
        "tenant.created",
        "acme",
        "192.0.2.7",
    )


@pytest.mark.parametrize("slug", ["", "Acme", "1a", "a_b", "-a", "a" * 64, "a b"])
def test_create_tenant_refuses_a_bad_slug(slug: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        services.create_tenant(slug=slug, actor=COMMAND)
    assert caught.value.facts == {"field": "slug"}
    assert not Tenant.objects.exists()


def test_create_tenant_refuses_a_taken_slug_and_a_bad_limit() -> None:
    services.create_tenant(slug="acme", actor=COMMAND)
    with pytest.raises(AlreadyThere):
        services.create_tenant(slug="acme", actor=COMMAND)
    with pytest.raises(InvalidValue, match="max_connections"):
        services.create_tenant(slug="other", max_connections=-1, actor=COMMAND)
    assert list(Tenant.objects.values_list("slug", flat=True)) == ["acme"]


def test_create_user_with_a_role() -> None:
    tenant = services.create_tenant(slug="acme", actor=COMMAND)
    user = services.create_user(
        name="ann", password=PASSWORD, tenant=tenant, role=Role.OPERATOR, actor=COMMAND
    )
    assert user.check_password(PASSWORD)
    assert not user.is_staff
    assert Membership.objects.get(user=user).role == Role.OPERATOR
    assert set(AuditEntry.objects.values_list("action", flat=True)) == {
        "tenant.created",
        "user.created",
        "member.set",
    }
    assert PASSWORD not in str(list(AuditEntry.objects.values()))


def test_create_user_is_a_viewer_unless_said_and_staff_when_said() -> None:
    tenant = services.create_tenant(slug="acme", actor=COMMAND)
    viewer = services.create_user(name="vic", password=PASSWORD, tenant=tenant, actor=COMMAND)
    staff = services.create_user(name="sam", password=PASSWORD, staff=True, actor=COMMAND)
    assert Membership.objects.get(user=viewer).role == Role.VIEWER
    assert staff.is_staff
    assert staff.is_superuser


@pytest.mark.parametrize(
    ("name", "password", "field"),
    [
        ("ann", "short", "password"),
        ("ann", "1234567890123", "password"),
        ("a b!", PASSWORD, "name"),
    ],
)
def test_create_user_refuses(name: str, password: str, field: str) -> None:
    if password.isdigit():
        password = "password123"
    with pytest.raises(InvalidValue) as caught:
        services.create_user(name=name, password=password, actor=COMMAND)
    assert caught.value.facts == {"field": field}
    assert not get_user_model().objects.exists()


def test_create_user_refuses_a_taken_name_and_a_role_without_tenant() -> None:
    services.create_user(name="ann", password=PASSWORD, actor=COMMAND)
    with pytest.raises(AlreadyThere):
        services.create_user(name="ann", password=PASSWORD, actor=COMMAND)
    with pytest.raises(InvalidValue, match="needs a tenant"):
        services.create_user(name="bob", password=PASSWORD, role=Role.ADMIN, actor=COMMAND)


def test_members_change_role_and_leave() -> None:
    tenant = services.create_tenant(slug="acme", actor=COMMAND)
    user = services.create_user(name="ann", password=PASSWORD, tenant=tenant, actor=COMMAND)
    eve = services.create_user(name="eve", password=PASSWORD, actor=COMMAND)
    services.set_member(tenant=tenant, user=user, role=Role.ADMIN, actor=ANN)
    entry = AuditEntry.objects.filter(action="member.set").latest("id")
    assert (entry.before, entry.after) == ({"role": "viewer"}, {"role": "admin"})
    member = services.set_member(tenant=tenant, user=eve, role=Role.VIEWER, actor=ANN)
    services.remove_member(member=member, actor=ANN)
    assert not Membership.objects.filter(user=eve).exists()
    assert AuditEntry.objects.filter(action="member.removed", target="eve").exists()


def test_set_quota_writes_what_changes_and_why() -> None:
    tenant = services.create_tenant(slug="acme", actor=COMMAND)
    services.set_quota(tenant=tenant, actor=ANN, reason="sale", max_connections=20, weight=1.0)
    assert Quota.objects.get(tenant=tenant).max_connections == 20
    entry = AuditEntry.objects.get(action="quota.set")
    assert entry.before == {"max_connections": 10}
    assert entry.after == {"max_connections": 20, "reason": "sale"}
    services.set_quota(tenant=tenant, actor=ANN, max_connections=20)
    assert AuditEntry.objects.filter(action="quota.set").count() == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_connections", -1),
        ("max_connections", 100_001),
        ("weight", 0),
        ("weight", 1001),
        ("max_steps", 0),
    ],
)
def test_set_quota_refuses_what_is_out_of_range(name: str, value: float) -> None:
    tenant = services.create_tenant(slug="acme", actor=COMMAND)
    with pytest.raises(InvalidValue, match=name):
        services.set_quota(tenant=tenant, actor=ANN, **{name: value})  # type: ignore[arg-type]
    assert Quota.objects.get(tenant=tenant).max_connections == 10


def test_set_quota_refuses_an_unknown_limit() -> None:
    tenant = services.create_tenant(slug="acme", actor=COMMAND)
    with pytest.raises(InvalidValue, match="no such limit"):
        services.set_quota(tenant=tenant, actor=ANN, max_conections=3)  # type: ignore[call-arg]


def test_suspend_and_resume_once_each() -> None:
    tenant = services.create_tenant(slug="acme", actor=COMMAND)
    assert services.suspend(tenant=tenant, reason="unpaid", actor=ANN)
    assert not services.suspend(tenant=tenant, reason="again", actor=ANN)
    assert (tenant.suspended_at is not None, tenant.suspended_reason) == (True, "unpaid")
    assert services.resume(tenant=tenant, actor=ANN)
    assert not services.resume(tenant=tenant, actor=ANN)
    assert (tenant.suspended_at, tenant.suspended_reason) == (None, "")
    actions = list(AuditEntry.objects.order_by("id").values_list("action", flat=True))
    assert actions == ["tenant.created", "tenant.suspended", "tenant.resumed"]
