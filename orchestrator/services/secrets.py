"""Secrets as their documents say: read with every problem in its place, then set."""

from __future__ import annotations

from orchestrator.domain.definition.reader import Raw, Reader
from orchestrator.domain.errors import InvalidRequest, Problem
from tenants import services
from tenants.actors import Actor
from tenants.errors import InvalidValue
from tenants.models import Secret, Tenant

FIELDS = ("name", "value")


def create_secret(*, tenant: Tenant, body: object, actor: Actor) -> Secret:
    """A new secret; `body`: `{name, value}`.  Raises InvalidRequest, AlreadyThere."""
    raw = _read(body, FIELDS)
    try:
        return services.create_secret(
            tenant=tenant, name=str(raw["name"]), value=str(raw["value"]), actor=actor
        )
    except InvalidValue as error:
        raise _invalid(error) from None


def replace_secret(*, tenant: Tenant, name: str, body: object, actor: Actor) -> tuple[Secret, bool]:
    """The secret `name` with the value of `body` (`{value}`), and whether it is new.

    Raises InvalidRequest."""
    raw = _read(body, ("value",))
    if raw.get("name", name) != name:
        problem = Problem("/name", f"must be {name}, as in the URL", "name_mismatch")
        raise InvalidRequest(problems=[problem])
    try:
        return services.set_secret(tenant=tenant, name=name, value=str(raw["value"]), actor=actor)
    except InvalidValue as error:
        raise _invalid(error) from None


def _read(body: object, needed: tuple[str, ...]) -> Raw:
    reader = Reader()
    raw = reader.mapping(body, "", FIELDS)
    if raw is not None:
        reader.required(raw, "", needed)
        for key in FIELDS:
            if key in raw and not isinstance(raw[key], str):
                reader.note(f"/{key}", "must be text", "wrong_type")
    if raw is None or reader.problems:
        raise InvalidRequest(problems=reader.problems)
    return raw


def _invalid(error: InvalidValue) -> InvalidRequest:
    field = str(error.facts["field"])
    message = error.message.removeprefix(f"{field}: ")
    return InvalidRequest(problems=[Problem(f"/{field}", message, "out_of_range")])
