"""The admin's site: themed, with the one policy that its pages need and no other page gets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from csp.constants import SELF, UNSAFE_EVAL, UNSAFE_INLINE
from csp.decorators import csp_update
from django.apps import AppConfig
from django.contrib import admin
from django.contrib.admin import sites
from django.http import HttpRequest, HttpResponse
from unfold.sites import UnfoldAdminSite

POLICY = {"script-src": [SELF, UNSAFE_EVAL], "style-src": [SELF, UNSAFE_INLINE]}
"""The theme's Alpine.js evaluates expressions in attributes and its colours are a style element;
inline scripts stay forbidden here too."""


class MillraceAdminSite(UnfoldAdminSite):
    """Every view of the admin, with its own Content-Security-Policy."""

    def admin_view(self, view: Callable[..., Any], cacheable: bool = False) -> Callable[..., Any]:
        """The view behind the check of permissions, with the policy of these pages."""
        guarded: Callable[..., Any] = csp_update(POLICY)(super().admin_view(view, cacheable))
        return guarded

    def login(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The admin's own login page."""
        page: Callable[..., Any] = csp_update(POLICY)(super().login)
        response: HttpResponse = page(request, extra_context)
        return response


class AdminThemeConfig(AppConfig):
    """The theme's app, with our site in the place of its own."""

    name = "unfold"

    def ready(self) -> None:
        site = MillraceAdminSite()
        admin.site = site
        sites.site = site
