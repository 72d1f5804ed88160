"""axe finds nothing on any page, light and dark, wide and narrow; nothing is wider than the screen."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.browser.conftest import Opener
from tests.system.running_system import TestTenant

pytestmark = [pytest.mark.system, pytest.mark.browser]
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
HOSTILE = "<script>alert(1)</script>" + "v" * 60
FAILS = {"name": "work", "handler": "core.fail", "args": {"message": "the disk is full"}}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing(open_page: Opener, tenant: TestTenant, scheme: str, width: int) -> None:
    tenant.publish(
        "fails", [FAILS, {"name": "after", "handler": "core.echo", "depends_on": ["work"]}]
    )
    wide = [{"name": f"s{nr}", "handler": "core.echo"} for nr in range(400)]
    tenant.publish("wide", [*wide, {**FAILS, "depends_on": ["s0"]}])
    run_id = tenant.run("fails", labels={"region": "eu", "long": HOSTILE})["id"]
    home = f"/t/{tenant.slug}"
    put = tenant.http.put
    assert put("/schedules/often", json={"workflow": "fails", "interval": "1s"}).status_code == 201
    assert put("/triggers/hook", json={"workflow": "fails", "input": {}}).status_code == 201
    tenant.system.until(lambda: tenant.http.get("/schedules/often/fires").json()["items"])
    tenant.http.post("/schedules/often/pause", json={"reason": HOSTILE})
    addresses = [
        f"{home}/",
        f"{home}/runs/",
        f"{home}/runs/?state=running",
        f"{home}/runs/{run_id}/?step=work",
        f"{home}/runs/{run_id}/?tab=timeline",
        f"{home}/runs/{run_id}/?tab=events",
        f"{home}/runs/{run_id}/?tab=data",
        f"{home}/workflows/",
        f"{home}/workflows/fails/",
        f"{home}/runs/{run_id}/?state=failed",
        f"{home}/workflows/wide/?layer=1",
        f"{home}/dead-letters/",
        f"{home}/schedules/",
        f"{home}/schedules/often/",
        f"{home}/schedules/often/edit",
        f"{home}/triggers/",
        f"{home}/triggers/hook/",
        f"{home}/triggers/+new",
        "/staff/tenants/",
        "/?choose",
        f"{home}/nothing-here",
    ]
    page = open_page(addresses[0], scheme=scheme, width=width, may_fail=True)
    found = []
    for address in addresses:
        page.goto(address)
        page.wait_for_load_state("networkidle")
        result = Axe().run(page, options=RULES)
        found += [
            (address, one["id"], one["nodes"][0]["html"][:200])
            for one in result.response["violations"]
        ]
        too_wide = page.evaluate("document.documentElement.scrollWidth > innerWidth")
        assert not too_wide, address
    assert found == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_the_way_in(open_page: Opener, scheme: str) -> None:
    page = open_page("/login", scheme=scheme, fresh=True)
    assert Axe().run(page, options=RULES).response["violations"] == []
