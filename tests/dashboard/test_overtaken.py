"""Two windows that edit the same thing: the second does not quietly take back what the first has saved."""

from __future__ import annotations

import re

import pytest
from django.test import Client

from tests.dashboard.conftest import House
from tests.dashboard.test_schedules import FORM as SCHEDULE
from tests.dashboard.test_slas import FORM as SLA
from tests.dashboard.test_triggers import FORM as TRIGGER

CHANNEL = {
    "name": "ops", "kind": "slack", "url": "https://chat.example.org/hook", "severity": "warning",
    "match": "", "group_by": "rule", "group_wait": "10s", "repeat": "4h", "enabled": "on",
}  # fmt: skip


def opened(client: Client, address: str) -> str:
    """Opens a form; what it says it was filled from."""
    found = re.search(r'name="seen" value="([^"]*)"', client.get(address).content.decode())
    assert found is not None
    return found[1]


@pytest.mark.parametrize(
    ("kind", "form"),
    [("schedules", SCHEDULE), ("slas", SLA), ("triggers", TRIGGER), ("channels", CHANNEL)],
)
def test_the_second_window_is_told(house: House, kind: str, form: dict[str, str]) -> None:
    admin = house.client("admin")
    assert opened(admin, f"/t/mill/{kind}/+new") == ""
    admin.post(f"/t/mill/{kind}/+new", form)
    edit = f"/t/mill/{kind}/{form['name']}/edit"
    both = {**form, "seen": opened(admin, edit)}
    assert admin.post(edit, both).status_code == 302
    late = admin.post(edit, both)
    assert late.status_code == 422
    shown = late.content.decode()
    assert "user:admin saved it since you opened this form." in shown
    again = re.search(r'name="seen" value="([^"]+)"', shown)
    assert again is not None
    assert admin.post(edit, {**both, "seen": again[1]}).status_code == 302
