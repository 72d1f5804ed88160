"""Undoing a run from its page: asked once more, live, and what it came to."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Opener
from tests.system.running_system import TestTenant
from tests.system.shapes import call

pytestmark = [pytest.mark.system, pytest.mark.browser]


def test_an_operator_undoes_a_run_and_sees_it_happen(open_page: Opener, tenant: TestTenant) -> None:
    undo = {"handler": "test.undo", "args": {"ms": 800}}
    stuck = {"handler": "test.undo", "args": {"fail": 9}, "retry": {"max_attempts": 1}}
    tenant.publish(
        "trip",
        [
            call("book", "noop", undo=undo),
            call("hotel", "noop", "book", undo=stuck),
            call("pay", "noop", "book", undo=undo),
            call("tell", "noop", "hotel", "pay"),
        ],
    )
    run_id = tenant.run("trip")["id"]
    page = open_page(f"/t/{tenant.slug}/runs/{run_id}/")
    page.get_by_role("button", name="Undo run").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("The undo of 3 steps is called")
    expect(dialog).to_contain_text("pay, hotel, book")
    dialog.get_by_role("button", name="Undo the run").click()
    expect(page.locator("#section-banner")).to_contain_text("Being undone")
    expect(page.locator("#section-banner")).to_contain_text(
        'Not undone as a whole The undo of step "hotel" failed: not undone'
    )
    expect(page.locator("#step-pay")).to_contain_text("attempt 1 of 5")
    expect(page.locator('a[data-step="book"]')).to_contain_text("succeeded · undone")
    expect(page.get_by_role("button", name="Undo run")).to_have_count(0)


def test_an_operator_gives_up_an_undo_that_cannot_run(
    open_page: Opener, tenant: TestTenant
) -> None:
    later = {"max_attempts": 9, "delay": "1h"}
    stuck = {"handler": "test.undo", "args": {"fail": 9}, "retry": later}
    tenant.publish("trip", [call("hotel", "noop", undo=stuck)])
    run_id = tenant.run("trip")["id"]
    assert tenant.http.post(f"/runs/{run_id}/undo").status_code == 200
    page = open_page(f"/t/{tenant.slug}/runs/{run_id}/?step=hotel")
    page.get_by_role("button", name="Give up its undo…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Give up the undo of hotel?")
    dialog.get_by_role("button", name="Give it up").click()
    expect(page.locator("#section-banner")).to_contain_text("Not undone as a whole")
    expect(page.get_by_role("button", name="Give up its undo…")).to_have_count(0)
