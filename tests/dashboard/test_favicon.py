"""The icon, which browsers ask for by themselves."""

from __future__ import annotations

from pathlib import Path

from django.contrib.staticfiles import finders
from django.test import Client


def test_the_icon_that_browsers_ask_for_leads_to_ours() -> None:
    answer = Client().get("/favicon.ico")
    assert answer.status_code == 302
    found = finders.find(answer["Location"].removeprefix("/static/"))
    assert isinstance(found, str)
    assert Path(found).read_text().startswith("<svg")
