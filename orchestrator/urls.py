"""Every address of the server."""

from __future__ import annotations

from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from orchestrator.api import health, hooks, root

urlpatterns = [
    path("admin/", admin.site.urls),
    # What browsers ask for by themselves, on pages that name no icon.
    path("favicon.ico", RedirectView.as_view(url=f"{settings.STATIC_URL}img/favicon.svg")),
    path("", include("dashboard.urls")),
    *root.urlpatterns,
    *health.urlpatterns,
    *hooks.urlpatterns,
]

handler500 = "dashboard.views.unwell.server_error"
