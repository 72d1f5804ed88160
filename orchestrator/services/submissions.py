"""What a submission says: read from its body, every problem with its place."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone

from orchestrator.domain import jsonvalue
from orchestrator.domain.definition.reader import Raw, Reader
from orchestrator.domain.durations import parse_duration
from orchestrator.domain.errors import InvalidInput, InvalidRequest, Problem, pointer
from orchestrator.domain.times import parse_time
from orchestrator.selectors.versions import version_facts

FIELDS = ("input", "labels", "priority", "version", "deadline", "start_at")
LONGEST_KEY = 255
MOST_LABELS = 64
LONGEST_LABEL = 100
LONGEST_LABEL_VALUE = 500
LARGEST_VERSION = 2**31 - 1
_NOT_A_LABEL = re.compile(r"[:\s]")


@dataclass(frozen=True, slots=True)
class Submission:
    """A body that was read.  `labels` is JSON text; `priority` None: the version's; `start_at` None: now."""

    input: object
    labels: str
    priority: int | None
    deadline_at: datetime | None
    start_at: datetime | None = None


def asked_version(body: object) -> int | None:
    """The version that a body names, so far as it can name one; None: the newest."""
    version = body.get("version") if isinstance(body, dict) else None
    if isinstance(version, int) and not isinstance(version, bool):
        return version if 0 < version <= LARGEST_VERSION else -1
    return None


def check_key(key: str) -> None:
    """Raises InvalidRequest unless `key` has 1 to 255 characters."""
    if not 1 <= len(key) <= LONGEST_KEY or "\0" in key:
        message = f"an idempotency key has 1 to {LONGEST_KEY} characters"
        raise InvalidRequest(problems=[Problem("/idempotency_key", message, "out_of_range")])


def read_submission(
    body: object, *, version_id: int | None, beside: Collection[str] = ()
) -> Submission:
    """The submission that `body` (decoded JSON) says, for a version (None: there is no such one).

    `beside` are keys that the caller reads itself.  Raises InvalidRequest, or InvalidInput where
    only the input is wrong, with every problem."""
    reader = Reader()
    raw = reader.mapping(body, "", (*FIELDS, *beside))
    if raw is None:
        raise InvalidRequest(problems=reader.problems)
    labels = read_labels(reader, raw)
    priority = None
    if "priority" in raw:
        priority = reader.integer(raw, "", "priority", 0, least=0, most=9)
    _version(reader, raw, version_id)
    start_at = _start(reader, raw)
    deadline_at = _deadline(reader, raw)
    if start_at is not None and deadline_at is not None and deadline_at <= start_at:
        reader.note("/deadline", "is not after start_at", "out_of_range")
    given = raw.get("input", {})
    validator = None if version_id is None else version_facts(version_id).validator
    wrong = validator.problems(given, "/input") if validator is not None else ()
    if reader.problems:
        raise InvalidRequest(problems=[*reader.problems, *wrong])
    if wrong:
        raise InvalidInput(problems=wrong)
    return Submission(given, labels, priority, deadline_at, start_at)


def read_labels(reader: Reader, raw: Raw, *, besides: int = 0) -> str:
    """The key `labels` as JSON text; `besides`: so many more the server gives to the run."""
    labels = raw.get("labels", {})
    if not isinstance(labels, dict):
        reader.note("/labels", "must be an object of texts", "wrong_type")
        return "{}"
    if not labels:
        return "{}"
    if len(labels) > MOST_LABELS - besides:
        reader.note("/labels", f"has more than {MOST_LABELS - besides} labels", "out_of_range")
    for key, value in labels.items():
        place = "/labels" + pointer(key)
        if not 1 <= len(key) <= LONGEST_LABEL or _NOT_A_LABEL.search(key):
            message = f"a label's name has 1 to {LONGEST_LABEL} characters, no colon and no space"
            reader.note(place, message, "bad_name")
        if not isinstance(value, str):
            reader.note(place, "must be text", "wrong_type")
        elif len(value) > LONGEST_LABEL_VALUE:
            message = f"has more than {LONGEST_LABEL_VALUE} characters"
            reader.note(place, message, "out_of_range")
    return jsonvalue.encode(labels)


def _version(reader: Reader, raw: Raw, version_id: int | None) -> None:
    if "version" in raw:
        before = len(reader.problems)
        reader.integer(raw, "", "version", 1, least=1, most=LARGEST_VERSION)
        if version_id is None and len(reader.problems) == before:
            reader.note("/version", "the workflow has no such version", "unknown_version")


def _deadline(reader: Reader, raw: Raw) -> datetime | None:
    now = timezone.now()
    at = read_moment(reader, raw, "deadline", "a deadline", now)
    if at is not None and at <= now:
        reader.note("/deadline", "is in the past", "out_of_range")
    return at


def _start(reader: Reader, raw: Raw) -> datetime | None:
    """When the run may start; None: at once, as for a moment that has passed."""
    now = timezone.now()
    at = read_moment(reader, raw, "start_at", "start_at", now, zero=True)
    return at if at is not None and at > now else None


def read_moment(
    reader: Reader, raw: Raw, key: str, what: str, now: datetime, *, zero: bool = False
) -> datetime | None:
    """A time, or a duration from now (`zero` says whether it may be nothing)."""
    if key not in raw:
        return None
    value = raw[key]
    try:
        if isinstance(value, str) and "-" in value:
            at = parse_time(value)
        else:
            at = now + parse_duration(value, zero=zero)
    except ValueError as error:
        message = str(error)
        if isinstance(value, str):
            message = (
                f'{what} is RFC 3339 text with a zone, such as "2026-01-31T12:00:00Z",'
                ' or a duration from now, such as "30m"'
            )
        reader.note(f"/{key}", message, "bad_time")
        return None
    if at > now + timedelta(days=366 * 10):
        reader.note(f"/{key}", "is more than ten years away", "out_of_range")
    return at
