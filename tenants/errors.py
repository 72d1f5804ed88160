"""What can go wrong with tenants, people and keys: a code, an HTTP category and facts.

The shape is that of the orchestrator's own errors, so that each interface translates both alike."""

from __future__ import annotations

from typing import ClassVar


class TenantsError(Exception):
    """Something about a tenant, a person or a key does not hold.

    `message` is one sentence for people; `code` is stable; `status` is the HTTP category."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 422
    title: ClassVar[str] = "Not valid"

    def __init__(self, message: str, **facts: object) -> None:
        self.message = message
        self.facts: dict[str, object] = facts
        super().__init__(message)


class TenantNotFound(TenantsError):
    """Absent and foreign look the same."""

    code = "tenant_not_found"
    status = 404
    title = "Not found"

    def __init__(self, slug: str) -> None:
        super().__init__("There is no such tenant.", tenant=slug)


class RoleRequired(TenantsError):
    """A member, but with a lower role than the action needs."""

    code = "role_required"
    status = 403
    title = "Not allowed"

    def __init__(self, role: str) -> None:
        super().__init__(f"This needs the role {role}.", role=role)


class AlreadyThere(TenantsError):
    """A name that must be unique is taken."""

    code = "already_exists"
    status = 409
    title = "Already there"


class InvalidValue(TenantsError):
    """A value is out of its range or form; `facts["field"]` names it."""

    code = "invalid_value"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message, field=field)
