"""Where the pages of alerts are: a tenant's below its slug, the server's own below `/staff/`."""

from __future__ import annotations

from django.urls import reverse

from tenants.models import Tenant


def address(tenant: Tenant | None, page: str, **arguments: object) -> str:
    """A page's address below a tenant, or the server's own page of that name."""
    if tenant is None:
        return reverse(f"staff_{page}", kwargs=arguments)
    return reverse(page, kwargs={"slug": tenant.slug, **arguments})
