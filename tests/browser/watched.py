"""When something appeared on a page, by the clock of this machine (the database's too)."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

_WATCH = """
(selector) => {
    window.seen ||= {};
    const seen = (window.seen[selector] ||= {});
    const look = () => {
        const text = document.querySelector(selector)?.textContent.trim();
        if (text !== undefined) seen[text] ??= Date.now();
    };
    const what = { subtree: true, childList: true, characterData: true };
    new MutationObserver(look).observe(document.body, what);
    look();
}
"""


class Watched:
    """An element whose texts are noted, each with the moment at which it was first there."""

    def __init__(self, page: Page, selector: str) -> None:
        self._page, self._selector = page, selector
        page.evaluate(_WATCH, selector)

    def shows(self, text: str | re.Pattern[str]) -> float:
        """Since when (seconds since 1970) the element says this; waits until it does."""
        place = self._page.locator(self._selector)
        expect(place).to_have_text(text, timeout=20_000)
        now = (place.text_content() or "").strip()
        seen = self._page.evaluate("selector => window.seen[selector]", self._selector)
        return float(seen[now]) / 1000
