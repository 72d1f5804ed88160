"""The addresses of the pages."""

from __future__ import annotations

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

from dashboard.views.actions import cancel, run_now
from dashboard.views.home import home, staff_tenants
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
    path("t/<slug:slug>/workflows/", show, {"page": "workflows"}, name="workflows"),
    path("t/<slug:slug>/workflows/<str:name>/", show, {"page": "workflow"}, name="workflow"),
    path("t/<slug:slug>/workflows/<str:name>/run", run_now, name="run_now"),
    path("staff/tenants/", staff_tenants, name="staff_tenants"),
]
