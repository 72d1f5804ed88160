"""A Chromium that looks at the session's running system."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, StorageState, sync_playwright

from tests.system.running_system import System

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
]
Opener = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for a module's tests.

    Not for the session: while Playwright runs, no other test in this process can have an event loop."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def signed_in(browser: Browser, system: System) -> StorageState:
    """The cookies of the operator that `up` printed."""
    context = browser.new_context(base_url=system.url)
    sign_in(context.new_page(), system)
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def open_page(browser: Browser, system: System, signed_in: StorageState) -> Iterator[Opener]:
    """Opens an address of the system, signed in (`fresh`: not yet).

    Whatever a page complains of in its console (scripts, policy, missing files) fails the test."""
    contexts = []
    complaints: list[str] = []
    offline: list[bool] = []

    def open_(
        path: str,
        *,
        scheme: str = "light",
        width: int = 1280,
        may_fail: bool = False,
        fresh: bool = False,
    ) -> Page:
        context = browser.new_context(
            base_url=system.url,
            color_scheme="dark" if scheme == "dark" else "light",
            viewport={"width": width, "height": 900},
            storage_state=None if fresh else signed_in,
        )
        contexts.append(context)
        page = context.new_page()
        if may_fail:
            offline.append(True)
        page.on(
            "console", lambda told: complaints.append(told.text) if told.type == "error" else None
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(path)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert offline or not complaints, complaints


def sign_in(page: Page, system: System) -> None:
    """As a person does, with what `up` printed."""
    page.goto("/login")
    page.get_by_label("Name").fill(system.credentials["user"])
    page.get_by_label("Password").fill(system.credentials["password"])
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda url: "/login" not in url)  # a tenant's page, or the choice of one
