"""Every page, by every role, and by a stranger."""

from __future__ import annotations

import re
import time
from pathlib import Path
from uuid import uuid4

import pytest
from django.db.models.functions import Now
from django.template.loader import render_to_string
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from dashboard import pages as all_pages
from orchestrator import store
from orchestrator.models import Run, StepRun
from orchestrator.services import rollups
from orchestrator.services.workflows import publish_workflow
from orchestrator.store import heartbeats
from orchestrator.store.heartbeats import Beat
from tenants.actors import COMMAND
from tenants.models import AuditEntry
from tests.dashboard.conftest import PASSWORD, STEPS, House

TEMPLATES = Path(__file__).parents[2] / "templates"
PAGES = [
    "",
    "runs/",
    "workflows/",
    "workflows/import/",
    "schedules/",
    "triggers/",
    "pools/",
    "dead-letters/",
]


@pytest.mark.parametrize("page", PAGES)
def test_members_see_a_page_and_strangers_see_nothing(house: House, page: str) -> None:
    house.run()
    assert house.client("viewer").get(f"/t/mill/{page}").status_code == 200
    assert house.client(None, staff=True).get(f"/t/mill/{page}").status_code == 200
    assert house.client(None).get(f"/t/mill/{page}").status_code == 404
    assert house.client("admin").get(f"/t/other/{page}").status_code == 404
    anonymous = Client().get(f"/t/mill/{page}")
    assert anonymous.status_code == 302
    assert anonymous["Location"].startswith("/login?next=")


@pytest.mark.parametrize("tab", ["graph", "timeline", "events", "data", "nonsense"])
def test_a_run_page_shows_each_tab_and_nothing_to_a_stranger(house: House, tab: str) -> None:
    run_id = house.run(region="eu")
    (claim,) = house.engine.claim()
    house.engine.fail(claim)
    member = house.client("viewer").get(f"/t/mill/runs/{run_id}/?tab={tab}")
    assert member.status_code == 200
    text = member.content.decode()
    assert "region:eu" in text
    assert "step_failed" in text
    assert house.client(None).get(f"/t/mill/runs/{run_id}/").status_code == 404


def test_a_run_that_is_absent_or_malformed_is_404(house: House) -> None:
    client = house.client("viewer")
    assert client.get(f"/t/mill/runs/{uuid4()}/").status_code == 404
    assert client.get("/t/mill/runs/none/").status_code == 404
    assert client.get("/t/mill/workflows/none/").status_code == 404
    assert client.get("/t/mill/workflows/import/?version=9").status_code == 404


def test_waiting_reasons_and_errors_are_told_in_words(house: House) -> None:
    run_id = house.run()
    client = house.client("viewer")
    assert "No live worker can run it" in client.get(f"/t/mill/runs/{run_id}/").content.decode()
    (claim,) = house.engine.claim()
    house.engine.fail(claim, retry_in_s=60)
    text = client.get(f"/t/mill/runs/{run_id}/?step=fetch").content.decode()
    assert "Before its next attempt" in text
    assert "ValueError" in text
    assert "#1" in text


def test_progress_and_cached_outputs_are_shown(house: House) -> None:
    run_id = house.run()
    (claim,) = house.engine.claim()
    assert house.engine.worker is not None
    beat = Beat(claim, '{"rows": 18446744073709551616}')
    heartbeats.write(store.connection(), house.engine.worker.pk, [beat])
    client = house.client("viewer")
    text = client.get(f"/t/mill/runs/{run_id}/").content.decode()
    assert "18446744073709551616" in text
    assert "last heartbeat" in text
    StepRun.objects.filter(run_id=run_id, ordinal=0).update(
        state="waiting", wait_reason="cache", worker_id=None
    )
    text = client.get(f"/t/mill/runs/{run_id}/").content.decode()
    assert "For another step that makes its cached output" in text
    StepRun.objects.filter(run_id=run_id, ordinal=0).update(
        state="succeeded", wait_reason=None, reason="cached", finished_at=Now()
    )
    assert (
        '<span class="tag">cached</span>' in client.get(f"/t/mill/runs/{run_id}/").content.decode()
    )


def test_a_finished_run_shows_its_output_exactly(house: House) -> None:
    run_id = house.run()
    house.engine.run_all(2**64)
    text = house.client("viewer").get(f"/t/mill/runs/{run_id}/?tab=data").content.decode()
    assert "18446744073709551616" in text
    assert "Cancel run" not in text


def test_filters_narrow_the_runs_and_are_kept_in_the_next_page(house: House) -> None:
    runs = [house.run(region="eu") for _ in range(3)]
    other = house.run(region="us")
    client = house.client("viewer")
    text = client.get("/t/mill/runs/?label=region:us").content.decode()
    assert str(other) in text
    assert str(runs[0]) not in text
    assert "No run matches" in client.get("/t/mill/runs/?state=failed").content.decode()
    assert client.get("/t/mill/runs/?cursor=rubbish&state=odd&period=odd").status_code == 200
    assert client.get("/t/mill/?window=odd&from=1&to=x").status_code == 200


def test_what_changed_is_marked_on_the_charts(house: House) -> None:
    publish_workflow(
        tenant=house.tenant, name="import", document={"steps": STEPS[:1]}, actor=COMMAND
    )
    client = house.client("viewer")
    house.run()
    house.engine.run_all(1)
    while rollups.roll():
        pass
    for page in ("", "workflows/import/"):
        text = client.get(f"/t/mill/{page}?window=6h").content.decode()
        for title in ("Runs finished", "Run duration", "Queue latency", "Error rate"):
            assert f"<h2>{title}</h2>" in text
        assert "version 2 of import" in text
    now = int(time.time())
    brushed = client.get(f"/t/mill/?from={now - 600}&to={now + 10}").content.decode()
    assert "No workflow ran in this window" not in brushed


def test_a_brushed_stretch_is_shown(house: House) -> None:
    text = house.client("viewer").get("/t/mill/?from=1790000000&to=1790003600").content.decode()
    assert "Chosen stretch" in text


def test_an_open_page_is_answered_with_its_swaps_alone(house: House) -> None:
    run_id = house.run()
    answer = house.client("viewer").get(f"/t/mill/runs/{run_id}/", headers={"X-Live": "1"})
    text = answer.content.decode()
    assert '<div id="section-head" hx-swap-oob="innerMorph">' in text
    assert "<html" not in text
    assert answer["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("role", "status"), [("operator", 302), ("admin", 302), ("viewer", 403), (None, 404)]
)
def test_operators_cancel_runs(house: House, role: str | None, status: int) -> None:
    run_id = house.run()
    client = house.client(role)
    assert client.post(f"/t/mill/runs/{run_id}/cancel").status_code == status
    cancelled = Run.objects.get(pk=run_id).state == "cancelled"
    assert cancelled == (status == 302)
    entries = AuditEntry.objects.filter(action="run.cancel", target=str(run_id))
    assert [entry.actor for entry in entries] == ([f"user:{role}"] if cancelled else [])
    if cancelled:
        again = client.post(f"/t/mill/runs/{run_id}/cancel", follow=True)
        assert "does not allow cancel" in again.content.decode()


def test_what_a_role_may_not_do_is_not_shown(house: House) -> None:
    run_id = house.run()
    viewer, operator = house.client("viewer"), house.client("operator")
    assert "Cancel run" not in viewer.get(f"/t/mill/runs/{run_id}/").content.decode()
    assert "Cancel run" in operator.get(f"/t/mill/runs/{run_id}/").content.decode()
    assert "Run now" not in viewer.get("/t/mill/workflows/import/").content.decode()
    assert "Run now" in operator.get("/t/mill/workflows/import/").content.decode()


def test_operators_start_runs_and_learn_what_is_wrong(house: House) -> None:
    operator = house.client("operator")
    made = operator.post("/t/mill/workflows/import/run", {"input": '{"n": 1}'})
    run = Run.objects.get()
    assert made["Location"] == f"/t/mill/runs/{run.pk}/"
    assert run.input == '{"n":1}'
    bad = operator.post("/t/mill/workflows/import/run", {"input": "{"}, follow=True)
    assert "The input is not JSON" in bad.content.decode()
    assert 'rows="8">{</textarea>' in bad.content.decode()
    assert 'rows="8">{</textarea>' not in operator.get("/t/mill/workflows/import/").content.decode()
    assert operator.post("/t/mill/workflows/none/run", {"input": "{}"}).status_code == 404
    assert (
        house.client("viewer").post("/t/mill/workflows/import/run", {"input": "{}"}).status_code
        == 403
    )
    assert Run.objects.count() == 1


def test_forms_need_their_token(house: House) -> None:
    run_id = house.run()
    client = house.client("operator")
    client.handler.enforce_csrf_checks = True
    assert client.post(f"/t/mill/runs/{run_id}/cancel").status_code == 403
    assert Run.objects.get(pk=run_id).state == "queued"


def sources(template: str) -> str:
    """A template's text, with what it includes."""
    text = (TEMPLATES / template).read_text()
    included = re.findall(r'{% include "([^"]+)"', text)
    return text + "".join(sources(one) for one in included)


def test_no_section_holds_a_form() -> None:
    """A section is sent anew without a request: a token that it holds is lost."""
    for page in all_pages.PAGES.values():
        text = (TEMPLATES / page.template).read_text()
        for name in page.sections:
            found = re.search(rf"{{% partialdef {name} .*?{{% endpartialdef", text, re.DOTALL)
            assert found is not None, (page.name, name)
            included = re.findall(r'{% include "([^"]+)"', found[0])
            whole = found[0] + "".join(
                sources(one) for one in included if one != "dashboard/worker_rows.html"
            )
            assert "csrf_token" not in whole, (page.name, name)


def test_home_leads_to_the_last_used_tenant_or_a_choice(house: House) -> None:
    member = house.client("viewer")
    assert member.get("/")["Location"] == "/t/mill/"
    staff = house.client(None, staff=True)
    assert staff.get("/")["Location"] == "/t/mill/"
    assert "Choose a tenant" in staff.get("/?choose").content.decode()
    assert "not a member of any tenant" in house.client(None).get("/").content.decode()


def test_staff_see_all_tenants_and_others_404(house: House) -> None:
    text = house.client(None, staff=True).get("/staff/tenants/").content.decode()
    assert "mill" in text
    assert "of 100" in text
    assert house.client("admin").get("/staff/tenants/").status_code == 404


def test_signing_in_and_out(house: House) -> None:
    house.user("viewer", name="vera")
    client = Client()
    wrong = client.post("/login", {"username": "vera", "password": "wrong"})
    assert "correct username and password" in wrong.content.decode()
    right = client.post(
        "/login", {"username": "vera", "password": PASSWORD, "next": "/t/mill/runs/"}
    )
    assert right["Location"] == "/t/mill/runs/"
    assert client.get("/t/mill/runs/").status_code == 200
    client.post("/logout")
    assert client.get("/t/mill/runs/").status_code == 302


def test_guessing_a_password_is_locked_out(house: House) -> None:
    house.user("viewer", name="vera")
    client = Client()
    codes = [
        client.post("/login", {"username": "vera", "password": "x"}).status_code for _ in range(11)
    ]
    assert codes[0] == 200
    assert codes[-1] == 429
    locked = client.post("/login", {"username": "vera", "password": PASSWORD})
    assert locked.status_code == 429
    assert "Too many attempts" in locked.content.decode()


def test_a_form_without_its_token_says_so_on_a_page_of_ours(house: House) -> None:
    client = Client(enforce_csrf_checks=True)
    answer = client.post("/login", {"username": "vera", "password": PASSWORD})
    assert answer.status_code == 403
    assert "This form has expired" in answer.content.decode()
    assert "<style" not in answer.content.decode()


def test_the_page_of_a_fault_needs_nothing_but_static_files() -> None:
    text = render_to_string("500.html")
    assert "Something went wrong" in text
    assert "/static/css/tokens.css" in text
    assert "<style" not in text


def test_pages_read_with_few_statements_however_many_rows(
    house: House, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    client = house.client("viewer")
    for _ in range(20):
        house.run()
    run_id = house.run()
    client.get("/t/mill/")
    for page, most in (("", 24), ("runs/", 10), (f"runs/{run_id}/", 20), ("workflows/", 12)):
        with django_assert_max_num_queries(most):
            client.get(f"/t/mill/{page}")


def test_pages_carry_a_strict_policy_and_nothing_inline(house: House) -> None:
    run_id = house.run()
    client = house.client("operator")
    for page in (*PAGES, f"runs/{run_id}/"):
        answer = client.get(f"/t/mill/{page}")
        policy = answer["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        text = answer.content.decode()
        assert " style=" not in text
        assert "<style" not in text
        assert "onclick" not in text
        assert "//cdn" not in text
