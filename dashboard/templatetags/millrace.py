"""Filters and tags of the templates: states, times, ids, icons."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime

from django import template
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString

from dashboard import progress, words
from dashboard.addresses import address
from orchestrator.domain.errors import PayloadUnavailable
from orchestrator.selectors.payloads import Payload

register = template.Library()
register.filter("reason", words.reason)


def _number(name: str, words_of: Callable[[float | None], str]) -> None:
    """A filter for numbers.  Django hands it "" for a variable that is not there: that is –."""
    register.filter(name, lambda value: words_of(None if value == "" else value))


_number("duration", words.duration)
_number("count", words.count)
_number("rate", words.rate)
_number("exact", words.exact)
_number("percent", words.percent)
_number("size", words.size)
register.filter("amount", words.amount)


register.simple_tag(words.measured, name="measured")


@register.simple_tag(takes_context=True)
def place(context: template.Context, page: str, **arguments: object) -> str:
    """The address of a page of the same owner: of the tenant, or of the server where there is none."""
    return address(context.get("tenant"), page, **arguments)


@register.simple_tag(takes_context=True)
def invalid(context: template.Context, field: str) -> SafeString:
    """The attribute of a field with which something is wrong."""
    is_wrong = any(one.field == field for one in context.get("wrong") or ())
    return format_html(' aria-invalid="{}"', "true") if is_wrong else SafeString("")


@register.simple_tag
def icon(name: str) -> SafeString:
    """An icon of our sprite; says nothing to a screen reader (the word beside it does)."""
    return format_html(
        '<svg class="icon" aria-hidden="true"><use href="{}#{}"></use></svg>',
        static("img/icons.svg"),
        name,
    )


@register.simple_tag
def state(value: str, extra: str = "") -> SafeString:
    """A state as colour, icon and word."""
    return format_html(
        '<span class="state is-{} {}">{}{}</span>',
        value,
        extra,
        icon(words.STATE_ICONS.get(value, "clock")),
        value,
    )


@register.simple_tag
def moment(value: datetime | None, kind: str = "ago") -> SafeString:
    """A moment: absolute in the text, made relative and local by the page's script.

    `kind`: ago (3 m ago), since (a span that grows), time (of day, to the millisecond; with its date
    where that is another one), at (date and time)."""
    if value is None:
        return format_html('<span class="muted">{}</span>', "–")
    at = value.astimezone(UTC)
    return format_html(
        '<time datetime="{}" data-time="{}">{}</time>',
        at.isoformat(),
        kind,
        f"{at:%Y-%m-%d %H:%M:%S} UTC",
    )


@register.simple_tag
def span(since: datetime | None, until: datetime | None) -> str | SafeString:
    """How long something took, or, while it lasts, a span that grows on the page."""
    if since is not None and until is None:
        return moment(since, "since")
    return words.span(since, until)


@register.simple_tag
def identifier(value: object, href: str = "") -> SafeString:
    """An id, shortened in the middle, with a button that copies the whole of it."""
    text = str(value)
    short = words.short_id(text)
    shown = (
        format_html('<a class="strong" href="{}" title="{}">{}</a>', href, text, short)
        if href
        else format_html('<span title="{}">{}</span>', text, short)
    )
    return format_html(
        '<span class="id">{}<button class="copy only-js" type="button" data-copy="{}"'
        ' aria-label="Copy {}">{}</button></span>',
        shown,
        text,
        text,
        icon("copy"),
    )


@register.inclusion_tag("dashboard/steps_bar.html")
def steps_bar(steps: Mapping[str, int]) -> dict[str, object]:
    """A small bar of a run's steps by state, and how many are over."""
    return {"steps": steps, "parts": progress.parts(steps), "done": progress.done(steps)}


@register.filter
def pretty(value: object) -> str:
    """JSON on several lines; a stored payload keeps every digit, or says why it cannot be read."""
    if isinstance(value, Payload):
        try:
            value = value.value
        except PayloadUnavailable as error:
            return error.message
    return json.dumps(value, indent=2, ensure_ascii=False)


@register.filter
def decoded(value: object) -> object:
    """What a stored payload says; anything else as it is."""
    return value.value if isinstance(value, Payload) else value


@register.filter
def pairs(values: Mapping[str, object]) -> Iterable[tuple[str, object]]:
    """The keys of a dict with their values, for `{% for key, value in labels|pairs %}`.

    A template that asks for `labels.items` gets the value of a key of this name where there is one, and
    users name the keys of labels, patterns and fields."""
    return values.items()


@register.filter
def plain(value: object) -> str:
    """A JSON value on one line: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
