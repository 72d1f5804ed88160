"""Every way to change something leaves an entry in the audit log: pages.  Whatever is new and stands
in none of the tables fails the test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dashboard import urls
from tests.api.audit_world import (
    HOOK,
    Act,
    World,
    acts,
    walked,
)

__all__ = ["walked"]


pytestmark = pytest.mark.thorough


PAGES: dict[str, tuple[Act, Callable[[World, Any], object]]] = {
    "run_cancel": (World.run, lambda w, r: w.page(f"runs/{r}/cancel")),
    "run_undo": (World.succeeded, lambda w, r: w.page(f"runs/{r}/undo")),
    "run_pause": (World.run, lambda w, r: w.page(f"runs/{r}/pause")),
    "run_resume": (World.paused, lambda w, r: w.page(f"runs/{r}/resume")),
    "run_retry": (World.failed, lambda w, r: w.page(f"runs/{r}/retry")),
    "run_signal": (lambda w: w.run("waits"), lambda w, r: w.page(f"runs/{r}/signals/go", payload="1")),
    "run_now": (lambda w: None, lambda w, _: w.page("workflows/w/run", input="{}")),
    "step_retry": (World.failed, lambda w, r: w.page(f"runs/{r}/steps/a/retry")),
    "step_complete": (World.failed, lambda w, r: w.page(f"runs/{r}/steps/a/complete", output="1")),
    "step_skip": (World.failed, lambda w, r: w.page(f"runs/{r}/steps/a/skip")),
    "workflow_pause": (lambda w: None, lambda w, _: w.page("workflows/w/pause")),
    "workflow_resume": (
        lambda w: w.api.post("/workflows/w/pause"),
        lambda w, _: w.page("workflows/w/resume"),
    ),
    "retry_letters": (World.failed, lambda w, _: w.page("dead-letters/retry")),
    "set_pool": (lambda w: None, lambda w, _: w.page("pools/set", name="x", limit="3")),
    "remove_pool": (lambda w: w.made("pools"), lambda w, _: w.page("pools/delete", name="x")),
    "schedule_new": (
        lambda w: None,
        lambda w, _: w.page("schedules/+new", name="x", workflow="w", interval="1m", kind="interval"),
    ),
    "schedule_edit": (
        lambda w: w.made("schedules"),
        lambda w, _: w.page("schedules/x/edit", name="x", workflow="w", interval="2m", kind="interval"),
    ),
    "schedule_act": (lambda w: w.made("schedules"), lambda w, _: w.page("schedules/x/pause")),
    "sla_new": (
        lambda w: None,
        lambda w, _: w.page("slas/+new", name="x", kind="run_duration", threshold="1h"),
    ),
    "sla_edit": (
        lambda w: w.made("slas"),
        lambda w, _: w.page("slas/x/edit", name="x", kind="run_duration", threshold="2h"),
    ),
    "sla_delete": (lambda w: w.made("slas"), lambda w, _: w.page("slas/x/delete")),
    "sla_accept": (World.proposed, lambda w, _: w.page("slas/+proposals/w/accept")),
    "sla_dismiss": (World.proposed, lambda w, _: w.page("slas/+proposals/w/dismiss")),
    "trigger_new": (lambda w: None, lambda w, _: w.page("triggers/+new", name="x", workflow="w")),
    "trigger_edit": (
        lambda w: w.made("triggers"),
        lambda w, _: w.page("triggers/x/edit", name="x", workflow="w", rate="5/1m"),
    ),
    "trigger_rotate": (lambda w: w.made("triggers"), lambda w, _: w.page("triggers/x/rotate")),
    "trigger_delete": (lambda w: w.made("triggers"), lambda w, _: w.page("triggers/x/delete")),
    "secret_new": (lambda w: None, lambda w, _: w.page("secrets/+new", name="x", value="long-enough")),
    "secret_change": (
        lambda w: w.made("secrets"),
        lambda w, _: w.page("secrets/x/change", value="another-one"),
    ),
    "secret_delete": (lambda w: w.made("secrets"), lambda w, _: w.page("secrets/x/delete")),
    "alert_acknowledge": (World.alert, lambda w, one: w.page(f"alerts/{one}/acknowledge")),
    "alert_resolve": (World.alert, lambda w, one: w.page(f"alerts/{one}/resolve")),
    "alert_silence": (
        World.alert,
        lambda w, one: w.page(f"alerts/{one}/silence", reason="r", duration="1h"),
    ),
    "channel_new": (
        lambda w: None,
        lambda w, _: w.page("channels/+new", name="x", severity="warning", **HOOK),
    ),
    "channel_edit": (
        lambda w: w.made("channels"),
        lambda w, _: w.page("channels/x/edit", kind="webhook", severity="critical"),
    ),
    "channel_test": (lambda w: w.made("channels"), lambda w, _: w.page("channels/x/test")),
    "channel_rotate": (lambda w: w.made("channels"), lambda w, _: w.page("channels/x/rotate")),
    "channel_delete": (lambda w: w.made("channels"), lambda w, _: w.page("channels/x/delete")),
    "silence_new": (
        lambda w: None,
        lambda w, _: w.page("silences/+new", match="sla:*", reason="r", duration="1h"),
    ),
    "silence_edit": (
        World.silence,
        lambda w, one: w.page(f"silences/{one}/edit", match="*", reason="longer", duration="4h"),
    ),
    "silence_end": (World.silence, lambda w, one: w.page(f"silences/{one}/end")),
    "window_new": (
        lambda w: None,
        lambda w, _: w.page("maintenance-windows/+new", name="x", match="*", cron="0 2 * * 0", duration="1h"),
    ),
    "window_edit": (
        lambda w: w.made("maintenance-windows"),
        lambda w, _: w.page("maintenance-windows/x/edit", match="*", cron="0 3 * * 0", duration="1h"),
    ),
    "window_delete": (
        lambda w: w.made("maintenance-windows"),
        lambda w, _: w.page("maintenance-windows/x/delete"),
    ),
    "member_role": (lambda w: None, lambda w, _: w.page("members/bea/role", role="viewer")),
    "member_remove": (lambda w: None, lambda w, _: w.page("members/bea/remove")),
    "invitation_create": (lambda w: None, lambda w, _: w.page("invitations/create", role="viewer")),
    "invitation_withdraw": (
        World.invitation,
        lambda w, made: w.page("invitations/withdraw", id=str(made)),
    ),
    "api_key_create": (
        lambda w: None,
        lambda w, _: w.page("api-keys/create", name="x", scopes="runs:read"),
    ),
    "api_key_rotate": (World.key, lambda w, key: w.page(f"api-keys/{key}/rotate")),
    "api_key_revoke": (World.key, lambda w, key: w.page(f"api-keys/{key}/revoke")),
}  # fmt: skip
READING = {
    "home", "login", "logout", "overview", "runs", "run", "run_logs", "workflows", "workflow", "pools",
    "dead_letters", "schedules", "schedule", "slas", "sla", "sla_preview", "triggers", "trigger", "secrets", "secret", "audit",
    "audit_export", "staff_tenants", "usage", "members", "member", "api_keys", "api_key", "account",
    "alerts", "alert", "channels", "channel", "silences", "staff_alerts", "staff_alert",
    "staff_channels", "staff_channel", "staff_silences",
    "health", "workers", "staff_health", "staff_workers",
    "account_totp", "account_totp_begin", "forgotten", "login_code", "provider_ask",
}  # fmt: skip
"""Pages that change nothing, or only begin something."""
PAGES_ELSEWHERE = {
    "account_connect": "tests/dashboard/test_provider.py",
    "account_disconnect": "tests/dashboard/test_provider.py",
    "account_email": "tests/dashboard/test_account.py",
    "account_end_session": "tests/dashboard/test_account.py",
    "account_password": "tests/dashboard/test_account.py",
    "account_totp_codes": "tests/dashboard/test_account.py",
    "account_totp_confirm": "tests/dashboard/test_account.py",
    "account_totp_remove": "tests/dashboard/test_account.py",
    "invitation": "tests/tenants/test_people.py",
    "password_reset": "tests/dashboard/test_entry.py",
    "provider_answer": "tests/dashboard/test_provider.py",
    "staff_tenant": "tests/dashboard/test_usage.py",
    **dict.fromkeys(
        (
            "staff_alert_acknowledge",
            "staff_alert_resolve",
            "staff_alert_silence",
            "staff_channel_new",
            "staff_channel_edit",
            "staff_channel_test",
            "staff_channel_rotate",
            "staff_channel_delete",
            "staff_silence_new",
            "staff_silence_edit",
            "staff_silence_end",
            "staff_window_new",
            "staff_window_edit",
            "staff_window_delete",
        ),
        "tests/dashboard/test_alerts.py",
    ),
    "staff_worker": "tests/dashboard/test_health.py",
}
"""Forms of a person's own account, and of staff."""


@pytest.mark.parametrize("name", PAGES)
def test_every_change_from_a_page_leaves_an_entry(walked: World, name: str) -> None:
    entries = acts(walked, PAGES[name])
    assert entries, f"{name} left no entry"
    assert {(one.actor, one.origin) for one in entries} == {("user:ada", "127.0.0.1")}


def test_no_page_is_missing() -> None:
    names = {route.name for route in urls.urlpatterns}
    assert names == PAGES.keys() | READING | PAGES_ELSEWHERE.keys()
