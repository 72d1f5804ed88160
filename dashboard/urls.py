"""The addresses of the pages."""

from __future__ import annotations

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

from dashboard.views import schedules, triggers
from dashboard.views.actions import cancel, run_now, undo
from dashboard.views.home import home, staff_tenants
from dashboard.views.pools import remove_pool, set_pool
from dashboard.views.repairs import retry_letters, run_action, step_action, workflow_action
from dashboard.views.show import show
from dashboard.views.signals import signal

urlpatterns = [
    path("", home, name="home"),
    path(
        "login",
        LoginView.as_view(template_name="dashboard/login.html", redirect_authenticated_user=True),
        name="login",
    ),
    path("logout", LogoutView.as_view(), name="logout"),
    path("t/<slug:slug>/", show, {"page": "overview"}, name="overview"),
    path("t/<slug:slug>/runs/", show, {"page": "runs"}, name="runs"),
    path("t/<slug:slug>/runs/<str:run_id>/", show, {"page": "run"}, name="run"),
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
    path("t/<slug:slug>/triggers/", show, {"page": "triggers"}, name="triggers"),
    path("t/<slug:slug>/triggers/+new", triggers.edit, name="trigger_new"),
    path("t/<slug:slug>/triggers/<str:name>/", show, {"page": "trigger"}, name="trigger"),
    path("t/<slug:slug>/triggers/<str:name>/edit", triggers.edit, name="trigger_edit"),
    path("t/<slug:slug>/triggers/<str:name>/rotate", triggers.rotate, name="trigger_rotate"),
    path("t/<slug:slug>/triggers/<str:name>/delete", triggers.delete, name="trigger_delete"),
    path("staff/tenants/", staff_tenants, name="staff_tenants"),
]
