"""axe finds nothing on any page, light and dark, wide and narrow; nothing is wider than the screen."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from tests.browser.conftest import Opener
from tests.system.running_system import TestTenant

pytestmark = [pytest.mark.system, pytest.mark.browser]
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
AT_REST = """async () => {
  while (document.getAnimations().some((one) => one.playState === "running"))
    await new Promise(requestAnimationFrame);
}"""
"""Returns when nothing moves any more."""
HOSTILE = "<script>alert(1)</script>" + "v" * 60
FAILS = {"name": "work", "handler": "core.fail", "args": {"message": "the disk is full"}}


HOME = (
    "", "runs/", "runs/?state=running", "runs/{run}/?step=work", "runs/{run}/?tab=timeline",
    "runs/{run}/?tab=logs", "runs/{run}/?tab=events", "runs/{run}/?tab=data", "runs/{run}/?state=failed",
    "workflows/", "workflows/fails/", "workflows/wide/?layer=1", "dead-letters/",
    "schedules/", "schedules/often/", "schedules/often/edit",
    "slas/", "slas/burning/", "slas/timed/", "slas/burning/edit",
    "triggers/", "triggers/hook/", "triggers/+new",
    "alerts/", "alerts/?tab=silenced", "alerts/{alert}/", "channels/", "channels/ops/", "channels/+new",
    "silences/", "silences/+new", "maintenance-windows/+new", "usage/", "members/", "api-keys/",
    "api-keys/{key}/", "secrets/", "secrets/TOKEN/", "audit/", "audit/?target=nothing", "health/",
    "workers/", "nothing-here",
)  # fmt: skip
"""Pages of a tenant."""
OTHERS = (
    "/account/", "/staff/alerts/", "/staff/channels/", "/staff/channels/+new", "/staff/silences/",
    "/staff/health/", "/staff/workers/", "/staff/tenants/", "/staff/tenants/{slug}/", "/?choose",
)  # fmt: skip


def filled(tenant: TestTenant) -> dict[str, str]:
    """A tenant with something of everything, in long words; ids for the addresses."""
    http, system = tenant.http, tenant.system
    tenant.publish(
        "fails", [FAILS, {"name": "after", "handler": "core.echo", "depends_on": ["work"]}]
    )
    wide = [{"name": f"s{nr}", "handler": "core.echo"} for nr in range(400)]
    tenant.publish("wide", [*wide, {**FAILS, "depends_on": ["s0"]}])
    run_id = tenant.run("fails", labels={"region": "eu", "long": HOSTILE})["id"]
    ratio = {"kind": "success_ratio", "workflows": ["fails"], "description": HOSTILE}
    for address, body in {
        "/schedules/often": {"workflow": "fails", "interval": "1s"},
        "/slas/burning": {**ratio, "window": "7d", "burn": True},
        "/slas/broken": {**ratio, "window": "1h", "for": "0s", "min_samples": 1},
        "/slas/timed": {"kind": "run_duration", "threshold": "1h", "labels": {"long": HOSTILE}},
        "/triggers/hook": {"workflow": "fails", "input": {}},
        "/secrets/TOKEN": {"value": "long-enough"},
        "/channels/ops": {"kind": "email", "to": ["o@example.org"], "match": {"name": HOSTILE}},
        "/maintenance-windows/weekly": {
            "match": {"rule": HOSTILE}, "cron": "0 2 * * 0", "duration": "1h",
        },
    }.items():  # fmt: skip
        assert http.put(address, json=body).status_code == 201, address
    quiet = {"match": {"rule": HOSTILE}, "reason": HOSTILE, "duration": "1h"}
    assert http.post("/silences", json=quiet).status_code == 201
    system.until(lambda: http.get("/schedules/often/fires").json()["items"])
    http.post("/schedules/often/pause", json={"reason": HOSTILE})
    alerts = "SELECT id FROM alert WHERE tenant_id = %s AND state = 'firing'"
    system.until(lambda: system.sql(alerts, tenant.id), 60)
    return {
        "slug": tenant.slug,
        "run": run_id,
        "alert": str(system.sql(alerts, tenant.id)[0][0]),
        "key": http.get("/api-keys").json()["items"][0]["id"],
    }


Finding = tuple[str, str, str]


@pytest.mark.parametrize("half", [0, 1])
def test_axe_finds_nothing(open_page: Opener, tenant: TestTenant, half: int) -> None:
    about = filled(tenant)
    home = f"/t/{tenant.slug}/"
    page = open_page(home, may_fail=True)
    found: list[Finding] = []
    for path in (*(home + path for path in HOME), *OTHERS)[half::2]:
        address = path.format(**about)
        page.goto(address)
        page.wait_for_load_state("load" if address.startswith("/staff/") else "networkidle")
        found += looked_at(page, address)
    assert found == []


def looked_at(page: Page, address: str) -> list[Finding]:
    """What axe finds on an open page, light on a telephone and dark on a desk; no width shifts it."""
    found = []
    for scheme, width in (("light", 2560), ("light", 390), ("dark", 1280)):
        # a button halfway from its light colours to its dark ones is no finding: all move at once, and are there
        page.emulate_media(
            color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce"
        )
        page.evaluate(AT_REST)
        page.set_viewport_size({"width": width, "height": 900})
        too_wide = page.evaluate("document.documentElement.scrollWidth > innerWidth")
        assert not too_wide, (address, width)
        if width < 2560:
            violations = Axe().run(page, options=RULES).response["violations"]
            found += [(address, one["id"], one["nodes"][0]["html"][:200]) for one in violations]
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_the_way_in(open_page: Opener, scheme: str) -> None:
    for address in ("/login", "/login/forgotten"):
        page = open_page(address, scheme=scheme, fresh=True)
        assert Axe().run(page, options=RULES).response["violations"] == []
