"""A tenant's secrets, without their values; and which of them a definition names."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.domain.definition import Definition
from orchestrator.selectors.paging import DEFAULT_LIMIT, Page, seal, unseal
from tenants.errors import SecretNotFound
from tenants.models import Secret, SecretVersion, Tenant

CURSOR = "secrets"
HISTORY = 100


def access_secret(*, tenant: Tenant, name: str) -> Secret:
    """The tenant's secret.  Raises SecretNotFound; absent and foreign look the same."""
    found = None
    if "\0" not in name:
        found = Secret.objects.defer("sealed").filter(tenant=tenant, name=name).first()
    if found is None:
        raise SecretNotFound(name)
    return found


def secret_view(row: Secret) -> dict[str, object]:
    """A Secret as the API shows it: never its value."""
    return {
        "name": row.name,
        "version": row.version,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "updated_by": row.updated_by,
        "last_used_at": row.last_used_at,
    }


def history(row: Secret) -> list[dict[str, object]]:
    """When it got its values, and from whom: the last 100, newest first."""
    rows = SecretVersion.objects.filter(tenant=row.tenant_id, secret=row).order_by("-version")
    return [
        {"version": one.version, "at": one.created_at, "by": one.created_by}
        for one in rows[:HISTORY]
    ]


def list_secrets(*, tenant: Tenant, limit: int = DEFAULT_LIMIT, cursor: str | None = None) -> Page:
    """A page of the tenant's secrets by name.  Raises InvalidCursor."""
    rows = Secret.objects.defer("sealed").filter(tenant=tenant)
    if cursor is not None:
        (after,) = unseal(CURSOR, cursor, 1)
        rows = rows.filter(name__gt=after)
    found = list(rows.order_by("name")[: limit + 1])
    more = len(found) > limit
    found = found[:limit]
    return Page([secret_view(row) for row in found], seal(CURSOR, found[-1].name) if more else None)


def unknown_secrets(*, tenant: Tenant, definition: Definition) -> dict[str, str]:
    """Secrets that a definition names and the tenant has not, each with the place (JSON Pointer) of
    what names it first."""
    places: dict[str, str] = {}

    def note(names: Iterable[str], place: str) -> None:
        for name in sorted(names):
            places.setdefault(name, place)

    for step in definition.steps:
        note(step.secrets, f"/steps/{step.ordinal}")
        for word, call in (("compensate", step.compensate), ("undo", step.undo)):
            if call is not None:
                note(call.secrets, f"/steps/{step.ordinal}/{word}")
    if definition.output is not None:
        note(definition.output.secrets, "/output")
    if not places:
        return {}
    known = Secret.objects.filter(tenant=tenant, name__in=places).values_list("name", flat=True)
    return {name: places[name] for name in places.keys() - set(known)}
