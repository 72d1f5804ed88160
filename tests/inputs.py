"""What a browser would send of a page."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any


class _Inputs(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        name = given.get("name")
        if tag != "input" or name is None or given.get("type") in ("submit", "button"):
            return
        if given.get("type") not in ("checkbox", "radio"):
            self.found[name] = given.get("value") or ""
        elif "checked" in given:
            self.found[name] = given.get("value") or "on"


def inputs(page: Any) -> dict[str, str]:
    """The inputs of an answer's forms with what they hold, hidden ones too."""
    reader = _Inputs()
    reader.feed(page.content.decode())
    return reader.found
