"""A page: what it reads, and the partials of its template that are swapped while it is open.

The view and the socket build the same context and render the same partials."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.template.loader import render_to_string
from django.utils.html import format_html_join
from django.utils.safestring import mark_safe

from orchestrator.selectors.alerts import alert_counts
from tenants.access import Access
from tenants.models import Role

BADGE = "alert-badge"
"""The section of every page that is in the frame around it."""
Context = dict[str, Any]
Query = Mapping[str, str]
Arguments = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Page:
    """`context(access, arguments, query)` reads everything that the template needs; it raises
    MillraceError (RunNotFound…) where there is no such thing.

    `sections`: the template's partials that change while the page is open; each one fills the
    element whose id is `section-<name>`.  `about_run`: whether the page shows only the run that its
    address names, so that other runs' changes do not touch it.  `role`: whom it is for."""

    name: str
    template: str
    sections: tuple[str, ...]
    context: Callable[[Access, Arguments, Query], Context]
    about_run: bool = False
    role: Role = Role.VIEWER
    """Who may look at it."""
    argument: str | None = None
    """What its address names beside the tenant; None: nothing."""

    def concerns(self, arguments: Arguments, runs: list[str] | None) -> bool:
        """Whether a change of these runs (None: of many) may change the page."""
        return not self.about_run or runs is None or arguments["run_id"] in runs


def surroundings(access: Access) -> Context:
    """What every page of a tenant shows around itself; while it is open, the badge of its alerts too."""
    return {
        "access": access,
        "tenant": access.tenant,
        "open_alerts": alert_counts(tenant=access.tenant),
    }


def framed(context: Context, around: Context) -> Context:
    """What a page shows and what stands around it; a name means one thing."""
    assert context.keys().isdisjoint(around), context.keys() & around.keys()
    return {**context, **around}


def sections_html(page: Page, context: Context) -> dict[str, str]:
    """Each section's HTML, by name."""
    found: dict[str, str] = {
        name: render_to_string(f"{page.template}#{name}", context) for name in page.sections
    }
    found[BADGE] = render_to_string("dashboard/alert_badge.html", context)
    return found


def swaps(sections: Mapping[str, str]) -> str:
    """The sections as out-of-band swaps.  They morph, so that focus, scroll and selection stay."""
    return format_html_join(
        "\n",
        '<div id="section-{}" hx-swap-oob="innerMorph">{}</div>',
        ((name, mark_safe(html)) for name, html in sections.items()),  # noqa: S308 (our own templates)
    )
