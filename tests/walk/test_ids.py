"""What a page names by its id is on that page, and is there once: dialogs, forms, labels, links."""

from __future__ import annotations

from collections import Counter
from html.parser import HTMLParser

from django.test import Client
from django.urls import reverse

from tests.walk.test_pages import ADMIN, PAGES, STAFF, address, member
from tests.walk.world import MARK, World, world

__all__ = ["world"]

NAMING = (
    "for",
    "form",
    "list",
    "aria-labelledby",
    "aria-describedby",
    "aria-controls",
    "data-confirm",
)
"""Attributes that hold the id of another element."""
MORE = {
    "run": (
        "?step=quillon_a", "?state=failed", "?tab=timeline", "?tab=logs", "?tab=events", "?tab=data",
    ),
    "alerts": ("?tab=pending", "?tab=resolved"),
    "dead_letters": (f"?workflow={MARK}",),
}  # fmt: skip
"""Other views of a page."""


class Ids(HTMLParser):
    """The ids of a page's elements, how often each is there, and those that others name."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: Counter[str] = Counter()
        self.named: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attrs}
        if "id" in said:
            self.ids[said["id"]] += 1
        for name in NAMING:
            self.named.update(said.get(name, "").split())
        if tag == "a" and said.get("href", "").startswith("#"):
            self.named.add(said["href"][1:])


def wrong(client: Client, where: str) -> list[str] | None:
    """What is wrong with a page's ids; None: there is no such page."""
    answer = client.get(where)
    if answer.status_code != 200:
        return None
    seen = Ids(answer.content.decode())
    twice = [
        f"{where}: {one} is there {count} times" for one, count in seen.ids.items() if count > 1
    ]
    return twice + [f"{where}: {one} is not there" for one in sorted(seen.named - set(seen.ids))]


def test_ids_are_there_once_and_whatever_is_named_is_there(world: World) -> None:
    client = member(world.tenant, ADMIN, staff=True)
    slug = world.tenant.slug
    tenants = {name for name, (method, _) in PAGES.items() if method == "GET"}
    found = {
        where + query: wrong(client, where + query)
        for name in tenants - {"run_logs", "audit_export"}
        for where in [address(name, slug, world.ids)]
        for query in ("", *MORE.get(name, ()))
    }
    found["account"] = wrong(client, reverse("account"))
    assert None not in found.values()
    staff = {where: wrong(client, where.replace(MARK, slug)) for where in STAFF.values()}
    assert sum(one is not None for one in staff.values()) > 8
    assert [one for many in (*found.values(), *staff.values()) for one in many or ()] == []
