"""Every way to change something leaves an entry in the audit log: services, and forms
of the admin.  Whatever is new and stands
in none of the tables fails the test."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User

import orchestrator.services
import tenants.services
from orchestrator.models import Trigger
from orchestrator.services import limits, sealing
from tenants import services
from tenants.models import ApiKey, AuditEntry, Membership, Role
from tests.api.audit_world import (
    ME,
    Act,
    World,
    acts,
    walked,
)

__all__ = ["walked"]


pytestmark = pytest.mark.thorough


def _key(world: World) -> ApiKey:
    return services.create_api_key(tenant=world.tenant, actor=ME)[0]


def _member(world: World) -> Membership:
    return Membership.objects.get(tenant=world.tenant, user__username="bea")


def _ada() -> User:
    return User.objects.get(username="ada")


def _reseal(world: World) -> int:
    return sealing.reseal_all(actor=ME)


SERVICES: dict[str, tuple[Act, Callable[[World, Any], object]]] = {
    # those that no route of the API calls
    "tenants.keys.create_api_key": (lambda w: None, lambda w, _: _key(w)),
    "tenants.keys.revoke_api_key": (
        _key,
        lambda w, key: services.revoke_api_key(key=key, actor=ME),
    ),
    "tenants.people.create_user": (
        lambda w: None,
        lambda w, _: services.create_user(name="bob", password="a-long-enough-word-9", actor=ME),
    ),
    "tenants.people.set_member": (
        lambda w: User.objects.get(username="bea"),
        lambda w, user: services.set_member(tenant=w.tenant, user=user, role=Role.VIEWER, actor=ME),
    ),
    "tenants.people.delete_user": (
        lambda w: User.objects.get(username="bea"),
        lambda w, user: services.delete_user(user=user, actor=ME),
    ),
    "tenants.people.remove_member": (
        _member,
        lambda w, member: services.remove_member(member=member, actor=ME),
    ),
    "tenants.quotas.set_quota": (
        lambda w: None,
        lambda w, _: services.set_quota(tenant=w.tenant, actor=ME, max_connections=3),
    ),
    "tenants.quotas.end_override": (
        World.boosted,
        lambda w, _: services.end_override(tenant=w.tenant, name="max_connections", actor=ME),
    ),
    "tenants.quotas.keep_override": (
        World.boosted,
        lambda w, _: services.keep_override(tenant=w.tenant, name="max_connections", actor=ME),
    ),
    "orchestrator.limits.end_override": (
        World.boosted,
        lambda w, _: limits.end_override(tenant=w.tenant, name="max_connections", actor=ME),
    ),
    "tenants.accounts.set_email": (
        lambda w: None,
        lambda w, _: services.set_email(user=_ada(), email="ada@mill.example", actor=ME),
    ),
    "tenants.accounts.set_password": (
        lambda w: None,
        lambda w, _: services.set_password(user=_ada(), password="another-long-word-7", actor=ME),
    ),
    "tenants.sessions.end_sessions": (
        lambda w: None,
        lambda w, _: services.end_sessions(user=_ada(), actor=ME),
    ),
    "tenants.tenants.create_tenant": (
        lambda w: None,
        lambda w, _: services.create_tenant(slug="other", actor=ME),
    ),
    "tenants.tenants.rename": (
        lambda w: None,
        lambda w, _: services.rename(tenant=w.tenant, name="The Mill", actor=ME),
    ),
    "tenants.tenants.suspend": (
        lambda w: None,
        lambda w, _: services.suspend(tenant=w.tenant, reason="r", actor=ME),
    ),
    "tenants.tenants.resume": (
        lambda w: services.suspend(tenant=w.tenant, reason="r", actor=ME),
        lambda w, _: services.resume(tenant=w.tenant, actor=ME),
    ),
    "orchestrator.limits.change_quota": (
        lambda w: None,
        lambda w, _: limits.change_quota(tenant=w.tenant, actor=ME, max_connections=4),
    ),
    "orchestrator.limits.change_total": (
        lambda w: None,
        lambda w, _: limits.change_total(max_connections=7, actor=ME),
    ),
    "orchestrator.limits.resume_tenant": (
        lambda w: services.suspend(tenant=w.tenant, reason="r", actor=ME),
        lambda w, _: limits.resume_tenant(tenant=w.tenant, actor=ME),
    ),
}
BY_ROUTES = {
    "orchestrator.api_keys.create_api_key", "orchestrator.api_keys.revoke_api_key",
    "orchestrator.api_keys.rotate_api_key", "orchestrator.sessions.set_database",
    "tenants.databases.clear_external_database", "tenants.invitations.invite",
    "tenants.invitations.revoke_invitation", "tenants.keys.rotate_api_key",
    "orchestrator.alerts.acknowledge_alert", "orchestrator.alerts.resolve_alert",
    "orchestrator.channels.create_channel", "orchestrator.channels.replace_channel",
    "orchestrator.channels.rotate_channel", "orchestrator.channels.test_channel",
    "orchestrator.channels.delete_channel", "orchestrator.silences.create_silence",
    "orchestrator.silences.replace_silence", "orchestrator.silences.end_silence",
    "orchestrator.silences.create_window", "orchestrator.silences.replace_window",
    "orchestrator.silences.delete_window",
    "orchestrator.actions.retry_dead_letters", "orchestrator.bulk.submit_bulk",
    "orchestrator.pauses.pause_run", "orchestrator.pauses.pause_workflow",
    "orchestrator.pauses.resume_run", "orchestrator.pauses.resume_workflow",
    "orchestrator.pools.change_pool", "orchestrator.pools.create_pool",
    "orchestrator.pools.delete_pool", "orchestrator.repairs.complete_step",
    "orchestrator.repairs.retry_run", "orchestrator.repairs.retry_step",
    "orchestrator.repairs.skip_step", "orchestrator.runs.cancel_run",
    "orchestrator.runs.submit_run", "orchestrator.schedules.backfill_schedule",
    "orchestrator.schedules.create_schedule", "orchestrator.schedules.delete_schedule",
    "orchestrator.schedules.pause_schedule", "orchestrator.schedules.replace_schedule",
    "orchestrator.schedules.resume_schedule", "orchestrator.secrets.create_secret",
    "orchestrator.secrets.replace_secret", "orchestrator.signals.send_signal",
    "orchestrator.slas.accept_proposal", "orchestrator.slas.create_sla",
    "orchestrator.slas.delete_sla", "orchestrator.slas.dismiss_proposal",
    "orchestrator.slas.replace_sla", "orchestrator.triggers.create_trigger", "orchestrator.triggers.delete_trigger",
    "orchestrator.triggers.replace_trigger", "orchestrator.triggers.rotate_trigger",
    "orchestrator.undoing.undo_run", "orchestrator.workflows.archive_workflow",
    "orchestrator.workflows.publish_workflow", "tenants.secrets.create_secret",
    "tenants.secrets.delete_secret", "tenants.secrets.set_secret",
}  # fmt: skip
ELSEWHERE = {
    "orchestrator.deletion.delete_tenant": "tests/services/test_deletion.py",
    "orchestrator.deletion.restore_tenant": "tests/services/test_deletion.py",
    "tenants.databases.set_external_database": "tests/connections/test_external.py",
    "tenants.factors.check_code": "tests/tenants/test_factors.py",
    "tenants.factors.confirm_totp": "tests/dashboard/test_account.py",
    "tenants.factors.remove_totp": "tests/tenants/test_factors.py",
    "tenants.factors.renew_recovery_codes": "tests/dashboard/test_account.py",
    "tenants.identities.connect": "tests/dashboard/test_provider.py",
    "tenants.identities.disconnect": "tests/dashboard/test_provider.py",
    "tenants.invitations.accept": "tests/tenants/test_people.py",
    "tenants.sessions.end_session": "tests/dashboard/test_account.py",
    "orchestrator.fixing.fix": "tests/selectors/test_diagnosis.py",
    "orchestrator.sealing.reseal_all": "tests/services/test_sealing.py",
    "orchestrator.workers.drain_worker": "tests/dashboard/test_health.py",
    "orchestrator.workers.resume_worker": "tests/dashboard/test_health.py",
    "tenants.audit.record": "it is the entry",
}
READ_ONLY_ADMIN = {"AuditEntry"}


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_leaves_an_entry(walked: World, name: str) -> None:
    entries = acts(walked, SERVICES[name])
    assert entries, f"{name} left no entry"
    assert {(one.actor, one.origin) for one in entries} == {("user:me", "192.0.2.7")}


def test_no_service_is_missing() -> None:
    found: set[str] = set()
    for package in (orchestrator.services, tenants.services):
        for info in pkgutil.iter_modules(package.__path__):
            module = importlib.import_module(f"{package.__name__}.{info.name}")
            found |= {
                f"{package.__name__.split('.')[0]}.{info.name}.{name}"
                for name, function in inspect.getmembers(module, inspect.isfunction)
                if function.__module__ == module.__name__
                and not name.startswith("_")
                and "actor" in inspect.signature(function).parameters
            }
    assert found == SERVICES.keys() | BY_ROUTES | ELSEWHERE.keys()


PASSWORDS = {"password1": "another-long-word-7", "password2": "another-long-word-7"}


def _bea() -> User:
    return User.objects.get(username="bea")


def _eve() -> User:
    """A stranger."""
    return services.create_user(name="eve", password=None, actor=ME)


def _all_of(row: User | Membership) -> dict[str, str]:
    """The list's action that deletes what is chosen."""
    return {"action": "delete_selected", "_selected_action": str(row.pk), "post": "yes"}


ADMIN: dict[str, Callable[[World], tuple[str, dict[str, str]]]] = {
    # model, and which of its forms
    "User": lambda w: (
        "auth/user/add/",
        {"username": "eve", **PASSWORDS},
    ),
    "User, changed": lambda w: (
        f"auth/user/{_bea().pk}/change/",
        {"username": "bea", "email": "bea@mill.example", "is_active": "on"},
    ),
    "User, a password": lambda w: (f"auth/user/{_bea().pk}/password/", PASSWORDS),
    "User, no password": lambda w: (
        f"auth/user/{_bea().pk}/password/",
        {"usable_password": "false", "unset-password": "1"},
    ),
    "User, deleted": lambda w: (f"auth/user/{_bea().pk}/delete/", {"post": "yes"}),
    "User, several deleted": lambda w: ("auth/user/", _all_of(_bea())),
    "Membership": lambda w: (
        f"tenants/membership/{_member(w).pk}/change/",
        {"role": "viewer"},
    ),
    "Membership, made": lambda w: (
        "tenants/membership/add/",
        {"tenant": str(w.tenant.pk), "user": str(_eve().pk), "role": "viewer"},
    ),
    "Membership, deleted": lambda w: (
        f"tenants/membership/{_member(w).pk}/delete/", {"post": "yes"},
    ),
    "Membership, several deleted": lambda w: ("tenants/membership/", _all_of(_member(w))),
    "ApiKey": lambda w: (
        "tenants/apikey/add/",
        {"tenant": str(w.tenant.pk), "name": "n", "scopes": "runs:read"},
    ),
    "Tenant": lambda w: (
        f"tenants/tenant/{w.tenant.pk}/change/",
        {"name": "", "max_connections": "3", "weight": "1", "max_steps": "100",
         "max_payload_bytes": "10000", "keep_outputs": "on", "reason": "r"},
    ),
    "Tenant, its name": lambda w: (
        f"tenants/tenant/{w.tenant.pk}/change/",
        {"name": "The Mill", "max_connections": "10", "weight": "1", "max_steps": "10000",
         "max_payload_bytes": "67108864"},
    ),
    "Tenant, made": lambda w: (
        "tenants/tenant/add/",
        {"slug": "other", "name": "", "max_connections": "10", "weight": "1", "max_steps": "10000",
         "max_payload_bytes": "67108864"},
    ),
    "ServerLoad": lambda w: (
        "orchestrator/serverload/-1/change/",
        {"max_connections": "55", "reason": "r"},
    ),
    "Pool": lambda w: (
        "orchestrator/pool/add/",
        {"name": "p", "limit": "3", "max_places": "3", "rate": ""},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ADMIN)
def test_every_form_of_the_admin_leaves_an_entry(walked: World, name: str) -> None:
    path, form = ADMIN[name](walked)
    last = AuditEntry.objects.latest("pk").pk
    answer = walked.client.post(f"/admin/{path}", form)
    assert answer.status_code == 302, answer.content.decode()
    entries = AuditEntry.objects.filter(pk__gt=last)
    assert entries
    assert {(one.actor, one.origin) for one in entries} == {("user:ada", "127.0.0.1")}


def test_the_admin_has_no_other_forms(walked: World) -> None:
    request = type("Request", (), {"user": User.objects.get(username="ada")})()
    ours = {
        model.__name__
        for model, found in admin.site._registry.items()
        if found.has_change_permission(request) or found.has_add_permission(request)
    }
    theirs = {"AccessAttempt", "AccessLog", "AccessFailureLog"}
    assert ours - theirs == {name.partition(",")[0] for name in ADMIN}
    assert Trigger not in admin.site._registry
