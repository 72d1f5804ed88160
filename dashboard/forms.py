"""What the forms of the pages have in common: what is wrong with one, told by its fields' own words, and
fields that hold lists, patterns and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from orchestrator.domain import jsonvalue
from orchestrator.domain.errors import Invalid, InvalidRequest, MillraceError, Problem
from orchestrator.selectors.workflows import list_workflows
from tenants.errors import TenantsError
from tenants.models import Tenant

NAMES = 500
"""So many workflows can be chosen from; what is chosen already is always among them."""


@dataclass(frozen=True, slots=True)
class Wrong:
    """What is wrong with a form: the id of the field (or none), its label (or none), and why."""

    field: str
    label: str
    message: str

    def __str__(self) -> str:
        return f"{self.label}: {self.message}" if self.label else self.message


def told(error: Exception, labels: Mapping[str, str]) -> list[Wrong]:
    """What an error says of a form; `labels`: what the page calls the field of each key of the API."""
    if isinstance(error, Invalid) and error.problems:
        return [_told(one, labels) for one in error.problems]
    assert isinstance(error, (MillraceError, TenantsError))
    return [Wrong("", "", error.message)]


class Edited(Protocol):
    """A row that a form shows and saves whole."""

    updated_at: datetime
    updated_by: str


def seen(row: Edited | None) -> str:
    """The state of a row that a form was filled from, which comes back with it; of a new one none."""
    return "" if row is None else row.updated_at.isoformat()


def overtaken(row: Edited | None, values: Mapping[str, str]) -> list[Wrong]:
    """What is wrong with a form whose row somebody saved since it was opened: it holds all fields, and
    would quietly take their change back.  The form that says so may be saved."""
    if row is None or values.get("seen") in (None, "", seen(row)):
        return []
    who = row.updated_by or "Somebody"
    said = f"{who} saved it since you opened this form. Save again to put yours in its place."
    return [Wrong("", "", said)]


def _told(one: Problem, labels: Mapping[str, str]) -> Wrong:
    key = one.path.strip("/").partition("/")[0]
    first = one.message.split(" ", 1)[0]
    if not key and one.code == "missing" and first in labels:
        # a missing key is told of what it is missing in
        return Wrong(first, labels[first], one.message.removeprefix(first).strip())
    return Wrong(key if key in labels else "", labels.get(key, key), one.message)


def workflow_choices(tenant: Tenant, chosen: Iterable[str]) -> list[str]:
    """The names that a form offers.  Those that are chosen are among them, archived, past the limit or
    gone: a field that did not have them would be saved without them."""
    listed = list_workflows(tenant=tenant, limit=NAMES).items
    return sorted({*(str(item["name"]) for item in listed), *filter(None, chosen)})


def decoded(values: Mapping[str, str], key: str, empty: str) -> object:
    """The JSON of a field.  Raises InvalidRequest with its place."""
    try:
        return jsonvalue.decode(values.get(key) or empty)
    except jsonvalue.BadJson as error:
        problem = Problem(f"/{key}", f"is no JSON: {error.message}", "not_json")
        raise InvalidRequest(problems=[problem]) from error


def parts(text: str) -> list[str]:
    """What a field holds, by commas or lines."""
    return [part.strip() for line in text.splitlines() for part in line.split(",") if part.strip()]


def patterns(text: str) -> dict[str, str]:
    """Lines of `key = pattern` as an object; a line without `=` is a rule's pattern.

    Raises InvalidRequest where two lines have one name: all lines must hold, so that the second would
    either be lost or leave nothing to match."""
    found: dict[str, str] = {}
    for line in filter(str.strip, text.splitlines()):
        key, equals, pattern = line.partition("=")
        key, pattern = (key.strip(), pattern) if equals else ("rule", key)
        if key in found:
            said = f"names {key} twice, and all lines must hold: make another one for the second"
            raise InvalidRequest(problems=[Problem("/match", said, "duplicate_name")])
        found[key] = pattern.strip()
    return found


def pattern_lines(match: object) -> str:
    """An object of patterns as lines."""
    assert isinstance(match, dict)
    return "\n".join(f"{key} = {pattern}" for key, pattern in match.items())
