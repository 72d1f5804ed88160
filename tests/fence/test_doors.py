"""What is looked up before it is known whose request it is, and no more than that."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser
from django.db import connection, transaction
from django.test import RequestFactory

from tenants import access, fence, keys
from tenants.actors import SYSTEM
from tenants.fence.middleware import Fence
from tenants.models import ApiKey, AuditEntry, Invitation, Membership, Role, Tenant
from tenants.services import create_api_key, create_user, invite, join, record
from tenants.services.invitations import access_invitation


@pytest.fixture(autouse=True)
def outside(one: Tenant, other: Tenant) -> None:
    """Both tenants are there before anything is fenced."""
    keys.forget()


def test_a_key_is_found_with_its_tenant_and_no_other(one: Tenant, other: Tenant) -> None:
    key, raw = create_api_key(tenant=one, actor=SYSTEM)
    create_api_key(tenant=one, actor=SYSTEM)
    create_api_key(tenant=other, actor=SYSTEM)
    with fence.as_(fence.NOBODY):
        found = keys.authenticate(raw)
        assert found is not None
        assert found.tenant == one
        assert found.tenant.pk == one.pk
        assert not ApiKey.objects.exists()
    with fence.through(fence.KEYS, key.prefix):
        assert [row.pk for row in ApiKey.objects.all()] == [key.pk]
        assert list(Tenant.objects.all()) == [one]
    with fence.through(fence.KEYS):
        assert not ApiKey.objects.exists()
        assert not Tenant.objects.exists()


def test_a_person_sees_their_own_memberships(one: Tenant, other: Tenant) -> None:
    mine = create_user(
        name="ann", password="a-long-word-9", tenant=one, role=Role.VIEWER, actor=SYSTEM
    )
    theirs = create_user(
        name="bob", password="a-long-word-9", tenant=other, role=Role.ADMIN, actor=SYSTEM
    )
    with fence.as_(fence.NOBODY):
        assert access.tenants_of(mine) == [one]
        assert access.access_tenant(user=mine, slug=one.slug).role == Role.VIEWER
        assert access.tenants_of(AnonymousUser()) == []
    with fence.through(fence.PEOPLE, mine.pk):
        assert [row.tenant_id for row in Membership.objects.all()] == [one.pk]
        assert not Membership.objects.filter(user=theirs.pk).exists()
        assert list(Tenant.objects.all()) == [one]


def test_a_hook_sees_the_tenant_in_its_address(one: Tenant, other: Tenant) -> None:
    with fence.through(fence.HOOKS, other.slug):
        assert list(Tenant.objects.all()) == [other]
    with fence.through(fence.HOOKS, "no-such"):
        assert not Tenant.objects.exists()


def test_a_link_shows_its_invitation_and_no_other(one: Tenant, other: Tenant) -> None:
    (mine, link), (theirs, _) = (
        invite(tenant=tenant, role=Role.VIEWER, link=str, actor=SYSTEM) for tenant in (one, other)
    )
    with fence.as_(fence.NOBODY):
        assert access_invitation(token=link).tenant == one
        user, _ = join(token=link, name="ann", password="a-long-word-9", origin="")
        assert access.tenants_of(user) == [one]
        assert not Invitation.objects.exists()
    with fence.through(fence.INVITES, mine.digest.hex()):
        assert [row.pk for row in Invitation.objects.all()] == [mine.pk]
        assert list(Tenant.objects.all()) == [one]
        with pytest.raises(Exception, match="permission denied"), transaction.atomic():
            Invitation.objects.update(role=Role.ADMIN)
    with fence.through(fence.INVITES):
        assert not Invitation.objects.filter(pk=theirs.pk).exists()


def test_entries_of_the_server_are_written_and_not_read(one: Tenant) -> None:
    with fence.as_(fence.NOBODY):
        record(tenant=None, actor=SYSTEM, action="test.done")
        assert not AuditEntry.objects.exists()
    with fence.through(fence.RECORDS):
        with pytest.raises(Exception, match="permission denied"), transaction.atomic():
            AuditEntry.objects.first()
        with pytest.raises(Exception, match="row-level security"), transaction.atomic():
            AuditEntry.objects.create(tenant=one, actor="", action="test.done")
    assert AuditEntry.objects.filter(action="test.done").count() == 1


def test_those_who_wait_read_whether_runs_have_ended_and_nothing_else(db: None) -> None:
    with fence.through(fence.WAITS), connection.cursor() as cursor:
        cursor.execute("SELECT id FROM run WHERE finished_at IS NULL")
        with pytest.raises(Exception, match="permission denied"):
            cursor.execute("SELECT input FROM run")


def test_a_request_is_nobodys_until_a_view_says_whose_and_then_ends(one: Tenant) -> None:
    seen: list[fence.Standing] = []

    def view(request: object) -> object:
        seen.append(fence.current())
        fence.enter(one.pk)
        seen.append(fence.current())
        return None

    Fence(view)(RequestFactory().get("/"))  # type: ignore[arg-type]  # no answer is needed
    assert seen == [fence.NOBODY, fence.Standing(fence.APP, one.pk)]
    assert fence.current() == fence.OWNER
