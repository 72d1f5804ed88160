"""The admin's site: themed, with the one policy that its pages need and no other page gets."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from csp.constants import SELF, UNSAFE_EVAL, UNSAFE_INLINE
from csp.decorators import csp_update
from django.apps import AppConfig
from django.conf import settings
from django.contrib import admin
from django.contrib.admin import sites
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, resolve_url
from django.urls import reverse
from unfold.sites import UnfoldAdminSite

from tenants import fence

POLICY = {"script-src": [SELF, UNSAFE_EVAL], "style-src": [SELF, UNSAFE_INLINE]}
"""The theme's Alpine.js evaluates expressions in attributes and its colours are a style element;
inline scripts stay forbidden here too."""


class MillraceAdminSite(UnfoldAdminSite):
    """Every view of the admin, for staff, with its own Content-Security-Policy."""

    def admin_view(self, view: Callable[..., Any], cacheable: bool = False) -> Callable[..., Any]:
        """The view behind the check of permissions, with the policy of these pages."""

        @functools.wraps(view)
        def seeing_all(*args: Any, **kwargs: Any) -> Any:
            fence.enter_staff()  # for the template too, which is filled in after the view
            return view(*args, **kwargs)

        guarded: Callable[..., Any] = csp_update(POLICY)(super().admin_view(seeing_all, cacheable))
        return guarded

    def login(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The pages' way in: a second factor and the lockout stand there, and nothing goes past them."""
        if request.user.is_authenticated:
            raise PermissionDenied
        target = request.GET.get("next") or reverse("admin:index")
        return redirect(f"{resolve_url(settings.LOGIN_URL)}?{urlencode({'next': target})}")


class AdminThemeConfig(AppConfig):
    """The theme's app, with our site in the place of its own."""

    name = "unfold"

    def ready(self) -> None:
        site = MillraceAdminSite()
        admin.site = site
        sites.site = site
