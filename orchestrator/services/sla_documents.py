"""The body of a service level, read with every problem's place."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.domain import jsonvalue
from orchestrator.domain.definition.reader import Raw, Reader
from orchestrator.domain.errors import InvalidRequest
from orchestrator.domain.slo import FIELDS, Rule, Scope, read_rule
from orchestrator.models import Workflow
from orchestrator.services.schedule_documents import read_name
from orchestrator.services.submissions import read_labels
from tenants.models import Tenant

MOST_WORKFLOWS = 100
LONGEST_DESCRIPTION = 1000
RESERVED = ("preview",)


@dataclass(frozen=True, slots=True)
class SlaSpec:
    """A body that was read.  `labels` is JSON."""

    name: str
    description: str
    rule: Rule
    scope: Scope
    enabled: bool


def read_sla(*, tenant: Tenant, body: object, name: str | None, named: bool = True) -> SlaSpec:
    """The rule that `body` says; `name` is the address's; not `named`: it needs none.

    Raises InvalidRequest with every problem."""
    reader = Reader()
    raw = reader.mapping(body, "", FIELDS)
    if raw is None:
        raise InvalidRequest(problems=reader.problems)
    called = ""
    if named or "name" in raw:
        called = read_name(reader, raw, name)
        if called in RESERVED:
            reader.note("/name", f"{called} is the name of an address", "bad_name")
    scope = _scope(reader, raw, tenant)
    spec = SlaSpec(
        name=called,
        description=reader.text(raw, "", "description", longest=LONGEST_DESCRIPTION),
        rule=read_rule(reader, raw),
        scope=scope,
        enabled=reader.flag(raw, "", "enabled", default=True),
    )
    if reader.problems:
        raise InvalidRequest(problems=reader.problems)
    return spec


def _scope(reader: Reader, raw: Raw, tenant: Tenant) -> Scope:
    names = reader.names(raw, "", "workflows")
    if len(names) > MOST_WORKFLOWS:
        reader.note("/workflows", f"has more than {MOST_WORKFLOWS} workflows", "out_of_range")
        names = ()
    wanted = [name for name in names if "\0" not in name]
    found = dict(Workflow.objects.filter(tenant=tenant, name__in=wanted).values_list("name", "pk"))
    for place, name in enumerate(names):
        if name not in found:
            guess = reader.suggestion(name, _names_near(tenant))
            reader.note(
                f"/workflows/{place}", f"there is no such workflow{guess}", "unknown_workflow"
            )
    labels = jsonvalue.decode(read_labels(reader, raw))
    assert isinstance(labels, dict)
    return Scope(tuple(sorted(set(found.values()))), labels)


def _names_near(tenant: Tenant) -> list[str]:
    return list(
        Workflow.objects.filter(tenant=tenant).order_by("name").values_list("name", flat=True)[:500]
    )
