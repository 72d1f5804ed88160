"""What a schedule says: read from its body, every problem with its place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TypeVar

from django.utils import timezone
from uuid_utils.compat import uuid7

from orchestrator.domain import jsonvalue
from orchestrator.domain.calendar import (
    MOST_COUNTED,
    SHORTEST_INTERVAL,
    BadCalendar,
    Missed,
    check_cron,
    check_zone,
)
from orchestrator.domain.concurrency import concurrency_key
from orchestrator.domain.definition.model import ConcurrencySpec
from orchestrator.domain.definition.reader import Raw, Reader
from orchestrator.domain.errors import InvalidInput, InvalidRequest, Problem
from orchestrator.domain.expressions import ExpressionFailed
from orchestrator.domain.overlap import Overlap
from orchestrator.domain.times import format_time, parse_time
from orchestrator.models import Workflow, WorkflowVersion
from orchestrator.selectors.versions import version_facts
from orchestrator.services.submissions import read_labels
from tenants.models import Tenant

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
FIELDS = (
    "name",
    "workflow",
    "cron",
    "interval",
    "timezone",
    "start_at",
    "input",
    "labels",
    "priority",
    "overlap",
    "missed",
    "jitter",
)
OURS = ("schedule", "scheduled_at", "backfill")
"""Labels that the server gives to the runs of schedules."""
MOST_ALLOWED = 100
USUAL_LIMIT = 100
LONGEST_JITTER = timedelta(days=1)
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
"""Of times that are asked for: from here on they can be reckoned with."""
_CALL = re.compile(r"([a-z_]+)\((\d{1,9})\)")
Word = TypeVar("Word", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class ScheduleSpec:
    """A body that was read.  `input` and `labels` are JSON texts."""

    name: str
    workflow_id: int
    cron: str | None
    zone: str
    interval: timedelta | None
    start_at: datetime | None
    input: str
    labels: str
    priority: int | None
    overlap: Overlap
    overlap_limit: int
    missed: Missed
    missed_limit: int
    jitter: timedelta


def read_schedule(*, tenant: Tenant, body: object, name: str | None) -> ScheduleSpec:
    """The schedule that `body` says; `name` is the address's, None where the body names it.

    Raises InvalidRequest, or InvalidInput where only the input is wrong, with every problem."""
    reader = Reader()
    raw = reader.mapping(body, "", FIELDS)
    if raw is None:
        raise InvalidRequest(problems=reader.problems)
    called = read_name(reader, raw, name)
    workflow = read_workflow(reader, raw, tenant)
    cron, zone, interval = _timing(reader, raw)
    labels = read_labels(reader, raw)
    for key in OURS:
        if isinstance(raw.get("labels"), dict) and key in raw["labels"]:  # type: ignore[operator]
            reader.note(f"/labels/{key}", "is given by the server", "out_of_place")
    priority = None
    if raw.get("priority") is not None:
        priority = reader.integer(raw, "", "priority", 0, least=0, most=9)
    overlap, overlap_limit = _counted(
        reader, raw, "overlap", Overlap.SKIP, Overlap.ALLOW, most=MOST_ALLOWED
    )
    missed, missed_limit = _counted(
        reader, raw, "missed", Missed.ONE, Missed.ALL, most=MOST_COUNTED
    )
    jitter = reader.duration(raw, "", "jitter", timedelta(0), zero=True)
    if jitter > LONGEST_JITTER:
        reader.note("/jitter", "is more than a day", "out_of_range")
    spec = ScheduleSpec(
        name=called,
        workflow_id=0 if workflow is None else workflow.pk,
        cron=cron,
        zone=zone,
        interval=interval,
        start_at=_start_at(reader, raw),
        input=jsonvalue.encode(raw.get("input", {})),
        labels=labels,
        priority=priority,
        overlap=overlap,
        overlap_limit=overlap_limit,
        missed=missed,
        missed_limit=missed_limit,
        jitter=jitter,
    )
    _check_input(reader, raw, workflow, spec, tenant)
    return spec


def read_name(reader: Reader, raw: Raw, name: str | None) -> str:
    """The body's name, or the address's; where both say one, they must be the same."""
    given = reader.name(raw, "", "name", NAME)
    if name is None:
        reader.required(raw, "", ("name",))
        return given or ""
    if not NAME.fullmatch(name):
        message = f"{name[:80]} does not match ^{NAME.pattern}$"
        reader.note("/name", message, "bad_name")
    elif given is not None and given != name:
        reader.note("/name", f"is not {name}, as the address says", "name_mismatch")
    return name


def read_workflow(reader: Reader, raw: Raw, tenant: Tenant) -> Workflow | None:
    """The tenant's workflow that the key `workflow` names."""
    reader.required(raw, "", ("workflow",))
    name = raw.get("workflow", "")
    if not isinstance(name, str):
        reader.note("/workflow", "must be text", "wrong_type")
        return None
    found = None
    if "\0" not in name:
        found = Workflow.objects.filter(tenant=tenant, name=name).first()
    if found is None and "workflow" in raw:
        reader.note("/workflow", "there is no such workflow", "unknown_workflow")
    return found


def _timing(reader: Reader, raw: Raw) -> tuple[str | None, str, timedelta | None]:
    if ("cron" in raw) == ("interval" in raw):
        if "cron" in raw:
            reader.note("/interval", "a schedule has cron or interval, not both", "out_of_place")
        else:
            reader.note("", "cron or interval is missing", "missing")
    zone = "UTC"
    if "timezone" in raw:
        if "interval" in raw and "cron" not in raw:
            reader.note("/timezone", "means nothing beside interval", "out_of_place")
        zone = _checked(reader, raw, "timezone", check_zone, "bad_timezone") or zone
    cron = _checked(reader, raw, "cron", check_cron, "bad_cron")
    if "interval" not in raw:
        return cron, zone, None
    interval = reader.duration(raw, "", "interval", timedelta(hours=1))
    if interval < SHORTEST_INTERVAL:
        reader.note("/interval", "is less than a second", "out_of_range")
    return None, zone, interval


def _checked(reader: Reader, raw: Raw, key: str, check: object, code: str) -> str | None:
    value = raw.get(key)
    if key not in raw:
        return None
    if not isinstance(value, str):
        reader.note(f"/{key}", "must be text", "wrong_type")
        return None
    assert callable(check)
    try:
        return str(check(value))
    except BadCalendar as error:
        reader.note(f"/{key}", str(error), code)
        return None


def _start_at(reader: Reader, raw: Raw) -> datetime | None:
    if raw.get("start_at") is None:
        return None
    try:
        at = parse_time(raw["start_at"])
    except ValueError as error:
        reader.note("/start_at", str(error), "bad_time")
        return None
    if at < EARLIEST:
        reader.note("/start_at", "is before 1970", "out_of_range")
    elif at > timezone.now() + timedelta(days=366 * 10):
        reader.note("/start_at", "is more than ten years away", "out_of_range")
    return at


def _counted(
    reader: Reader, raw: Raw, key: str, default: Word, counted: Word, *, most: int
) -> tuple[Word, int]:
    """A word, or the one that goes with a number: `{"allow": 3}`, or as text `allow(3)`; alone it
    means 100."""
    value = raw.get(key, str(default))
    place = f"/{key}"
    if isinstance(value, str) and (call := _CALL.fullmatch(value)):
        value = {call[1]: int(call[2])}
    if isinstance(value, dict) and list(value) == [counted]:
        number = value[counted]
        if not isinstance(number, int) or isinstance(number, bool):
            reader.note(f"{place}/{counted}", "must be a whole number", "wrong_type")
        elif not 1 <= number <= most:
            reader.note(f"{place}/{counted}", f"must be from 1 to {most}", "out_of_range")
        else:
            return counted, number
        return default, 1
    words = tuple(type(default))
    if isinstance(value, str) and value in words:
        word = words[words.index(value)]
        return word, USUAL_LIMIT if word is counted else 1
    reader.wrong_word(place, value, words)
    return default, 1


def _check_input(
    reader: Reader, raw: Raw, workflow: Workflow | None, spec: ScheduleSpec, tenant: Tenant
) -> None:
    """Raise what was found, and what the newest version says of the input."""
    wrong: tuple[Problem, ...] = ()
    facts = None
    if workflow is not None:
        version = (
            WorkflowVersion.objects.filter(workflow=workflow, version=workflow.newest)
            .values_list("pk", flat=True)
            .first()
        )
        facts = None if version is None else version_facts(version)
        if facts is not None and facts.validator is not None:
            wrong = tuple(facts.validator.problems(raw.get("input", {}), "/input"))
    if reader.problems:
        raise InvalidRequest(problems=[*reader.problems, *wrong])
    if not wrong and facts is not None and facts.concurrency is not None:
        wrong = _check_key(facts.concurrency, spec, tenant)
    if wrong:
        raise InvalidInput(problems=wrong)


def _check_key(
    concurrency: ConcurrencySpec, spec: ScheduleSpec, tenant: Tenant
) -> tuple[Problem, ...]:
    """Whether the workflow's key has a value for a run of the schedule, as if one began now."""
    labels = jsonvalue.decode(spec.labels)
    assert isinstance(labels, dict)
    labels |= {"schedule": spec.name, "scheduled_at": format_time(timezone.now())}
    value = jsonvalue.decode(spec.input)
    try:
        concurrency_key(
            concurrency, value=value, run_id=str(uuid7()), labels=labels, tenant=tenant.slug
        )
    except (ExpressionFailed, jsonvalue.NotJson) as error:
        message = f"the workflow's concurrency.key cannot be evaluated for it: {error}"
        return (Problem("/input", message, "bad_input"),)
    return ()
