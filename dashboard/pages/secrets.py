"""Secrets: which there are, since when, and when they were used last; never a value."""

from __future__ import annotations

from dashboard.live.page import Arguments, Context, Page, Query
from orchestrator.domain.errors import InvalidCursor, NotFound
from orchestrator.selectors.secrets import access_secret, history, list_secrets, secret_view
from tenants.access import Access
from tenants.errors import SecretNotFound
from tenants.models import Role

LIMIT = 100


def secrets_context(access: Access, _arguments: Arguments, query: Query) -> Context:
    """A page of secrets by name."""
    try:
        page = list_secrets(tenant=access.tenant, limit=LIMIT, cursor=query.get("cursor") or None)
    except InvalidCursor:
        page = list_secrets(tenant=access.tenant, limit=LIMIT)
    return {"rows": page.items, "next_cursor": page.next_cursor}


def secret_context(access: Access, arguments: Arguments, _query: Query) -> Context:
    """A secret with its history.  Raises NotFound."""
    try:
        row = access_secret(tenant=access.tenant, name=arguments["name"])
    except SecretNotFound as error:
        raise NotFound(error.message) from None
    return {"secret": secret_view(row), "versions": history(row)}


SECRETS = Page("secrets", "dashboard/secrets.html", ("rows",), secrets_context, role=Role.ADMIN)
SECRET = Page(
    "secret",
    "dashboard/secret.html",
    ("facts", "versions"),
    secret_context,
    role=Role.ADMIN,
    argument="name",
)
