"""What channels, silences and maintenance windows say: read from their bodies, every problem with its
place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from orchestrator.domain.alerts import canonical
from orchestrator.domain.calendar import BadCalendar, check_cron, check_zone
from orchestrator.domain.channels import Kind
from orchestrator.domain.definition.reader import Raw, Reader
from orchestrator.domain.errors import InvalidRequest, pointer
from orchestrator.domain.observations import Severity
from orchestrator.domain.times import parse_time
from orchestrator.services.receivers import NotDelivered, apprise_service, refusal
from orchestrator.services.schedule_documents import read_name

CHANNEL = (
    "name", "kind", "to", "url", "severity", "match", "group_by", "group_wait", "repeat", "resolved",
    "enabled",
)  # fmt: skip
SILENCE = ("match", "reason", "starts_at", "ends_at", "duration")
WINDOW = (
    "name", "match", "reason", "cron", "duration", "timezone", "starts_at", "ends_at", "enabled",
)  # fmt: skip
MOST_MATCHERS = 20
MOST_ADDRESSES = 20
MOST_KEYS = 10
LONGEST_KEY = 63
LONGEST_PATTERN = 200
LONGEST_URL = 2000
LONGEST_REASON = 500
GROUP_WAIT = timedelta(seconds=10)
LONGEST_WAIT = timedelta(minutes=10)
REPEAT = timedelta(hours=4)
SHORTEST_REPEAT = timedelta(minutes=1)
LONGEST_SILENCE = timedelta(days=30)
LONGEST_WINDOW = timedelta(days=7)
EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
"""Of moments: what is added to them stays within what can be written."""
_KEY = re.compile(r"[^\s\x00]{1,63}")


@dataclass(frozen=True, slots=True)
class ChannelSpec:
    """A body that was read.  `url` None: it was not given."""

    name: str
    kind: Kind
    to: list[str]
    url: str | None
    severity: Severity
    matchers: str
    group_by: list[str]
    group_wait: timedelta
    repeat_every: timedelta | None
    tell_resolved: bool
    enabled: bool


@dataclass(frozen=True, slots=True)
class SilenceSpec:
    """A body that was read."""

    matchers: str
    reason: str
    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """A body that was read."""

    name: str
    matchers: str
    reason: str
    cron: str | None
    zone: str
    duration: timedelta | None
    starts_at: datetime | None
    ends_at: datetime | None
    enabled: bool


def _mapping(reader: Reader, body: object, known: tuple[str, ...]) -> Raw:
    raw = reader.mapping(body, "", known)
    if raw is None:
        raise InvalidRequest(problems=reader.problems)
    return raw


def _said(raw: Raw) -> Raw:
    """Without keys that say null: they are as if they were not there."""
    return {key: value for key, value in raw.items() if value is not None}


def _done(reader: Reader) -> None:
    if reader.problems:
        raise InvalidRequest(problems=reader.problems)


def read_channel(
    *, body: object, name: str | None, has_url: str | None, trusted: bool
) -> ChannelSpec:
    """The channel that `body` says; `name` is the address's, None where the body names it.

    `has_url`: the kind of the present channel whose URL stays where none is given; `trusted`: it is the
    server's.  Raises InvalidRequest with every problem."""
    reader = Reader()
    raw = _mapping(reader, body, CHANNEL)
    called = read_name(reader, raw, name)
    reader.required(raw, "", ("kind",))
    kind = reader.word(raw, "", "kind", Kind.WEBHOOK)
    wait = reader.duration(raw, "", "group_wait", GROUP_WAIT, zero=True)
    if wait > LONGEST_WAIT:
        reader.note("/group_wait", "is more than 10 minutes", "out_of_range")
    spec = ChannelSpec(
        name=called,
        kind=kind,
        to=_addresses(reader, raw, kind),
        url=_url(reader, raw, kind, has_url=has_url == kind, trusted=trusted),
        severity=reader.word(raw, "", "severity", Severity.WARNING),
        matchers=read_matchers(reader, raw),
        group_by=list(_group_by(reader, raw)),
        group_wait=wait,
        repeat_every=_repeat(reader, raw),
        tell_resolved=reader.flag(raw, "", "resolved", default=True),
        enabled=reader.flag(raw, "", "enabled", default=True),
    )
    _done(reader)
    return spec


def read_matchers(reader: Reader, raw: Raw, *, needed: bool = False) -> str:
    """`match`: patterns by what they are held against, as JSON text with sorted keys."""
    value = raw.get("match", {})
    if not isinstance(value, dict):
        reader.note("/match", "must be an object of patterns", "wrong_type")
        return "{}"
    if needed and not value:
        message = 'says nothing; what is meant to match everything says {"rule": "*"}'
        reader.note("/match", message, "missing")
    if len(value) > MOST_MATCHERS:
        reader.note("/match", f"has more than {MOST_MATCHERS} patterns", "out_of_range")
        return "{}"
    for key, pattern in value.items():
        place = f"/match{pointer(key)}"
        if not _KEY.fullmatch(key):
            reader.note(place, "is no label's name", "bad_name")
        elif not isinstance(pattern, str):
            reader.note(place, "must be text", "wrong_type")
        elif len(pattern) > LONGEST_PATTERN or "\0" in pattern:
            reader.note(place, f"has more than {LONGEST_PATTERN} characters", "out_of_range")
    return "{}" if reader.problems else canonical(value)


def _group_by(reader: Reader, raw: Raw) -> tuple[str, ...]:
    if "group_by" not in raw:
        return ("rule",)
    keys = reader.names(raw, "", "group_by", _KEY)
    if len(keys) > MOST_KEYS:
        reader.note("/group_by", f"has more than {MOST_KEYS} keys", "out_of_range")
    return tuple(dict.fromkeys(keys))


def _repeat(reader: Reader, raw: Raw) -> timedelta | None:
    if "repeat" in raw and raw["repeat"] is None:
        return None
    found = reader.duration(raw, "", "repeat", REPEAT)
    if found < SHORTEST_REPEAT:
        reader.note("/repeat", "is less than a minute", "out_of_range")
    return found


def _addresses(reader: Reader, raw: Raw, kind: Kind) -> list[str]:
    if kind is not Kind.EMAIL:
        if raw.get("to"):
            reader.note("/to", f"means nothing to a channel of kind {kind}", "out_of_place")
        return []
    found = reader.names(raw, "", "to")
    if not found and not reader.problems:
        reader.note("/to", "names no e-mail address", "missing")
    if len(found) > MOST_ADDRESSES:
        reader.note("/to", f"has more than {MOST_ADDRESSES} addresses", "out_of_range")
        return []
    for place, address in enumerate(found):
        try:
            validate_email(address)
        except ValidationError:
            reader.note(f"/to/{place}", "is no e-mail address", "bad_address")
    return list(found)


def _url(reader: Reader, raw: Raw, kind: Kind, *, has_url: bool, trusted: bool) -> str | None:
    if kind is Kind.EMAIL:
        if raw.get("url"):
            reader.note("/url", "means nothing to a channel of kind email", "out_of_place")
        return None
    if raw.get("url") in (None, ""):
        if not has_url:
            reader.note("", "url is missing", "missing")
        return None
    found = reader.text(raw, "", "url", longest=LONGEST_URL)
    if not found:
        return None
    if not found.isprintable() or " " in found:
        reader.note("/url", "has characters that no address has", "bad_url")
        return None
    why: str | None = None
    if kind is Kind.APPRISE:
        try:
            apprise_service(found, trusted=trusted)
        except NotDelivered as error:
            why = str(error)
    else:
        why = refusal(found, trusted=trusted)
    if why is not None:
        reader.note("/url", why, "bad_url")
    return found


def read_silence(*, body: object, now: datetime, begun: datetime | None) -> SilenceSpec:
    """The silence that `body` says; `begun` is the beginning of the one that it replaces.

    Raises InvalidRequest with every problem."""
    reader = Reader()
    raw = _said(_mapping(reader, body, SILENCE))
    reader.required(raw, "", ("match", "reason"))
    matchers = read_matchers(reader, raw, needed="match" in raw)
    reason = _reason(reader, raw)
    if "reason" in raw and not reason.strip():
        reader.note("/reason", "says nothing", "missing")
    starts = _moment(reader, raw, "starts_at") or begun or now
    if ("ends_at" in raw) == ("duration" in raw):
        place = "/duration" if "ends_at" in raw else ""
        said = "means nothing beside ends_at" if place else "ends_at or duration is missing"
        reader.note(place, said, "out_of_place" if place else "missing")
    ends = _moment(reader, raw, "ends_at")
    if "duration" in raw:
        base = max(starts, now)
        ends = base + reader.duration(raw, "", "duration", timedelta(hours=1))
    if ends is not None:
        key = "ends_at" if "ends_at" in raw else "duration"
        if ends <= starts or ends <= now:
            reader.note(f"/{key}", "is over already", "out_of_range")
        elif ends - max(starts, now) > LONGEST_SILENCE or starts - now > LONGEST_SILENCE:
            reader.note(f"/{key}", "is more than 30 days", "out_of_range")
    _done(reader)
    assert ends is not None
    return SilenceSpec(matchers, reason.strip(), starts, ends)


def read_window(*, body: object, name: str | None) -> WindowSpec:
    """The maintenance window that `body` says; `name` is the address's, None where the body names it.

    Raises InvalidRequest with every problem."""
    reader = Reader()
    raw = _said(_mapping(reader, body, WINDOW))
    called = read_name(reader, raw, name)
    reader.required(raw, "", ("match",))
    matchers = read_matchers(reader, raw, needed="match" in raw)
    enabled = reader.flag(raw, "", "enabled", default=True)
    reason = _reason(reader, raw)
    recurs = "cron" in raw
    apart = ("starts_at", "ends_at") if recurs else ("duration", "timezone")
    for key in apart:
        if key in raw:
            beside = "beside cron" if recurs else "without cron"
            reader.note(f"/{key}", f"means nothing {beside}", "out_of_place")
    if not recurs:
        reader.required(raw, "", ("starts_at", "ends_at"))
        starts, ends = _moment(reader, raw, "starts_at"), _moment(reader, raw, "ends_at")
        if (
            starts is not None
            and ends is not None
            and not starts < ends <= starts + LONGEST_SILENCE
        ):
            reader.note("/ends_at", "must be after starts_at, at most 30 days", "out_of_range")
        _done(reader)
        return WindowSpec(called, matchers, reason, None, "UTC", None, starts, ends, enabled)
    reader.required(raw, "", ("duration",))
    duration = reader.duration(raw, "", "duration", timedelta(hours=1))
    if duration > LONGEST_WINDOW:
        reader.note("/duration", "is more than 7 days", "out_of_range")
    cron, zone = "", "UTC"
    try:
        cron = check_cron(reader.text(raw, "", "cron", longest=200))
    except BadCalendar as error:
        reader.note("/cron", str(error), "bad_cron")
    try:
        zone = check_zone(reader.text(raw, "", "timezone", longest=100, default="UTC"))
    except BadCalendar as error:
        reader.note("/timezone", str(error), "bad_timezone")
    _done(reader)
    return WindowSpec(called, matchers, reason, cron, zone, duration, None, None, enabled)


def _reason(reader: Reader, raw: Raw) -> str:
    found = reader.text(raw, "", "reason", longest=LONGEST_REASON)
    if "\0" in found:
        reader.note("/reason", "has U+0000", "out_of_range")
    return found


def _moment(reader: Reader, raw: Raw, key: str) -> datetime | None:
    if raw.get(key) is None:
        return None
    try:
        found = parse_time(raw[key])
    except ValueError as error:
        reader.note(f"/{key}", str(error), "bad_time")
        return None
    if not EARLIEST <= found <= LATEST:
        reader.note(f"/{key}", f"is not from {EARLIEST.year} to {LATEST.year}", "out_of_range")
        return None
    return found
