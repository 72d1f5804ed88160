"""The pages of SLAs: by every role, what their forms do, and what a run says of them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import pytest
from django.test import Client
from django.utils import timezone

from dashboard import forms
from dashboard.pages.slas import budget_charts
from orchestrator import store
from orchestrator.models import (
    Alert,
    Run,
    Sla,
    SlaDeadline,
    SlaProposal,
    SlaSample,
    SlaState,
    Workflow,
)
from orchestrator.services import sla_counting
from orchestrator.services.slas import create_sla
from orchestrator.services.workflows import archive_workflow, publish_workflow
from tenants.actors import COMMAND
from tenants.models import AuditEntry
from tests.alerts.planted import Planted
from tests.dashboard.conftest import STEPS, House

HOME = "/t/mill/slas"
FORM = {
    "name": "in-time", "kind": "run_duration", "threshold": "30s", "target": "99 %", "window": "7d",
    "workflows": "import", "labels": '{"by": "clock"}', "description": "as we said", "burn": "usual",
    "pairs": "", "for": "5m", "clear_for": "10m", "clear_threshold": "", "min_samples": "20",
    "no_data": "keep", "severity": "critical", "enabled": "on",
}  # fmt: skip


@pytest.fixture
def sla(house: House) -> Sla:
    body = {
        "name": "in-time", "kind": "run_duration", "threshold": "1h", "target": 0.9, "window": "1d",
        "workflows": ["import"], "burn": [{"long": "1h", "short": "5m", "factor": 2}],
    }  # fmt: skip
    return create_sla(tenant=house.tenant, body=body, actor=COMMAND)


def text(client: Client, address: str = "") -> str:
    answer = client.get(f"{HOME}/{address}")
    assert answer.status_code == 200
    return answer.content.decode()


def test_lists_are_for_members_and_forms_for_admins(house: House, sla: Sla) -> None:
    viewer, admin, stranger = house.client("viewer"), house.client("admin"), house.client(None)
    for address in ("", "in-time/"):
        assert "of runs end within 1h" in text(viewer, address)
        assert stranger.get(f"{HOME}/{address}").status_code == 404
    assert "New SLA" not in text(viewer)
    assert "Delete" not in text(viewer, "in-time/")
    assert "New SLA" in text(admin)
    assert "Delete" in text(admin, "in-time/")
    for address in ("+new", "in-time/edit"):
        assert viewer.get(f"{HOME}/{address}").status_code == 403
        assert stranger.get(f"{HOME}/{address}").status_code == 404
        assert admin.get(f"{HOME}/{address}").status_code == 200
    for address in ("in-time/delete", "+preview", "+proposals/import/accept"):
        assert viewer.post(f"{HOME}/{address}").status_code == 403
        assert stranger.post(f"{HOME}/{address}").status_code == 404
    for address in ("absent/", "absent/edit"):
        assert admin.get(f"{HOME}/{address}").status_code == 404
    assert admin.post(f"{HOME}/absent/delete").status_code == 404


def test_an_empty_page_says_what_would_appear(house: House) -> None:
    assert "No SLA yet" in text(house.client("viewer"))


def test_a_form_makes_edits_and_deletes(house: House) -> None:
    admin = house.client("admin")
    made = admin.post(f"{HOME}/+new", FORM)
    assert (made.status_code, made["Location"]) == (302, f"{HOME}/in-time/")
    row = Sla.objects.get()
    assert (row.threshold, row.target, row.window_s, row.min_samples) == (30.0, 0.99, 604_800.0, 20)
    assert (row.labels, len(row.burn), row.severity, row.enabled) == (
        {"by": "clock"},
        2,
        "critical",
        True,
    )
    form = text(admin, "in-time/edit")
    assert 'value="30s"' in form
    assert "14.4" in form
    own = {
        **FORM,
        "burn": "own",
        "pairs": '[{"long": "2h", "short": "5m", "factor": 3}]',
        "enabled": "",
    }
    assert admin.post(f"{HOME}/in-time/edit", own).status_code == 302
    row.refresh_from_db()
    assert (row.burn, row.enabled) == ([[7200.0, 300.0, 3.0]], False)
    assert "disabled" in text(admin)
    assert admin.post(f"{HOME}/in-time/delete").status_code == 302
    assert not Sla.objects.exists()
    assert AuditEntry.objects.filter(actor="user:admin", target="in-time").count() == 3


@pytest.mark.parametrize(
    ("typed", "target"), [("99.9 %", 0.999), ("99.95%", 0.9995), ("7 %", 0.07), ("0.29", 0.29)]
)
def test_a_share_in_percent_is_kept_as_it_was_typed(
    house: House, typed: str, target: float
) -> None:
    form = {**FORM, "target": typed, "burn": "none"}
    assert house.client("admin").post(f"{HOME}/+new", form).status_code == 302
    assert Sla.objects.get().target == target


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"threshold": "soon"}, "Threshold</a>: a duration is text"),
        ({"target": "most"}, "Target</a>: must be a number"),
        ({"labels": "{"}, "Labels</a>: is no JSON"),
        ({"burn": "own", "pairs": ""}, "Burn rates</a>: must be true, or a list"),
        ({"window": "1h"}, "burn: a window of 3600"),
    ],
)
def test_what_is_wrong_is_said_beside_what_was_typed(
    house: House, change: dict[str, str], said: str
) -> None:
    admin = house.client("admin")
    if said.startswith("burn: a window"):
        said = "longer than the rule&#x27;s own"
    answer = admin.post(f"{HOME}/+new", {**FORM, **change})
    assert answer.status_code == 422
    page = answer.content.decode()
    assert said in page
    assert page.count(' aria-invalid="true"') == 1
    assert 'value="in-time"' in page
    part = admin.post(f"{HOME}/+preview", {**FORM, **change})
    assert part.status_code == 200
    assert "It cannot be tried yet" in part.content.decode()
    assert not Sla.objects.exists()


def test_what_is_missing_is_said_by_its_field(house: House) -> None:
    answer = house.client("admin").post(f"{HOME}/+new", {**FORM, "threshold": ""})
    assert '<a href="#threshold">Threshold</a>: is missing' in answer.content.decode()


def test_a_workflow_that_is_not_listed_stays_chosen(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forms, "NAMES", 1)
    for name in ("aaa", "zzz"):
        publish_workflow(
            tenant=house.tenant, name=name, document={"steps": STEPS[:1]}, actor=COMMAND
        )
    body = {"name": "late", "kind": "success_ratio", "target": 0.9, "workflows": ["import", "zzz"]}
    row = create_sla(tenant=house.tenant, body=body, actor=COMMAND)
    archive_workflow(tenant=house.tenant, name="import", actor=COMMAND)
    admin = house.client("admin")
    form = text(admin, "late/edit")
    chosen = re.findall(r"<option selected>([^<]+)</option>", form)
    assert [name for name in chosen if name in ("aaa", "import", "zzz")] == ["import", "zzz"]
    assert "<option>aaa</option>" in form
    saved = admin.post(
        f"{HOME}/late/edit",
        {"kind": "success_ratio", "target": "90 %", "window": "1h", "for": "5m", "clear_for": "5m",
         "min_samples": "1", "no_data": "ok", "severity": "critical", "burn": "none",
         "enabled": "on", "workflows": ["import", "zzz"]},
    )  # fmt: skip
    assert saved.status_code == 302
    row.refresh_from_db()
    assert (row.severity, len(row.workflow_ids)) == ("critical", 2)


def test_a_name_that_is_taken_is_said(house: House, sla: Sla) -> None:
    answer = house.client("admin").post(f"{HOME}/+new", FORM)
    assert "is there already" in answer.content.decode()


def test_a_form_is_tried_on_the_past_with_a_script_and_without(house: House) -> None:
    admin = house.client("admin")
    house.run()
    house.engine.fail(house.engine.claim()[0])
    form = {"name": "ok", "kind": "success_ratio", "target": "0.9", "window": "1h", "enabled": "on"}
    part = admin.post(f"{HOME}/+preview", form).content.decode()
    assert "<html" not in part
    assert "1 time</dd>" in part
    assert f"/runs/{Run.objects.get(state='failed').pk}/" in part
    page = admin.post(f"{HOME}/+new", {**form, "try": "1"})
    assert page.status_code == 200
    assert "1 time</dd>" in page.content.decode()
    assert not Sla.objects.exists(), "nothing is saved by that"


def test_a_rules_page_shows_its_budget_its_burn_and_its_runs(house: House, sla: Sla) -> None:
    now = timezone.now()
    late, soon = house.run(), house.run()
    SlaState.objects.create(
        sla=sla, tenant_id=sla.tenant_id, at=now, changed_at=now, sight="bad", value=0.85, total=20,
        good=17, late=1, budget=-0.5, burns=[[3.0, 2.5]],
    )  # fmt: skip
    for hours, good in ((1, 10), (2, 7)):
        SlaSample.objects.create(
            sla=sla, tenant_id=sla.tenant_id, width_s=60,
            at=(now - timedelta(hours=hours)).replace(second=0, microsecond=0),
            total=10, good=good, clear=good,
        )  # fmt: skip
    SlaDeadline.objects.create(
        sla=sla, tenant_id=sla.tenant_id, run_id=late, due_at=now - timedelta(minutes=1)
    )
    SlaDeadline.objects.create(
        sla=sla, tenant_id=sla.tenant_id, run_id=soon, due_at=now + timedelta(minutes=1),
        expected_at=now + timedelta(minutes=5), predicted_at=now, path=["fetch", "check"],
    )  # fmt: skip
    viewer = house.client("viewer")
    page = text(viewer, "in-time/")
    for said in ("bad", "85 %", "-50 %", "burns", "3.0×", "Error budget left", "fetch → check"):
        assert said in page, said
    assert f"/runs/{late}/" in page
    assert f"/runs/{soon}/" in page
    assert 'title="-50 %">overdrawn' in text(viewer)
    (chart,) = budget_charts(sla)
    assert not chart.empty
    banner = viewer.get(f"/t/mill/runs/{soon}/").content.decode()
    assert "which misses the SLA" in banner
    assert "fetch → check" in banner
    assert "<strong>Late</strong>" in viewer.get(f"/t/mill/runs/{late}/").content.decode()
    live = viewer.get(f"{HOME}/in-time/", headers={"X-Live": "1"}).content.decode()
    for section in ("head", "charts", "burn", "alerts", "runs"):
        assert f'id="section-{section}"' in live


def test_a_rules_page_shows_its_alerts(house: House, sla: Sla) -> None:
    rule = Planted(house.tenant.pk, f"sla:{sla.pk}", {"sla": "in-time"}, for_s=60.0)
    now = timezone.now()

    def minutes(number: float) -> datetime:
        return now - timedelta(minutes=number)

    rule.bad(minutes(60), summary="It only seemed so.")
    rule.good(minutes(59))  # it never fired
    for before in range(50, 28, -1):
        rule.bad(minutes(before + 5), for_s=0.0, summary=f"Seen {before} minutes before.")
        rule.good(minutes(before + 4.5))
    rule.bad(minutes(0), summary="It may be bad.")
    Planted(house.tenant.pk, f"sla:{sla.pk}0").bad(summary="It is another's.")
    viewer = house.client("viewer")
    page = text(viewer, "in-time/")
    section = page.split('id="section-alerts"')[1].split("</section>")[0]
    assert section.count("<tr data-href") == 20
    for said in ("It may be bad.", "pending", "Seen 29 minutes before.", "resolved", "3.50 s"):
        assert said in section, said
    for said in ("It only seemed so.", "Seen 48 minutes before.", "It is another's."):
        assert said not in section, said
    assert section.index("It may be bad.") < section.index("Seen 29") < section.index("Seen 47")
    alert = Alert.objects.get(summary="It may be bad.")
    assert f'href="/t/mill/alerts/{alert.pk}/"' in section


def test_a_floor_has_no_budget_to_draw(house: House) -> None:
    body = {"name": "floor", "kind": "throughput_floor", "threshold": "5/1h"}
    floor = create_sla(tenant=house.tenant, body=body, actor=COMMAND)
    assert budget_charts(floor) == []
    page = text(house.client("viewer"), "floor/")
    assert "it has none" in page
    assert "It has never fired" in page


def test_what_is_proposed_is_accepted_or_dismissed(house: House) -> None:
    admin = house.client("admin")
    workflow = Workflow.objects.get(tenant=house.tenant, name="import")
    SlaProposal.objects.create(
        tenant_id=house.tenant.pk, workflow=workflow, p95_s=20, threshold_s=30, run_count=500
    )
    assert "95 of 100 runs end within 30s" in text(admin)
    assert admin.post(f"{HOME}/+proposals/import/accept").status_code == 302
    assert Sla.objects.get().name == "p95-import"
    assert admin.post(f"{HOME}/+proposals/import/dismiss").status_code == 404
    SlaProposal.objects.all().update(decision=None, decided_at=None)
    assert admin.post(f"{HOME}/+proposals/import/accept").status_code == 302
    assert "is there already" in text(admin)
    assert admin.post(f"{HOME}/+proposals/import/dismiss").status_code == 302
    assert "Proposed" not in text(admin)


def test_pages_of_rules(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashboard.pages.slas.LIMIT", 1)
    for name in ("a", "b"):
        create_sla(tenant=house.tenant, body={"name": name, "kind": "success_ratio"}, actor=COMMAND)
    sla_counting.count(store.connection())
    viewer = house.client("viewer")
    page = text(viewer)
    assert "More" in page
    cursor = page.split("?cursor=")[1].split('"')[0]
    assert f"{HOME}/b/" in text(viewer, f"?cursor={cursor}")
    assert f"{HOME}/a/" in text(viewer, "?cursor=nonsense")
