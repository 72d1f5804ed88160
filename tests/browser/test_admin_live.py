"""Staff change a limit in the admin while the tenant works at it; its Overview shows it live."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Opener
from tests.browser.watched import Watched
from tests.system.flights import in_flight, reached, spans
from tests.system.running_system import System, TestTenant
from tests.system.shapes import call

pytestmark = [pytest.mark.system, pytest.mark.browser]
SOON = timedelta(seconds=1.5)
"""The second that a change may take, and a little for a slow machine."""


def save_limit(page: Page, system: System, tenant: TestTenant, limit: int) -> datetime:
    """Save another max_connections in the tenant's form; when the answer came (database's clock)."""
    page.goto(f"/admin/tenants/tenant/{tenant.id}/change/")
    page.locator("input[name=max_connections]").fill(str(limit))
    page.get_by_label("Reason").fill("more work")
    page.get_by_role("button", name="Save", exact=True).click()
    page.wait_for_url("**/admin/tenants/tenant/")
    expect(page.get_by_text("was changed successfully")).to_be_visible()
    rows = system.sql(
        "SELECT max(at) FROM audit_entry WHERE tenant_id = %s AND action = 'quota.set'", tenant.id
    )
    at: datetime = rows[0][0]
    return at


def test_max_connections_changed_in_the_admin_under_load_acts_within_a_second(
    open_page: Opener, system: System
) -> None:
    tenant = system.tenant(max_connections=2)
    tenant.publish("wide", [call(f"s{nr}", "sleep", args={"ms": 3000}) for nr in range(100)])
    overview = open_page(f"/t/{tenant.slug}/")
    expect(overview.locator("#live-mark")).to_have_attribute("data-state", "live")
    overview.evaluate("window.untouched = true")
    in_use = Watched(overview, "#connections")
    run = tenant.submit("wide")["id"]
    in_use.shows("2of 2")
    processes = system.children()
    admin = open_page("/admin/")
    raised = save_limit(admin, system, tenant, 6)
    six = in_use.shows("6of 6")
    lowered = save_limit(admin, system, tenant, 2)
    starts = "SELECT 1 FROM event WHERE tenant_id = %s AND type = 'step.running' AND at > %s"
    system.until(lambda: system.sql(starts, tenant.id, lowered), 60)
    in_use.shows("2of 2")
    tenant.http.post(f"/runs/{run}/cancel")
    tenant.wait(run)
    found = spans(tenant)
    began = reached(found, 6, raised)
    assert began - raised <= SOON
    assert six - began.timestamp() < 2
    later = [start for start, _ in found if start > lowered]
    assert max(in_flight(found, start) for start in later) <= 2
    assert overview.evaluate("window.untouched")
    assert system.children() == processes
