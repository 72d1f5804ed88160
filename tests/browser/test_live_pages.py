"""What an operator sees without reloading: runs, graphs and counters as they change."""

from __future__ import annotations

import os
import re
import signal

import pytest
from playwright.sync_api import Route, expect

from tests.browser.conftest import Opener, sign_in
from tests.browser.watched import Watched
from tests.system.running_system import System, TestTenant

pytestmark = [pytest.mark.system, pytest.mark.browser]
SLOW = [
    {"name": "first", "handler": "core.sleep", "args": {"ms": 6000}},
    {"name": "second", "handler": "core.echo", "args": {"value": 2}, "depends_on": ["first"]},
]
HIDE = """
Object.defineProperty(document, "hidden", { value: true, configurable: true });
document.dispatchEvent(new Event("visibilitychange"));
"""
SHOW = """
delete document.hidden;
document.dispatchEvent(new Event("visibilitychange"));
"""


def test_log_in_as_printed_and_out(open_page: Opener, system: System) -> None:
    page = open_page("/login", fresh=True)
    sign_in(page, system)
    page.goto("/t/demo/")
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_run_started_by_api_appears_and_changes_without_a_reload_within_2_s(
    open_page: Opener, system: System, tenant: TestTenant
) -> None:
    tenant.publish("slow", SLOW)
    overview = open_page(f"/t/{tenant.slug}/")
    listed = open_page(f"/t/{tenant.slug}/runs/")
    for page in (overview, listed):
        expect(page.locator("#live-mark")).to_have_attribute("data-state", "live")
        page.evaluate("window.untouched = true")
    counter = Watched(overview, "#active-count")
    run_id = tenant.submit("slow")["id"]
    row = Watched(listed, f'tr[data-run="{run_id}"] .state')
    begun = row.shows("running")
    counted = counter.shows("1")
    run = open_page(f"/t/{tenant.slug}/runs/{run_id}/")
    expect(run.locator("#live-mark")).to_have_attribute("data-state", "live")
    run.evaluate("window.untouched = true")
    first = Watched(run, 'a[data-step="first"] .word')
    second = Watched(run, 'a[data-step="second"] .word')
    first.shows("running")
    tenant.wait(run_id)
    at = {
        (kind, step): moment.timestamp()
        for kind, step, moment in system.sql(
            "SELECT type, ordinal, at FROM event WHERE run_id = %s", run_id
        )
    }
    ended = at["run.succeeded", None]
    assert begun - at["run.running", None] < 2
    assert counted - at["run.queued", None] < 2
    assert first.shows(re.compile(r"^succeeded · 6\.")) - at["step.succeeded", 0] < 2
    assert second.shows(re.compile("^succeeded")) - at["step.succeeded", 1] < 2
    assert Watched(run, "#steps-done").shows("2 of 2 succeeded") - ended < 2
    assert row.shows("succeeded") - ended < 2
    assert counter.shows("0") - ended < 2
    assert all(page.evaluate("window.untouched") for page in (overview, listed, run))


def test_a_run_is_cancelled_from_its_page(open_page: Opener, tenant: TestTenant) -> None:
    tenant.publish("long", [{"name": "wait", "handler": "core.sleep", "args": {"ms": 60_000}}])
    run_id = tenant.submit("long")["id"]
    page = open_page(f"/t/{tenant.slug}/runs/{run_id}/")
    page.get_by_role("button", name="Cancel run").click()
    page.get_by_role("button", name="Cancel the run").click()
    expect(page.locator("#section-head .state")).to_have_text("cancelled", timeout=15_000)


def test_a_payload_that_is_refused_stays_on_the_live_page(
    open_page: Opener, tenant: TestTenant
) -> None:
    tenant.publish("asks", [{"name": "ask", "signal": "go", "timeout": "1h"}])
    run_id = tenant.submit("asks")["id"]
    page = open_page(f"/t/{tenant.slug}/runs/{run_id}/")
    payload = page.get_by_label("Payload (JSON)")
    payload.fill('{"ok": ')
    page.get_by_role("button", name="Send go").click()
    expect(page.get_by_text("The payload is not JSON")).to_be_visible()
    expect(page.locator("#live-mark")).to_have_attribute("data-state", "live")
    expect(payload).to_have_value('{"ok": ')
    payload.fill('{"ok": true}')
    page.get_by_role("button", name="Send go").click()
    expect(page.locator("#section-head")).to_contain_text("succeeded")


def test_web_stopped_and_started_the_page_says_so_and_recovers_by_itself(
    open_page: Opener, system: System, tenant: TestTenant
) -> None:
    tenant.publish("slow", SLOW)
    page = open_page(f"/t/{tenant.slug}/runs/", may_fail=True)
    mark, banner = page.locator("#live-mark"), page.locator("#live-banner")
    expect(mark).to_have_attribute("data-state", "live")
    page.evaluate("window.untouched = true")
    run_id = tenant.submit("slow")["id"]
    state = page.locator(f'tr[data-run="{run_id}"] .state')
    expect(state).to_have_text("running", timeout=10_000)
    web = system.pids("web")
    for pid in web:
        os.kill(pid, signal.SIGSTOP)
    ended = "SELECT 1 FROM run WHERE id = %s AND state = 'succeeded'"
    system.until(lambda: system.sql(ended, run_id), 60)
    expect(mark).to_have_attribute("data-state", "lost", timeout=30_000)
    expect(banner).to_contain_text("The server does not answer")
    expect(state).to_have_text("running")
    for pid in web:
        os.kill(pid, signal.SIGKILL)
    system.until(lambda: set(system.pids("web")) - set(web), 60)
    expect(mark).to_have_attribute("data-state", "live", timeout=60_000)
    expect(banner).to_be_hidden()
    expect(state).to_have_text("succeeded", timeout=10_000)
    later = tenant.submit("slow")["id"]
    expect(page.locator(f'tr[data-run="{later}"]')).to_be_visible(timeout=10_000)
    assert page.evaluate("window.untouched")


def test_a_page_whose_scripts_come_slowly_goes_live(open_page: Opener, tenant: TestTenant) -> None:
    page = open_page(f"/t/{tenant.slug}/runs/")

    def late(route: Route) -> None:
        page.wait_for_timeout(500)
        route.continue_()

    page.route("**/hx-ws-4.min.js", late)
    page.reload()
    expect(page.locator("#live-mark")).to_have_attribute("data-state", "live")


def test_a_page_without_a_socket_polls(open_page: Opener, tenant: TestTenant) -> None:
    page = open_page(f"/t/{tenant.slug}/runs/", may_fail=True)
    page.route("**/hx-ws-4.min.js", lambda route: route.abort())
    page.reload()
    expect(page.locator("#live-mark")).to_have_attribute("data-state", "polling", timeout=30_000)
    tenant.publish("slow", SLOW)
    run_id = tenant.submit("slow")["id"]
    expect(page.locator(f'tr[data-run="{run_id}"]')).to_be_visible(timeout=10_000)


def test_a_silence_is_ended_on_a_page_that_was_sent_anew(
    open_page: Opener, tenant: TestTenant
) -> None:
    body = {"match": {"rule": "sla:*"}, "reason": "Known.", "duration": "1h"}
    assert tenant.http.post("/silences", json=body).status_code == 201
    page = open_page(f"/t/{tenant.slug}/silences/")
    expect(page.locator("#live-mark")).to_have_attribute("data-state", "live")
    page.get_by_role("button", name="End the silence of Known.").click()
    expect(page.get_by_text("The silence is over.")).to_be_visible()
    expect(page.locator("#section-silences .state")).to_have_text("over")


def test_a_page_of_the_servers_keeps_what_it_shows_and_says_how_old_it_is(
    open_page: Opener, tenant: TestTenant
) -> None:
    page = open_page("/staff/tenants/?q=" + tenant.slug, may_fail=True)
    mark, banner = page.locator("#live-mark"), page.locator("#live-banner")
    row = page.get_by_role("link", name=tenant.slug, exact=True).last
    expect(mark).to_have_text("Live")
    page.route("**/staff/tenants/**", lambda route: route.fulfill(status=503, body="away"))
    expect(mark).to_have_attribute("data-state", "lost", timeout=20_000)
    expect(banner).to_contain_text("The server answers with an error (503). What you see is")
    expect(row).to_be_visible()
    page.unroute("**/staff/tenants/**")
    expect(mark).to_have_attribute("data-state", "live", timeout=20_000)
    expect(banner).to_be_hidden()
    page.evaluate(f"() => {{ {HIDE} }}")
    expect(mark).to_have_text(
        re.compile(r"^Live · [4-7] s$"), timeout=20_000
    )  # it is not asked for
    page.evaluate(f"() => {{ {SHOW} }}")
    expect(mark).to_have_text("Live", timeout=20_000)
    expect(row).to_be_visible()


def test_a_hidden_page_is_sent_nothing(open_page: Opener, tenant: TestTenant) -> None:
    page = open_page(f"/t/{tenant.slug}/runs/")
    expect(page.locator("#live-mark")).to_have_attribute("data-state", "live")
    closed = page.evaluate(
        f"""() => new Promise((resolve) => {{
            document.addEventListener("htmx:ws:close", () => resolve(true));
            {HIDE}
        }})"""
    )
    assert closed
    # until something new has come it does not pass for live
    shown = page.evaluate(
        f"() => {{ {SHOW} return document.getElementById('live-mark').dataset.state }}"
    )
    assert shown == "connecting"
    expect(page.locator("#live-mark")).to_have_attribute("data-state", "live")
    tenant.publish("slow", SLOW)
    run_id = tenant.submit("slow")["id"]
    expect(page.locator(f'tr[data-run="{run_id}"]')).to_be_visible(timeout=4000)


def test_the_keyboard_goes_everywhere(open_page: Opener, tenant: TestTenant) -> None:
    tenant.publish(
        "quick", SLOW[1:] and [{"name": "say", "handler": "core.echo", "args": {"v": 1}}]
    )
    run_id = tenant.run("quick")["id"]
    page = open_page(f"/t/{tenant.slug}/")
    page.keyboard.press("g")
    page.keyboard.press("r")
    expect(page.get_by_role("heading", name="Runs")).to_be_visible()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/runs/{run_id}/")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("Control+k")
    page.keyboard.type("workfl")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Workflows")).to_be_visible()
    page.keyboard.press("g")
    page.keyboard.press("r")
    page.wait_for_url(re.compile("/runs/$"))
    page.keyboard.press("/")
    expect(page.get_by_label("Search runs")).to_be_focused()


def test_the_theme_is_switched_and_kept(open_page: Opener, tenant: TestTenant) -> None:
    page = open_page(f"/t/{tenant.slug}/")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Switch between light and dark").click()
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert light != dark
    page.reload()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark
