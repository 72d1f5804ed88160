"""The admin in a real browser: nothing that its policy forbids, and its script works.

While playwright's loop runs in this thread, nothing here may ask the database."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import ConsoleMessage, Page, sync_playwright

from tenants import services
from tenants.actors import COMMAND
from tenants.models import Tenant

pytestmark = pytest.mark.browser
PASSWORD = "a long enough passphrase"
CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]


def _note(faults: list[str], message: ConsoleMessage) -> None:
    """Keep what the browser complains of, but for the icon that it asks for by itself."""
    address = message.location["url"]
    if message.type == "error" and not address.endswith("/favicon.ico"):
        faults.append(f"{message.text} {address}")


@pytest.fixture
def tenant(transactional_db: None) -> Tenant:
    services.create_user(name="sam", password=PASSWORD, staff=True, actor=COMMAND)
    return services.create_tenant(slug="acme", actor=COMMAND)


@pytest.fixture
def page(tenant: Tenant, live_server: Any) -> Iterator[tuple[Page, list[str]]]:
    faults: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        opened = browser.new_page(base_url=live_server.url)
        opened.on("console", lambda message: _note(faults, message))
        opened.on("pageerror", lambda error: faults.append(str(error)))
        yield opened, faults
        browser.close()


def test_an_operator_changes_a_limit(page: tuple[Page, list[str]], tenant: Tenant) -> None:
    opened, faults = page
    opened.goto("/admin/")
    opened.fill("input[name=username]", "sam")
    opened.fill("input[name=password]", PASSWORD)
    opened.click("button[type=submit]")
    opened.wait_for_selector("#user-tools, [x-data], #content")
    for address in (
        "/admin/",
        "/admin/tenants/apikey/add/",
        "/admin/tenants/auditentry/",
        "/admin/auth/user/",
        "/admin/orchestrator/serverload/-1/change/",
        "/admin/tenants/tenant/",
    ):
        opened.goto(address)
        if folder := os.environ.get("SCREENSHOTS"):
            opened.screenshot(path=f"{folder}/{address.strip('/').replace('/', '-')}.png")
    opened.check(f"input[name=_selected_action][value='{tenant.pk}']")
    opened.select_option("select[name=action]", "suspend")
    opened.fill("input[name=reason]", "unpaid")
    if folder := os.environ.get("SCREENSHOTS"):
        opened.screenshot(path=f"{folder}/action.png")
    opened.click("button[name=index]")
    opened.wait_for_selector("text=Suspended: unpaid")
    opened.goto(f"/admin/tenants/tenant/{tenant.pk}/change/")
    if folder := os.environ.get("SCREENSHOTS"):
        opened.screenshot(path=f"{folder}/change.png")
    opened.fill("input[name=max_connections]", "6")
    opened.click("button[name=_save], input[name=_save]")
    opened.wait_for_selector("text=0 of 6")
    assert faults == []
