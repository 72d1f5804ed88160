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


class RolesRefused(TenantsError):
    """The database login may not make the roles and schemas of tenants."""

    code = "roles_refused"
    status = 503
    title = "Not available"

    def __init__(self, login: str, database: str, said: str) -> None:
        super().__init__(
            f"The database login {login} may not make tenants' roles and schemas ({said}):"
            f" as a superuser, run ALTER ROLE {login} CREATEROLE;"
            f" GRANT CREATE ON DATABASE {database} TO {login};"
            " and then manage.py tenant_repair.",
            login=login,
        )


class InvalidValue(TenantsError):
    """A value is out of its range or form; `facts["field"]` names it."""

    code = "invalid_value"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message, field=field)


class QuotaUsedUp(TenantsError):
    """A quota of the tenant has no room; facts as OverQuota's of the engine."""

    code = "over_quota"
    status = 429
    title = "Over quota"

    def __init__(self, *, quota: str, value: int, use: int, retry_after: int) -> None:
        super().__init__(
            f"The quota {quota} of {value:,} is used up ({use:,}): end one first, or ask for more.",
            quota=quota,
            value=value,
            use=use,
            retry_after=retry_after,
        )


class LastAdmin(TenantsError):
    """A tenant that has an admin keeps one."""

    code = "last_admin"
    status = 409
    title = "Conflict"

    def __init__(self, *, name: str, tenant: str) -> None:
        super().__init__(f"{name} is the last admin of {tenant}: make somebody else admin first.")


class MemberNotFound(TenantsError):
    """Absent and foreign look the same."""

    code = "member_not_found"
    status = 404
    title = "Not found"

    def __init__(self) -> None:
        super().__init__("There is no such member.")


class InvitationNotFound(TenantsError):
    """Absent, used, withdrawn, expired and foreign look the same."""

    code = "invitation_not_found"
    status = 404
    title = "Not found"

    def __init__(self) -> None:
        super().__init__("This invitation was used or withdrawn, or has expired.")


class ApiKeyNotFound(TenantsError):
    """Absent and foreign look the same."""

    code = "api_key_not_found"
    status = 404
    title = "Not found"

    def __init__(self, key: str) -> None:
        super().__init__("There is no such API key.", id=key)


class ApiKeyEnded(TenantsError):
    """A key that has ended, or was rotated before, is not rotated."""

    code = "api_key_ended"
    status = 409
    title = "Conflict"


class TooManyOpen(TenantsError):
    """So many things of a kind are open at once and no more."""

    code = "too_many_open"
    status = 409
    title = "Conflict"


class TooManyGuesses(TenantsError):
    """Too many keys that were not right came from one address."""

    code = "too_many_guesses"
    status = 429
    title = "Too many requests"

    def __init__(self, retry_after: int) -> None:
        super().__init__(
            f"Too many wrong keys came from this address; try again in {retry_after} s.",
            retry_after=retry_after,
        )


class NotConfirmed(TenantsError):
    """What guards an account is changed only by somebody who has just shown that it is theirs."""

    code = "not_confirmed"
    status = 403
    title = "Not allowed"


class SecretNotFound(TenantsError):
    """Absent and foreign look the same."""

    code = "secret_not_found"
    status = 404
    title = "Not found"

    def __init__(self, name: str) -> None:
        super().__init__("There is no such secret.", secret=name)
