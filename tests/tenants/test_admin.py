"""The admin: doorways to the services, with a policy of its own."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from orchestrator.models import ServerLoad, TenantLoad, Workflow
from orchestrator.services.runs import submit_run
from orchestrator.services.workflows import publish_workflow
from tenants import keys, services
from tenants.actors import COMMAND
from tenants.models import (
    ApiKey,
    AuditEntry,
    Quota,
    QuotaOverride,
    Tenant,
)
from tests.engine import Engine
from tests.inputs import inputs

pytestmark = [pytest.mark.django_db, pytest.mark.thorough]
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
    "/admin/tenants/quotachange/",
    "/admin/orchestrator/run/",
    "/admin/orchestrator/workflow/",
    "/admin/orchestrator/schedule/",
    "/admin/orchestrator/worker/",
    "/admin/orchestrator/serverload/",
    "/admin/orchestrator/serverload/-1/change/",
)


@pytest.mark.parametrize("page", PAGES)
def test_pages_open_to_staff_alone(staff: Client, tenant: Tenant, page: str) -> None:
    response = staff.get(page)
    assert response.status_code == 200
    policy = response["Content-Security-Policy"]
    assert "script-src 'self' 'unsafe-eval'" in policy
    assert "'unsafe-inline'" not in policy.split("script-src")[1].split(";")[0]
    member = services.create_user(name="ann", password=PASSWORD, tenant=tenant, actor=COMMAND)
    staff.force_login(member, backend="django.contrib.auth.backends.ModelBackend")
    assert staff.get(page).status_code == 302


def test_the_exception_is_the_admins_alone(client: Client) -> None:
    assert "unsafe" not in client.get("/login")["Content-Security-Policy"]
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


def test_a_form_that_was_left_open_sets_what_was_typed_alone(staff: Client, tenant: Tenant) -> None:
    page = f"/admin/tenants/tenant/{tenant.pk}/change/"
    until = timezone.now() + timedelta(hours=1)
    services.set_quota(tenant=tenant, actor=COMMAND, max_connections=50, until=until)
    shown = inputs(staff.get(page))
    services.end_override(tenant=tenant, name="max_connections", actor=COMMAND)
    services.set_quota(tenant=tenant, actor=COMMAND, keep_outputs=False, max_active_runs=9)
    Tenant.objects.update(name="Acme")
    wrong = staff.post(page, shown | {"weight": "0"})
    assert wrong.status_code == 200
    assert staff.post(page, inputs(wrong) | {"weight": "2"}).status_code == 302
    quota = Quota.objects.get()
    assert (quota.max_connections, quota.max_active_runs, quota.weight) == (10, 9, 2)
    assert not quota.keep_outputs
    assert Tenant.objects.get().name == "Acme"
    assert AuditEntry.objects.latest("pk").after == {"weight": 2.0}


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
    chosen = {"action": "rotate", "_selected_action": [key.pk]}
    told = staff.post("/admin/tenants/apikey/", chosen, follow=True).context["messages"]
    new = next(str(text).split()[-1] for text in told if "shown this once" in str(text))
    assert keys.authenticate(new) is not None
    again = staff.post("/admin/tenants/apikey/", chosen, follow=True).content.decode()
    assert "was rotated before" in again
    staff.post("/admin/tenants/apikey/", {"action": "revoke", "_selected_action": [key.pk]})
    assert ApiKey.objects.get(pk=key.pk).revoked_at is not None


def test_a_tenants_name_is_told(staff: Client, tenant: Tenant) -> None:
    page = f"/admin/tenants/tenant/{tenant.pk}/change/"
    staff.post(page, LIMITS | {"name": "Acme"})
    entry = AuditEntry.objects.get(action="tenant.renamed", tenant=tenant)
    assert (entry.before, entry.after) == ({"name": ""}, {"name": "Acme"})
    assert not services.rename(tenant=tenant, name="Acme", actor=COMMAND)


def test_a_key_over_the_quota_is_refused(staff: Client, tenant: Tenant) -> None:
    services.set_quota(tenant=tenant, actor=COMMAND, max_api_keys=0)
    form = {"tenant": tenant.pk, "name": "ci", "scopes": ["runs:read"]}
    text = staff.post("/admin/tenants/apikey/add/", form, follow=True).content.decode()
    assert "The quota max_api_keys of 0 is used up" in text
    assert not ApiKey.objects.exists()


def test_there_is_one_way_in(client: Client, tenant: Tenant) -> None:
    assert client.get("/admin/", follow=True).redirect_chain[-1][0] == "/login?next=%2Fadmin%2F"
    member = services.create_user(name="ann", password=PASSWORD, tenant=tenant, actor=COMMAND)
    client.force_login(member, backend="django.contrib.auth.backends.ModelBackend")
    assert client.get("/admin/", follow=True).status_code == 403


def test_the_servers_total(staff: Client) -> None:
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


def test_limits_are_set_for_a_time_with_history(staff: Client, tenant: Tenant) -> None:
    page = f"/admin/tenants/tenant/{tenant.pk}/change/"
    data = LIMITS | {"name": "A", "max_active_runs": "5", "until": "2h", "reason": "sale"}
    assert staff.post(page, data).status_code == 302
    override = QuotaOverride.objects.get()
    assert (override.name, override.base, override.value) == ("max_active_runs", None, 5)
    text = staff.get(page).content.decode()
    assert "History of limits" in text
    assert "sale" in text
    for until in ("tomorrow", "2001-01-01T00:00:00Z", "400d"):
        wrong = staff.post(page, data | {"max_active_runs": "6", "until": until})
        assert "until" in wrong.context["adminform"].form.errors
    assert Quota.objects.get(tenant=tenant).max_active_runs == 5


def test_a_preview_saves_nothing(staff: Client, tenant: Tenant) -> None:
    page = f"/admin/tenants/tenant/{tenant.pk}/change/"
    data = LIMITS | {"name": "B", "max_connections": "3", "_preview": "1"}
    response = staff.post(page, data)
    assert response.status_code == 200
    (found,) = response.context["impacts"]
    assert (found.limit.name, found.before, found.after) == ("max_connections", 10, 3)
    assert "nothing is saved yet" in response.content.decode()
    assert (
        "No limit would change"
        in staff.post(page, data | {"max_connections": "10"}).content.decode()
    )
    assert staff.post(page, data | {"weight": "none"}).context["impacts"] is None
    assert Tenant.objects.get().name == ""
    assert Quota.objects.get().max_connections == 10


def test_a_boost_ends_by_itself(staff: Client, tenant: Tenant) -> None:
    page = "/admin/tenants/tenant/"
    sent = {"action": "boost", "_selected_action": [tenant.pk], "reason": "launch"}
    for wrong in (
        {},
        {"connections": "50"},
        {"connections": "50", "until": "soon"},
        {"until": "1h"},
    ):
        staff.post(page, sent | wrong)
        assert not QuotaOverride.objects.exists()
    staff.post(page, sent | {"connections": "50", "until": "1h"})
    assert Quota.objects.get().max_connections == 50
    assert QuotaOverride.objects.get().reason == "launch"
    assert ">1<" in staff.get(page).content.decode()


def test_what_the_engine_owns_is_read_only(staff: Client, tenant: Tenant) -> None:
    steps = {"steps": [{"name": "a", "handler": "core.echo", "args": {}}]}
    publish_workflow(tenant=tenant, name="w", document=steps, actor=COMMAND)
    run = submit_run(tenant=tenant, workflow="w", body={}, actor=COMMAND).run_id
    worker = Engine().join()
    workflow = Workflow.objects.get()
    for path in (f"run/{run}", f"workflow/{workflow.pk}", f"worker/{worker.pk}"):
        page = f"/admin/orchestrator/{path}/change/"
        shown = staff.get(page)
        assert shown.status_code == 200
        assert 'name="_save"' not in shown.content.decode()
        assert staff.post(page, {"state": "failed"}).status_code == 403
        assert staff.post(page.replace("change", "delete"), {"post": "yes"}).status_code == 403
    for model in ("run", "workflow", "worker", "schedule"):
        assert staff.get(f"/admin/orchestrator/{model}/").status_code == 200
        assert staff.get(f"/admin/orchestrator/{model}/add/").status_code == 403
