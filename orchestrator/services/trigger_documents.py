"""What a trigger says: read from its body, every problem with its place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta

from orchestrator.domain import jsonvalue
from orchestrator.domain.definition.reader import Raw, Reader
from orchestrator.domain.durations import parse_duration
from orchestrator.domain.errors import InvalidRequest
from orchestrator.domain.webhooks import Scheme
from orchestrator.services.schedule_documents import read_name, read_workflow
from orchestrator.services.submissions import read_labels
from tenants.models import Tenant

FIELDS = (
    "name", "workflow", "scheme", "input", "labels", "priority", "dedup_key", "rate", "enabled",
)  # fmt: skip
ROOTS = frozenset({"body", "headers", "tenant"})
"""What `input` and `dedup_key` may refer to; headers by their names in small letters."""
OURS = "trigger"
"""The label that the server gives to the runs of triggers."""
USUAL_RATE = (600, timedelta(minutes=1))
LONGEST_TEMPLATE = 100_000
_RATE = re.compile(r"([1-9]\d{0,5})/(\S{1,20})")


@dataclass(frozen=True, slots=True)
class TriggerSpec:
    """A body that was read.  `input` (None: the whole body) and `labels` are JSON texts."""

    name: str
    workflow_id: int
    scheme: Scheme
    input: str | None
    labels: str
    priority: int | None
    dedup_key: str | None
    rate_count: int
    rate_period: timedelta
    enabled: bool


def read_trigger(*, tenant: Tenant, body: object, name: str | None) -> TriggerSpec:
    """The trigger that `body` says; `name` is the address's, None where the body names it.

    Raises InvalidRequest with every problem."""
    reader = Reader()
    raw = reader.mapping(body, "", FIELDS)
    if raw is None:
        raise InvalidRequest(problems=reader.problems)
    called = read_name(reader, raw, name)
    workflow = read_workflow(reader, raw, tenant)
    labels = read_labels(reader, raw, besides=1)
    given = raw.get("labels")
    if isinstance(given, dict) and OURS in given:
        reader.note(f"/labels/{OURS}", "is given by the server", "out_of_place")
    priority = None
    if raw.get("priority") is not None:
        priority = reader.integer(raw, "", "priority", 0, least=0, most=9)
    count, period = _rate(reader, raw)
    spec = TriggerSpec(
        name=called,
        workflow_id=0 if workflow is None else workflow.pk,
        scheme=reader.word(raw, "", "scheme", Scheme.MILLRACE),
        input=_template(reader, raw, "input"),
        labels=labels,
        priority=priority,
        dedup_key=_dedup_key(reader, raw),
        rate_count=count,
        rate_period=period,
        enabled=reader.flag(raw, "", "enabled", default=True),
    )
    if reader.problems:
        raise InvalidRequest(problems=reader.problems)
    return spec


def _template(reader: Reader, raw: Raw, key: str) -> str | None:
    if raw.get(key) is None:
        return None
    reader.template(raw[key], f"/{key}", ROOTS)
    text = jsonvalue.encode(raw[key])
    if len(text) > LONGEST_TEMPLATE:
        message = f"has more than {LONGEST_TEMPLATE:,} characters"
        reader.note(f"/{key}", message, "out_of_range")
    return text


def _dedup_key(reader: Reader, raw: Raw) -> str | None:
    if raw.get("dedup_key") is None:
        return None
    text = reader.text(raw, "", "dedup_key", longest=1000)
    if text and reader.template(text, "/dedup_key", ROOTS).is_constant:
        reader.note(
            "/dedup_key", "refers to nothing: every request would be the same", "bad_expression"
        )
    return text or None


def _rate(reader: Reader, raw: Raw) -> tuple[int, timedelta]:
    if "rate" not in raw:
        return USUAL_RATE
    value = raw["rate"]
    found = _RATE.fullmatch(value) if isinstance(value, str) else None
    if found is not None:
        try:
            return int(found[1]), parse_duration(found[2])
        except ValueError:
            pass
    message = 'a rate is a number and a duration, such as "100/1m"'
    reader.note("/rate", message, "bad_rate")
    return USUAL_RATE
