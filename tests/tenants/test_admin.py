"""The admin: doorways to the services, with a policy of its own."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from orchestrator.models import ServerLoad, TenantLoad
from tenants import keys, services
from tenants.actors import COMMAND
from tenants.models import ApiKey, AuditEntry, Membership, Quota, Tenant

pytestmark = pytest.mark.django_db
PASSWORD = "a long enough passphrase"
LIMITS = {
    "max_connections": "10",
    "weight": "1",
    "max_steps": "10000",
    "max_payload_bytes": "67108864",
}


@pytest.fixture
def staff(client: Client) -> Client:
    user = services.create_user(name="sam", password=PASSWORD, staff=True, actor=COMMAND)
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


@pytest.fixture
def tenant() -> Tenant:
    return services.create_tenant(slug="acme", actor=COMMAND)


PAGES = (
    "/admin/",
    "/admin/tenants/tenant/",
    "/admin/tenants/tenant/add/",
    "/admin/tenants/membership/",
    "/admin/tenants/membership/add/",
    "/admin/tenants/apikey/",
    "/admin/tenants/apikey/add/",
    "/admin/tenants/auditentry/",
    "/admin/auth/user/",
    "/admin/auth/user/add/",
    "/admin/orchestrator/serverload/",
    "/admin/orchestrator/serverload/-1/change/",
)


@pytest.mark.parametrize("page", PAGES)
def test_pages_open_to_staff_alone(staff: Client, tenant: Tenant, page: str) -> None:
    ServerLoad.objects.get_or_create(slot=-1)
    response = staff.get(page)
    assert response.status_code == 200
    policy = response["Content-Security-Policy"]
    assert "script-src 'self' 'unsafe-eval'" in policy
    assert "'unsafe-inline'" not in policy.split("script-src")[1].split(";")[0]
    member = services.create_user(name="ann", password=PASSWORD, tenant=tenant, actor=COMMAND)
    staff.force_login(member, backend="django.contrib.auth.backends.ModelBackend")
    assert staff.get(page).status_code == 302


def test_the_exception_is_the_admins_alone(client: Client) -> None:
    assert "'unsafe-eval'" in client.get("/admin/login/")["Content-Security-Policy"]
    assert "unsafe" not in client.get("/nothing-here")["Content-Security-Policy"]


def test_a_tenant_that_is_being_made_has_no_now(staff: Client, tenant: Tenant) -> None:
    add = staff.get("/admin/tenants/tenant/add/").content.decode()
    assert "Created at" not in add
    assert "DatabaseDefault" not in add
    assert "Created at" in staff.get(f"/admin/tenants/tenant/{tenant.pk}/change/").content.decode()


def test_a_tenant_is_made_with_its_limits(staff: Client) -> None:
    response = staff.post(
        "/admin/tenants/tenant/add/",
        LIMITS | {"slug": "acme", "name": "Acme", "max_connections": "6", "reason": "new"},
    )
    assert response.status_code == 302
    assert Quota.objects.get(tenant__slug="acme").max_connections == 6
    assert AuditEntry.objects.filter(action="tenant.created", actor="user:sam").exists()


def test_limits_change_with_an_audit_row(
    staff: Client, tenant: Tenant, django_capture_on_commit_callbacks: Any
) -> None:
    page = f"/admin/tenants/tenant/{tenant.pk}/change/"
    assert staff.get(page).status_code == 200
    with django_capture_on_commit_callbacks(execute=True) as callbacks:
        staff.post(
            page, LIMITS | {"name": "A", "max_connections": "6", "weight": "2.5", "reason": "sale"}
        )
    assert len(callbacks) == 1  # idle workers are told
    quota = Quota.objects.get(tenant=tenant)
    assert (quota.max_connections, quota.weight) == (6, 2.5)
    assert Tenant.objects.get().name == "A"
    entry = AuditEntry.objects.get(action="quota.set")
    assert entry.after == {"max_connections": 6, "weight": 2.5, "reason": "sale"}
    assert entry.origin == "127.0.0.1"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_connections", "-1"),
        ("max_connections", "many"),
        ("max_connections", ""),
        ("weight", "0"),
    ],
)
def test_limits_out_of_range_are_refused(
    staff: Client, tenant: Tenant, field: str, value: str
) -> None:
    response = staff.post(f"/admin/tenants/tenant/{tenant.pk}/change/", LIMITS | {field: value})
    assert response.status_code == 200
    assert list(response.context["adminform"].form.errors) == [field]
    assert not AuditEntry.objects.filter(action="quota.set").exists()


def test_the_list_shows_use_against_limits(staff: Client, tenant: Tenant) -> None:
    TenantLoad.objects.create(tenant_id=tenant.pk, in_use=3, ready_count=17)
    text = staff.get("/admin/tenants/tenant/").content.decode()
    assert "3 of 10" in text
    assert "17" in text


def test_suspend_needs_a_reason(staff: Client, tenant: Tenant) -> None:
    page = "/admin/tenants/tenant/"
    sent = {"action": "suspend", "_selected_action": [tenant.pk]}
    staff.post(page, sent | {"reason": " "})
    assert Tenant.objects.get().suspended_at is None
    staff.post(page, sent | {"reason": "unpaid"})
    assert Tenant.objects.get().suspended_reason == "unpaid"
    assert "Suspended: unpaid" in staff.get(page).content.decode()
    staff.post(page, sent | {"action": "resume"})
    assert Tenant.objects.get().suspended_at is None


def test_a_tenant_cannot_be_deleted(staff: Client, tenant: Tenant) -> None:
    assert (
        staff.post(f"/admin/tenants/tenant/{tenant.pk}/delete/", {"post": "yes"}).status_code == 403
    )
    staff.post(
        "/admin/tenants/tenant/",
        {"action": "delete_selected", "_selected_action": [tenant.pk], "post": "yes"},
    )
    assert Tenant.objects.exists()


def test_a_key_is_shown_once_and_revoked(staff: Client, tenant: Tenant) -> None:
    response = staff.post(
        "/admin/tenants/apikey/add/",
        {
            "tenant": tenant.pk,
            "name": "ci",
            "scopes": ["runs:read"],
            "expires_at_0": "",
            "expires_at_1": "",
        },
        follow=True,
    )
    shown = [str(message) for message in response.context["messages"]]
    raw = next(text for text in shown if "shown this once" in text).split()[-1]
    found = keys.authenticate(raw)
    assert found is not None
    assert found.scopes == ["runs:read"]
    key = ApiKey.objects.get()
    page = staff.get(f"/admin/tenants/apikey/{key.pk}/change/").content.decode()
    assert key.prefix in page
    assert raw not in page
    staff.post("/admin/tenants/apikey/", {"action": "revoke", "_selected_action": [key.pk]})
    assert ApiKey.objects.get().revoked_at is not None


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
    staff.post(f"/admin/tenants/membership/{member.pk}/change/", {"role": "admin"})
    member.refresh_from_db()
    assert member.role == "admin"
    staff.post(f"/admin/tenants/membership/{member.pk}/delete/", {"post": "yes"})
    assert not Membership.objects.exists()
    staff.post(f"/admin/auth/user/{user.pk}/delete/", {"post": "yes"})
    actions = AuditEntry.objects.order_by("id").values_list("action", flat=True)
    assert list(actions)[-4:] == ["member.set", "member.set", "member.removed", "user.deleted"]


def test_the_servers_total(staff: Client) -> None:
    ServerLoad.objects.get_or_create(slot=-1)
    page = "/admin/orchestrator/serverload/-1/change/"
    assert staff.post(page, {"max_connections": "-3"}).status_code == 200
    assert staff.post(page, {"max_connections": "40", "reason": "small"}).status_code == 302
    assert ServerLoad.objects.get(slot=-1).max_connections == 40
    assert AuditEntry.objects.get(action="server.max_connections_set").actor == "user:sam"
    user = services.create_user(name="ann", password=PASSWORD, staff=True, actor=COMMAND)
    type(user).objects.filter(pk=user.pk).update(is_superuser=False)
    staff.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    assert staff.post(page, {"max_connections": "50"}).status_code == 403


def test_the_audit_log_is_read_only(staff: Client, tenant: Tenant) -> None:
    entry = AuditEntry.objects.latest("id")
    page = f"/admin/tenants/auditentry/{entry.pk}/"
    assert staff.get(f"{page}change/").status_code == 200
    assert staff.post(f"{page}change/", {"actor": "nobody"}).status_code == 403
    assert staff.post(f"{page}delete/", {"post": "yes"}).status_code == 403
    assert staff.get("/admin/tenants/auditentry/add/").status_code == 403


def test_outputs_are_dropped_when_that_is_ticked(staff: Client, tenant: Tenant) -> None:
    page = f"/admin/tenants/tenant/{tenant.pk}/change/"
    for ticked in (True, False):
        data = LIMITS | {"name": "A", "reason": "room"} | ({"drop_outputs": "on"} if ticked else {})
        assert staff.post(page, data).status_code == 302
        assert Quota.objects.get(tenant=tenant).keep_outputs is not ticked
        entry = AuditEntry.objects.filter(action="quota.set").latest("pk")
        assert entry.after == {"keep_outputs": not ticked, "reason": "room"}
        form = staff.get(page).context["adminform"].form
        assert form["drop_outputs"].initial is ticked
