"""Every address of the server beside the API's: without a login, as a stranger, in too low a role.

A new address fails here until it is in the table, with who may use it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest
from django.contrib.auth.models import User
from django.http import StreamingHttpResponse
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from tenants.actors import SYSTEM
from tenants.models import Role, Tenant
from tenants.services import create_user
from tests.api.client import streamed
from tests.walk.world import ABSENT, MARK, World, world

__all__ = ["world"]

PASSWORD = "a-long-enough-word-9"
NOTHING = "01890000-0000-7000-8000-000000000000"
VIEWER, OPERATOR, ADMIN = Role.VIEWER, Role.OPERATOR, Role.ADMIN
PAGES: dict[str, tuple[str, Role]] = {
    "overview": ("GET", VIEWER),
    "runs": ("GET", VIEWER),
    "run": ("GET", VIEWER),
    "run_logs": ("GET", VIEWER),
    "run_cancel": ("POST", OPERATOR),
    "run_signal": ("POST", OPERATOR),
    "run_undo": ("POST", OPERATOR),
    "run_pause": ("POST", OPERATOR),
    "run_resume": ("POST", OPERATOR),
    "run_retry": ("POST", OPERATOR),
    "step_retry": ("POST", OPERATOR),
    "step_complete": ("POST", OPERATOR),
    "step_skip": ("POST", OPERATOR),
    "workflows": ("GET", VIEWER),
    "workflow": ("GET", VIEWER),
    "run_now": ("POST", OPERATOR),
    "workflow_pause": ("POST", OPERATOR),
    "workflow_resume": ("POST", OPERATOR),
    "dead_letters": ("GET", VIEWER),
    "retry_letters": ("POST", OPERATOR),
    "pools": ("GET", VIEWER),
    "set_pool": ("POST", ADMIN),
    "remove_pool": ("POST", ADMIN),
    "schedules": ("GET", VIEWER),
    "schedule": ("GET", VIEWER),
    "schedule_new": ("GET", ADMIN),
    "schedule_edit": ("GET", ADMIN),
    "schedule_act": ("POST", ADMIN),
    "slas": ("GET", VIEWER),
    "sla": ("GET", VIEWER),
    "sla_new": ("GET", ADMIN),
    "sla_preview": ("POST", ADMIN),
    "sla_edit": ("GET", ADMIN),
    "sla_delete": ("POST", ADMIN),
    "sla_accept": ("POST", ADMIN),
    "sla_dismiss": ("POST", ADMIN),
    "triggers": ("GET", VIEWER),
    "trigger": ("GET", VIEWER),
    "trigger_new": ("GET", ADMIN),
    "trigger_edit": ("GET", ADMIN),
    "trigger_rotate": ("POST", ADMIN),
    "trigger_delete": ("POST", ADMIN),
    "alerts": ("GET", VIEWER),
    "alert": ("GET", VIEWER),
    "alert_acknowledge": ("POST", OPERATOR),
    "alert_resolve": ("POST", OPERATOR),
    "alert_silence": ("POST", OPERATOR),
    "channels": ("GET", VIEWER),
    "channel": ("GET", VIEWER),
    "channel_new": ("GET", ADMIN),
    "channel_edit": ("GET", ADMIN),
    "channel_test": ("POST", ADMIN),
    "channel_rotate": ("POST", ADMIN),
    "channel_delete": ("POST", ADMIN),
    "silences": ("GET", VIEWER),
    "silence_new": ("GET", OPERATOR),
    "silence_edit": ("GET", OPERATOR),
    "silence_end": ("POST", OPERATOR),
    "window_new": ("GET", OPERATOR),
    "window_edit": ("GET", OPERATOR),
    "window_delete": ("POST", OPERATOR),
    "usage": ("GET", VIEWER),
    "members": ("GET", ADMIN),
    "member": ("GET", ADMIN),
    "member_role": ("POST", ADMIN),
    "member_remove": ("POST", ADMIN),
    "invitation_create": ("POST", ADMIN),
    "invitation_withdraw": ("POST", ADMIN),
    "api_keys": ("GET", ADMIN),
    "api_key_create": ("POST", ADMIN),
    "api_key": ("GET", ADMIN),
    "api_key_rotate": ("POST", ADMIN),
    "api_key_revoke": ("POST", ADMIN),
    "secrets": ("GET", ADMIN),
    "secret_new": ("POST", ADMIN),
    "secret": ("GET", ADMIN),
    "secret_change": ("POST", ADMIN),
    "secret_delete": ("POST", ADMIN),
    "audit": ("GET", ADMIN),
    "audit_export": ("GET", ADMIN),
    "health": ("GET", VIEWER),
    "workers": ("GET", VIEWER),
}
"""The pages of a tenant, all below `/t/<slug>/`: how they are asked for, and the least role."""
MAKES = {"secret_change"}
"""Those that make what their address names."""
STAFF = {
    "staff_tenants": "/staff/tenants/",
    "staff_tenant": f"/staff/tenants/{MARK}/",
    "staff_alerts": "/staff/alerts/",
    "staff_alert": f"/staff/alerts/{NOTHING}/",
    "staff_channels": "/staff/channels/",
    "staff_channel": f"/staff/channels/{MARK}/",
    "staff_channel_new": "/staff/channels/+new",
    "staff_channel_edit": f"/staff/channels/{MARK}/edit",
    "staff_silences": "/staff/silences/",
    "staff_silence_new": "/staff/silences/+new",
    "staff_silence_edit": f"/staff/silences/{NOTHING}/edit",
    "staff_window_new": "/staff/maintenance-windows/+new",
    "staff_window_edit": f"/staff/maintenance-windows/{MARK}/edit",
    "staff_health": "/staff/health/",
    "staff_workers": "/staff/workers/",
}
STAFF_POSTS = {
    **{
        f"staff_alert_{do}": f"/staff/alerts/{NOTHING}/{do}"
        for do in ("acknowledge", "resolve", "silence")
    },
    **{
        f"staff_channel_{do}": f"/staff/channels/{MARK}/{do}" for do in ("test", "rotate", "delete")
    },
    "staff_silence_end": f"/staff/silences/{NOTHING}/end",
    "staff_window_delete": f"/staff/maintenance-windows/{MARK}/delete",
    "staff_worker": "/staff/workers/1/drain",
}
ACCOUNT = {
    "account": "GET",
    "account_password": "POST",
    "account_email": "POST",
    "account_totp": "GET",
    "account_totp_begin": "POST",
    "account_totp_confirm": "POST",
    "account_totp_codes": "POST",
    "account_totp_remove": "POST",
    "account_connect": "POST",
    "account_disconnect": "POST",
    "account_end_session": "POST",
}
"""About the person who asks, whoever that is (tests/dashboard/test_account.py)."""
OPEN = {
    "login",
    "login_code",
    "provider_ask",
    "provider_answer",
    "forgotten",
    "password_reset",
    "invitation",
    "logout",
    "home",
    "hook",
    "health",
    "health/live",
    "health/ready",
    "metrics",
}
"""Addresses that decide by themselves: signing in and out (tests/dashboard/test_entry.py), invitations
(tests/tenants/test_people.py), signed hooks (tests/api/test_triggers.py), health and metrics (tests/health)."""
NAMED = ("run_id", "name", "key_id", "alert_id", "silence_id")
"""Parts of addresses that name a thing."""
ADMIN_OPEN = {"login", "logout", "jsi18n"}


def addresses(
    patterns: list[URLPattern | URLResolver] | None = None, prefix: str = ""
) -> Iterator[tuple[str, str, str]]:
    """Every address: what it is below, its name, its pattern."""
    found = get_resolver().url_patterns if patterns is None else patterns
    for pattern in found:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from addresses(pattern.url_patterns, route)
        else:
            yield prefix, pattern.name or route, route


def pages() -> dict[str, str]:
    """The pages of tenants: pattern by name."""
    return {name: route for _, name, route in addresses() if route.startswith("t/")}


def address(name: str, slug: str, ids: dict[str, str]) -> str:
    """A page's address, of a tenant, about its things or those that `ids` name."""
    values = {**ids, "slug": slug, "action": "pause", "form": "ndjson"}
    route = pages()[name]
    for kind in ("slug", "str"):
        for part, value in values.items():
            route = route.replace(f"<{kind}:{part}>", value)
    assert "<" not in route, route
    return f"/{route}"


def ask(client: Client, name: str, slug: str, ids: dict[str, str]) -> tuple[int, str]:
    """The status and the text."""
    method = PAGES[name][0]
    answer = client.generic(method, address(name, slug, ids))
    content = streamed(cast(StreamingHttpResponse, answer)) if answer.streaming else answer.content
    return answer.status_code, content.decode()


def member(tenant: Tenant | None, role: Role | None, *, staff: bool = False) -> Client:
    """A signed-in browser of a person with this role in the tenant."""
    user = create_user(
        name=f"{role}-{tenant}-{staff}"[:60], password=PASSWORD, tenant=tenant, role=role,
        staff=staff, actor=SYSTEM,
    )  # fmt: skip
    client = Client()
    assert isinstance(user, User)
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def test_every_address_is_in_the_table() -> None:
    assert set(pages()) == set(PAGES)
    others = {
        name
        for prefix, name, route in addresses()
        if not route.startswith(("t/", "admin/", "api/", "^api", "favicon.ico"))
    }
    assert others == {*STAFF, *STAFF_POSTS, *ACCOUNT, *OPEN}


def test_who_is_not_signed_in_is_led_to_the_login(world: World) -> None:
    before = world.marks()
    asked = [(PAGES[name][0], address(name, world.tenant.slug, world.ids)) for name in PAGES]
    asked += [("GET", where) for where in STAFF.values()]
    asked += [("POST", where) for where in STAFF_POSTS.values()]
    asked += [(method, reverse(name)) for name, method in ACCOUNT.items()]
    for method, name in asked:
        answer = Client().generic(method, name)
        assert answer.status_code == 302, name
        assert answer["Location"].startswith("/login?next="), name
        assert MARK not in answer.content.decode(), name
    assert world.marks() == before


def test_a_stranger_sees_a_tenant_like_one_that_does_not_exist(world: World) -> None:
    client = member(world.stranger, ADMIN)
    before = world.marks()
    for name in PAGES:
        theirs = ask(client, name, world.tenant.slug, world.ids)
        nobodys = ask(client, name, ABSENT, world.ids)
        assert theirs == nobodys, name
        assert theirs[0] == 404, name
    for where in STAFF.values():
        assert client.get(where.replace(MARK, world.tenant.slug)).status_code == 404
    for where in STAFF_POSTS.values():
        assert client.post(where).status_code == 404
    assert MARK not in client.get("/").content.decode()
    assert world.marks() == before


def test_a_foreign_id_within_ones_own_tenant_is_like_an_absent_one(world: World) -> None:
    client = member(world.stranger, ADMIN)
    before = world.marks()
    absent = {
        **world.ids,
        "name": ABSENT,
        "run_id": "0" * 8 + world.ids["run_id"][8:],
        "step": ABSENT,
        "key_id": ABSENT,
        "alert_id": NOTHING,
        "silence_id": NOTHING,
    }
    for name, route in pages().items():
        named = any(f"<str:{part}>" in route for part in NAMED)
        if not named or name in MAKES:
            status, text = ask(client, name, world.stranger.slug, world.ids)
            assert status in (200, 302), name
            assert MARK not in text, name
            continue
        guessed = ask(client, name, world.stranger.slug, world.ids)
        missing = ask(client, name, world.stranger.slug, absent)
        assert guessed[0] == missing[0] == 404, name
        assert guessed[1] == missing[1], name
    assert world.marks() == before


def test_a_lower_role_is_refused(world: World) -> None:
    viewer, operator = (member(world.tenant, role) for role in (VIEWER, OPERATOR))
    before = world.marks()
    for name, (_, least) in PAGES.items():
        if least != VIEWER:
            assert ask(viewer, name, world.tenant.slug, world.ids)[0] == 403, name
        if least == ADMIN:
            assert ask(operator, name, world.tenant.slug, world.ids)[0] == 403, name
    for where in STAFF.values():
        assert viewer.get(where.replace(MARK, world.tenant.slug)).status_code == 404
    for where in STAFF_POSTS.values():
        assert viewer.post(where).status_code == 404
    assert world.marks() == before


def test_filters_of_pages_show_nothing_of_others(world: World) -> None:
    client = member(world.stranger, ADMIN)
    for page, query in (
        ("runs", f"workflow={MARK}&label=k:{MARK}&q={MARK}"),
        ("runs", f"q={world.ids['run_id']}"),
        ("dead_letters", f"workflow={MARK}&fingerprint={world.ids['fingerprint']}"),
        ("schedules", f"workflow={MARK}"),
        ("overview", f"workflow={MARK}"),
    ):
        answer = client.get(address(page, world.stranger.slug, {}) + f"?{query}")
        assert answer.status_code == 200
        assert f"/workflows/{MARK}" not in answer.content.decode(), (page, query)
        assert f"/runs/{world.ids['run_id']}" not in answer.content.decode(), (page, query)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_admin_is_for_staff(world: World, method: str) -> None:
    clients = (Client(), member(world.tenant, ADMIN))
    seen = 0
    for prefix, name, route in addresses():
        if not prefix.startswith("admin/") or name in ADMIN_OPEN:
            continue
        where = "/" + route.replace("<path:object_id>", str(world.tenant.pk))
        if "<" in where or "(" in where:
            continue  # of an app's list, or the catch-all: tried below
        seen += 1
        for client in clients:
            answer = client.generic(method, where)
            assert answer.status_code == 302, where
            assert answer["Location"].startswith("/admin/login/"), where
    assert seen > 20
    for where in ("/admin/tenants/", "/admin/nothing", f"/admin/r/1/{world.tenant.pk}/"):
        for client in clients:
            assert client.generic(method, where).status_code in (302, 404), where
