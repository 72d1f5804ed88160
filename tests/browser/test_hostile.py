"""A script is planted in every text that the pages show; no page runs it or makes an element of it."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Dialog

from tests.browser.conftest import Opener
from tests.system.running_system import TestTenant
from tests.system.shapes import call

pytestmark = [pytest.mark.system, pytest.mark.browser]
HOSTILE = (
    "\"'--></script></style></textarea></title></svg><x-planted></x-planted>"
    "<img src=x onerror=\"document.body.dataset.ran='1'\">"
    "<script>document.body.dataset.ran='1'</script>{{ 7*7 }}{% now 'Y' %}javascript:alert(1)"
)
STEPS: list[dict[str, Any]] = [
    call("says", "echo", args={"value": {HOSTILE: [HOSTILE, "${{ input }}"]}}),
    {**call("fails", "fail", args={"message": HOSTILE}), "depends_on": ["says"]},
    {**call("skips", "skip_with", args={"reason": HOSTILE})},
    {**call("beats", "beat_with", args={"progress": HOSTILE})},
    {"name": "asks", "handler": "core.echo", "if": "${{ input == '" + "x" * 9 + "<x-planted>' }}"},
    {**call("items", "fail", args={"message": HOSTILE + "${{ item }}"}),
     "map": {"over": "${{ [1, 2] }}", "on_error": "continue"}},
]  # fmt: skip
PAGES = (
    "", "runs/", "runs/?q=<x-planted>", "runs/?label=k:<x-planted>&workflow=<x-planted>", "runs/{run}/",
    *(f"runs/{{run}}/?tab={tab}" for tab in ("timeline", "steps", "events", "data")),
    *(f"runs/{{run}}/?step={name}" for name in ("says", "fails", "skips", "beats", "asks", "items")),
    "workflows/", "workflows/hostile/", "dead-letters/", "pools/", "schedules/", "schedules/s/",
    "schedules/s/edit", "slas/", "slas/s/", "slas/s/edit", "triggers/", "triggers/t/", "triggers/t/edit", "secrets/", "secrets/TOKEN/",
    "audit/", "audit/?target=<x-planted>&actor=\"><x-planted>", "<x-planted>/", "runs/<x-planted>/",
)  # fmt: skip


def planted(tenant: TestTenant) -> str:
    """A tenant in which every text is hostile; its run's id."""
    http = tenant.http
    tenant.publish("hostile", STEPS, description=HOSTILE)
    run = tenant.submit("hostile", HOSTILE, labels={"k": HOSTILE, "<x-planted>": HOSTILE})
    tenant.wait(run["id"])
    answers = [
        http.put("/schedules/s", json={"workflow": "hostile", "interval": "1h", "input": HOSTILE}),
        http.post("/schedules/s/pause", json={"reason": HOSTILE}),
        http.put("/slas/s", json={"kind": "success_ratio", "labels": {"k": HOSTILE},
                                  "description": HOSTILE}),
        http.put("/triggers/t", json={"workflow": "hostile", "input": {"a": HOSTILE},
                                      "labels": {"k": HOSTILE}}),
        http.put("/secrets/TOKEN", json={"value": HOSTILE}),
        http.post("/pools", json={"name": "p", "limit": 1}),
    ]  # fmt: skip
    assert all(answer.status_code < 300 for answer in answers), [a.text for a in answers]
    tenant.system.sql(
        "UPDATE tenant SET name = %s, suspended_reason = %s WHERE id = %s",
        HOSTILE,
        HOSTILE,
        tenant.id,
    )
    tenant.system.sql(
        "INSERT INTO audit_entry (tenant_id, actor, action, target, before, after, origin)"
        " VALUES (%s, %s, %s, %s, to_jsonb(%s::text), jsonb_build_object(%s::text, %s::text), %s)",
        tenant.id, *[HOSTILE] * 7,
    )  # fmt: skip
    return str(run["id"])


def test_no_page_runs_what_was_planted(open_page: Opener, tenant: TestTenant) -> None:
    run_id = planted(tenant)
    page = open_page(f"/t/{tenant.slug}/", may_fail=True)
    dialogs: list[str] = []

    def note(dialog: Dialog) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", note)
    shown = 0
    staff = ("/staff/tenants/", "/?choose", "/login", "/admin/tenants/auditentry/",
             "/admin/tenants/tenant/")  # fmt: skip
    for path in (*(f"/t/{tenant.slug}/{path.format(run=run_id)}" for path in PAGES), *staff):
        page.goto(path)
        page.wait_for_load_state("networkidle")
        assert page.locator("x-planted, img[onerror]").count() == 0, path
        assert page.evaluate("document.body.dataset.ran") is None, path
        text = page.content()
        assert "7*7" not in text or "{{ 7*7 }}" in text, path
        shown += "x-planted" in text
    assert dialogs == []
    assert shown > 10, "the pages do show what was planted"
