"""Whose alerts a page is about: a tenant's, for its members, or the server's, for staff."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect

from dashboard.addresses import address
from dashboard.views.show import access_or_404, frame, refused, switcher
from tenants import fence
from tenants.access import Access
from tenants.errors import RoleRequired
from tenants.models import Role, Tenant

POLL_S = 3
"""The server's own pages have no socket: they are asked for anew so often."""


@dataclass(frozen=True, slots=True)
class Owner:
    """`access` None: the server, looked at by staff."""

    request: HttpRequest
    access: Access | None

    @property
    def tenant(self) -> Tenant | None:
        """The tenant; None: the server."""
        return None if self.access is None else self.access.tenant

    def may(self, role: Role) -> bool:
        """Whether the person may do what takes this role; staff may do all with what is the server's."""
        return self.access is None or self.access.may(role)

    def context(self, **more: Any) -> dict[str, Any]:
        """What the frame around the page needs, and more."""
        if self.access is not None:
            return {**frame(self.request, self.access), **more}
        return {**switcher(self.request), **more}

    def redirect(self, page: str, **arguments: object) -> HttpResponseBase:
        """To a page of the same owner."""
        return redirect(address(self.tenant, page, **arguments))


def owner_or_404(request: HttpRequest, slug: str | None, role: Role) -> Owner:
    """Who owns what the address is about; `slug` None: the server.  404 for strangers, and for who is
    not staff; a lower role raises RoleRequired."""
    if slug is not None:
        return Owner(request, access_or_404(request, slug, role))
    if not getattr(request.user, "is_staff", False):
        raise Http404
    fence.enter_staff()
    return Owner(request, None)


def owner_or_refusal(
    request: HttpRequest, slug: str | None, role: Role
) -> Owner | HttpResponseBase:
    """The same, or the page that says what a lower role may not do."""
    try:
        return owner_or_404(request, slug, role)
    except RoleRequired as error:
        return refused(request, error.message, error.status)
