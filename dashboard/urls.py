"""The addresses of the pages."""

from __future__ import annotations

from django.contrib.auth.views import LogoutView
from django.urls import path

from dashboard.views import (
    account,
    alerts,
    api_keys,
    channels,
    entry,
    members,
    provider,
    schedules,
    secrets,
    slas,
    triggers,
)
from dashboard.views.actions import cancel, run_now, undo
from dashboard.views.audit import export_audit
from dashboard.views.health import staff_health, staff_worker, staff_workers
from dashboard.views.home import home
from dashboard.views.invitations import invitation
from dashboard.views.pools import remove_pool, set_pool
from dashboard.views.repairs import retry_letters, run_action, step_action, workflow_action
from dashboard.views.run_logs import download_logs
from dashboard.views.show import show
from dashboard.views.signals import signal
from dashboard.views.staff import staff_tenant, staff_tenants
from dashboard.views.unwell import while_down

urlpatterns = [
    path("", home, name="home"),
    path("login", entry.SignIn.as_view(), name="login"),
    path("login/code", entry.code, name="login_code"),
    path("login/provider", provider.ask, name="provider_ask"),
    path("login/provider/answer", provider.answered, name="provider_answer"),
    path("login/forgotten", entry.forgotten, name="forgotten"),
    path("login/forgotten/<uidb64>/<token>", entry.SetForgotten.as_view(), name="password_reset"),
    path("logout", LogoutView.as_view(), name="logout"),
    path("invitations/<str:token>", invitation, name="invitation"),
    path("account/", account.account, name="account"),
    path("account/password", account.set_password, name="account_password"),
    path("account/email", account.set_email, name="account_email"),
    path("account/totp", account.totp, name="account_totp"),
    path("account/totp/begin", account.begin_totp, name="account_totp_begin"),
    path("account/totp/confirm", account.confirm_totp, name="account_totp_confirm"),
    path("account/totp/codes", account.renew_codes, name="account_totp_codes"),
    path("account/totp/remove", account.remove_totp, name="account_totp_remove"),
    path("account/connect", account.connect, name="account_connect"),
    path("account/disconnect", account.disconnect, name="account_disconnect"),
    path("account/sessions/end", account.end_session, name="account_end_session"),
    path("t/<slug:slug>/", show, {"page": "overview"}, name="overview"),
    path("t/<slug:slug>/runs/", show, {"page": "runs"}, name="runs"),
    path("t/<slug:slug>/runs/<str:run_id>/", show, {"page": "run"}, name="run"),
    path("t/<slug:slug>/runs/<str:run_id>/logs.txt", download_logs, name="run_logs"),
    path("t/<slug:slug>/runs/<str:run_id>/cancel", cancel, name="run_cancel"),
    path("t/<slug:slug>/runs/<str:run_id>/signals/<str:name>", signal, name="run_signal"),
    path("t/<slug:slug>/runs/<str:run_id>/undo", undo, name="run_undo"),
    path("t/<slug:slug>/workflows/", show, {"page": "workflows"}, name="workflows"),
    path("t/<slug:slug>/workflows/<str:name>/", show, {"page": "workflow"}, name="workflow"),
    path("t/<slug:slug>/workflows/<str:name>/run", run_now, name="run_now"),
    path("t/<slug:slug>/pools/", show, {"page": "pools"}, name="pools"),
    path("t/<slug:slug>/pools/set", set_pool, name="set_pool"),
    path("t/<slug:slug>/pools/delete", remove_pool, name="remove_pool"),
    *(
        path(
            f"t/<slug:slug>/runs/<str:run_id>/{action}",
            run_action,
            {"action": action},
            name=f"run_{action}",
        )
        for action in ("pause", "resume", "retry")
    ),
    *(
        path(
            f"t/<slug:slug>/runs/<str:run_id>/steps/<str:step>/{action}",
            step_action,
            {"action": action},
            name=f"step_{action}",
        )
        for action in ("retry", "complete", "skip")
    ),
    *(
        path(
            f"t/<slug:slug>/workflows/<str:name>/{action}",
            workflow_action,
            {"action": action},
            name=f"workflow_{action}",
        )
        for action in ("pause", "resume")
    ),
    path("t/<slug:slug>/dead-letters/", show, {"page": "dead_letters"}, name="dead_letters"),
    path("t/<slug:slug>/dead-letters/retry", retry_letters, name="retry_letters"),
    path("t/<slug:slug>/schedules/", show, {"page": "schedules"}, name="schedules"),
    path("t/<slug:slug>/schedules/+new", schedules.edit, name="schedule_new"),
    path("t/<slug:slug>/schedules/<str:name>/", show, {"page": "schedule"}, name="schedule"),
    path("t/<slug:slug>/schedules/<str:name>/edit", schedules.edit, name="schedule_edit"),
    path("t/<slug:slug>/schedules/<str:name>/<slug:action>", schedules.act, name="schedule_act"),
    path("t/<slug:slug>/slas/", show, {"page": "slas"}, name="slas"),
    path("t/<slug:slug>/slas/+new", slas.edit, name="sla_new"),
    path("t/<slug:slug>/slas/+preview", slas.preview, name="sla_preview"),
    path("t/<slug:slug>/slas/+proposals/<str:name>/accept", slas.accept, name="sla_accept"),
    path("t/<slug:slug>/slas/+proposals/<str:name>/dismiss", slas.dismiss, name="sla_dismiss"),
    path("t/<slug:slug>/slas/<str:name>/", show, {"page": "sla"}, name="sla"),
    path("t/<slug:slug>/slas/<str:name>/edit", slas.edit, name="sla_edit"),
    path("t/<slug:slug>/slas/<str:name>/delete", slas.delete, name="sla_delete"),
    path("t/<slug:slug>/triggers/", show, {"page": "triggers"}, name="triggers"),
    path("t/<slug:slug>/triggers/+new", triggers.edit, name="trigger_new"),
    path("t/<slug:slug>/triggers/<str:name>/", show, {"page": "trigger"}, name="trigger"),
    path("t/<slug:slug>/triggers/<str:name>/edit", triggers.edit, name="trigger_edit"),
    path("t/<slug:slug>/triggers/<str:name>/rotate", triggers.rotate, name="trigger_rotate"),
    path("t/<slug:slug>/triggers/<str:name>/delete", triggers.delete, name="trigger_delete"),
    path("t/<slug:slug>/usage/", show, {"page": "usage"}, name="usage"),
    path("t/<slug:slug>/members/", show, {"page": "members"}, name="members"),
    path("t/<slug:slug>/members/<str:name>/", show, {"page": "member"}, name="member"),
    path("t/<slug:slug>/members/<str:name>/role", members.set_role, name="member_role"),
    path("t/<slug:slug>/members/<str:name>/remove", members.remove, name="member_remove"),
    path("t/<slug:slug>/invitations/create", members.invite, name="invitation_create"),
    path("t/<slug:slug>/invitations/withdraw", members.withdraw, name="invitation_withdraw"),
    path("t/<slug:slug>/api-keys/", show, {"page": "api_keys"}, name="api_keys"),
    path("t/<slug:slug>/api-keys/create", api_keys.create, name="api_key_create"),
    path("t/<slug:slug>/api-keys/<str:key_id>/", show, {"page": "api_key"}, name="api_key"),
    path("t/<slug:slug>/api-keys/<str:key_id>/rotate", api_keys.rotate, name="api_key_rotate"),
    path("t/<slug:slug>/api-keys/<str:key_id>/revoke", api_keys.revoke, name="api_key_revoke"),
    path("t/<slug:slug>/secrets/", show, {"page": "secrets"}, name="secrets"),
    path("t/<slug:slug>/secrets/+new", secrets.new, name="secret_new"),
    path("t/<slug:slug>/secrets/<str:name>/", show, {"page": "secret"}, name="secret"),
    path("t/<slug:slug>/secrets/<str:name>/change", secrets.change, name="secret_change"),
    path("t/<slug:slug>/secrets/<str:name>/delete", secrets.delete, name="secret_delete"),
    path("t/<slug:slug>/audit/", show, {"page": "audit"}, name="audit"),
    path("t/<slug:slug>/audit/<str:form>", export_audit, name="audit_export"),
    path("t/<slug:slug>/alerts/", show, {"page": "alerts"}, name="alerts"),
    path("t/<slug:slug>/alerts/<str:alert_id>/", show, {"page": "alert"}, name="alert"),
    path("t/<slug:slug>/channels/", show, {"page": "channels"}, name="channels"),
    path("t/<slug:slug>/channels/+new", channels.edit_channel, name="channel_new"),
    path("t/<slug:slug>/channels/<str:name>/", show, {"page": "channel"}, name="channel"),
    path("t/<slug:slug>/silences/", show, {"page": "silences"}, name="silences"),
    path("staff/alerts/", alerts.staff_alerts, name="staff_alerts"),
    path("staff/alerts/<str:alert_id>/", alerts.staff_alert, name="staff_alert"),
    path("staff/channels/", alerts.staff_channels, name="staff_channels"),
    path("staff/channels/+new", channels.edit_channel, name="staff_channel_new"),
    path("staff/channels/<str:name>/", channels.staff_channel, name="staff_channel"),
    path("staff/silences/", alerts.staff_silences, name="staff_silences"),
    *(
        route
        for below, kind in (("t/<slug:slug>/", ""), ("staff/", "staff_"))
        for route in (
            *(
                path(
                    f"{below}alerts/<str:alert_id>/{action}",
                    alerts.act,
                    {"action": action},
                    name=f"{kind}alert_{action}",
                )
                for action in alerts.ACTIONS
            ),
            *(
                path(
                    f"{below}channels/<str:name>/{action}",
                    channels.act_on_channel,
                    {"action": action},
                    name=f"{kind}channel_{action}",
                )
                for action in ("test", "rotate", "delete")
            ),
            path(
                f"{below}channels/<str:name>/edit",
                channels.edit_channel,
                name=f"{kind}channel_edit",
            ),
            path(f"{below}silences/+new", channels.edit_silence, name=f"{kind}silence_new"),
            path(
                f"{below}silences/<str:silence_id>/edit",
                channels.edit_silence,
                name=f"{kind}silence_edit",
            ),
            path(
                f"{below}silences/<str:silence_id>/end",
                channels.end_silence,
                name=f"{kind}silence_end",
            ),
            path(
                f"{below}maintenance-windows/+new",
                channels.edit_window,
                name=f"{kind}window_new",
            ),
            path(
                f"{below}maintenance-windows/<str:name>/edit",
                channels.edit_window,
                name=f"{kind}window_edit",
            ),
            path(
                f"{below}maintenance-windows/<str:name>/delete",
                channels.delete_window,
                name=f"{kind}window_delete",
            ),
        )
    ),
    path("t/<slug:slug>/health/", while_down(show), {"page": "health"}, name="health"),
    path("t/<slug:slug>/workers/", show, {"page": "workers"}, name="workers"),
    path("staff/health/", while_down(staff_health), name="staff_health"),
    path("staff/workers/", staff_workers, name="staff_workers"),
    path("staff/workers/<int:worker_id>/<slug:action>", staff_worker, name="staff_worker"),
    path("staff/tenants/", staff_tenants, name="staff_tenants"),
    path("staff/tenants/<slug:slug>/", staff_tenant, name="staff_tenant"),
]
