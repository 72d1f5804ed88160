"""The pages of schedules: by every role, and what their forms do."""

from __future__ import annotations

import html
import re
from datetime import timedelta

import pytest
from django.conf import settings
from django.test import Client

from dashboard.pages.schedules import REASONS
from orchestrator.models import Schedule, ScheduleFire
from orchestrator.services.schedules import create_schedule
from orchestrator.services.workflows import publish_workflow
from tenants.actors import COMMAND
from tenants.models import AuditEntry
from tenants.services import set_quota
from tests.dashboard.conftest import STEPS, House
from tests.schedules.shop import MINUTE, away, look

HOME = "/t/mill/schedules"
FORM = {
    "name": "nightly", "workflow": "import", "kind": "cron", "cron": "30 2 * * *", "interval": "",
    "timezone": "Europe/Berlin", "overlap": "allow", "overlap_limit": "3", "missed": "all",
    "missed_limit": "7", "jitter": "30s", "priority": "4", "input": '{"day": 1}', "labels": "",
    "start_at": "",
}  # fmt: skip


@pytest.fixture
def often(house: House) -> Schedule:
    body = {"name": "often", "workflow": "import", "interval": "1m", "labels": {"by": "clock"}}
    return create_schedule(tenant=house.tenant, body=body, actor=COMMAND)


def text(client: Client, address: str = "") -> str:
    answer = client.get(f"{HOME}/{address}")
    assert answer.status_code == 200
    return answer.content.decode()


def test_a_cursor_beyond_all_times_shows_the_newest(house: House, often: Schedule) -> None:
    cursor = "ZmlyZXN8NDYxMTY4NjAxODQyNzM4NzkwNA"
    assert "Every 1m" in text(house.client("viewer"), f"often/?cursor={cursor}")


def test_lists_are_for_members_and_forms_for_admins(house: House, often: Schedule) -> None:
    viewer, admin, stranger = house.client("viewer"), house.client("admin"), house.client(None)
    for address in ("", "often/"):
        assert "Every 1m" in text(viewer, address)
        assert stranger.get(f"{HOME}/{address}").status_code == 404
    assert "New schedule" not in text(viewer)
    assert "Delete" not in text(viewer, "often/")
    assert "New schedule" in text(admin)
    assert "Delete" in text(admin, "often/")
    for address in ("+new", "often/edit"):
        assert viewer.get(f"{HOME}/{address}").status_code == 403
        assert stranger.get(f"{HOME}/{address}").status_code == 404
        assert admin.get(f"{HOME}/{address}").status_code == 200
    for action in ("pause", "resume", "backfill", "delete"):
        assert viewer.post(f"{HOME}/often/{action}").status_code == 403
        assert stranger.post(f"{HOME}/often/{action}").status_code == 404
    for address in ("absent/", "absent/edit"):
        assert admin.get(f"{HOME}/{address}").status_code == 404
    assert admin.post(f"{HOME}/absent/pause").status_code == 404
    assert admin.post(f"{HOME}/often/rename").status_code == 404
    assert Schedule.objects.get().paused_at is None


def test_an_empty_list_says_how_to_begin(house: House) -> None:
    assert "No schedule yet" in text(house.client("viewer"))
    assert "No schedule yet" in text(house.client("admin"), "?cursor=rubbish")


def test_making_and_editing_one(house: House) -> None:
    admin = house.client("admin")
    made = admin.post(f"{HOME}/+new", FORM, follow=True)
    assert "The schedule nightly is saved." in made.content.decode()
    row = Schedule.objects.get()
    assert (row.cron, row.zone, row.overlap_limit, row.missed_limit) == (
        "30 2 * * *", "Europe/Berlin", 3, 7,
    )  # fmt: skip
    assert (row.jitter, row.priority, row.input) == (timedelta(seconds=30), 4, '{"day":1}')
    shown = text(admin, "nightly/edit")
    for value in ("30 2 * * *", "Europe/Berlin", "30s", "&quot;day&quot;: 1"):
        assert value in shown
    page = text(admin, "nightly/")
    assert "At 02:30 every day, Europe/Berlin" in page
    assert page.count("<li><time") == 10
    assert page.count("02:30:00 CE") == 10
    interval = {**FORM, "kind": "interval", "interval": "5m", "overlap": "queue", "priority": ""}
    admin.post(f"{HOME}/nightly/edit", interval)
    row.refresh_from_db()
    assert (row.cron, row.interval, row.overlap) == (None, 5 * MINUTE, "queue")
    assert AuditEntry.objects.get(action="schedule.changed").actor == "user:admin"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"cron": "x"}, "Cron expression</a>: has 1 fields"),
        ({"overlap_limit": "many"}, "While an earlier run goes on</a>: must be a whole number"),
        ({"priority": "high"}, "Priority</a>: must be a whole number"),
        ({"input": "{"}, "Input</a>: is no JSON"),
        ({"name": "often"}, "The schedule often is there already."),
    ],
)
def test_what_is_wrong_is_said_beside_what_was_typed(
    house: House, often: Schedule, more: dict[str, str], said: str
) -> None:
    answer = house.client("admin").post(f"{HOME}/+new", {**FORM, **more})
    assert answer.status_code == 422
    page = answer.content.decode()
    assert said in page
    assert "Europe/Berlin" in page
    assert Schedule.objects.get() == often


def test_pausing_resuming_filling_in_and_deleting(house: House, often: Schedule) -> None:
    admin = house.client("admin")
    paused = admin.post(f"{HOME}/often/pause", {"reason": "holidays"}, follow=True)
    assert "holidays" in paused.content.decode()
    assert "None while it is paused" in paused.content.decode()
    again = admin.post(f"{HOME}/often/pause", follow=True)
    assert "does not allow pause" in again.content.decode()
    admin.post(f"{HOME}/often/resume")
    wrong = admin.post(f"{HOME}/often/backfill", {"from": "x", "to": ""}, follow=True)
    assert "from: a time is RFC 3339" in wrong.content.decode()
    first = away(often)
    span = {"from": f"{first:%Y-%m-%dT%H:%M}", "to": f"{first + 3 * MINUTE:%Y-%m-%dT%H:%M:%S}"}
    filled = admin.post(f"{HOME}/often/backfill", span, follow=True)
    assert "3 of 3 times had no run and get one." in filled.content.decode()
    gone = admin.post(f"{HOME}/often/delete", follow=True)
    assert "The schedule often is deleted." in gone.content.decode()
    assert not Schedule.objects.exists()


def test_a_refused_backfill_stays_in_its_form(house: House, often: Schedule) -> None:
    admin = house.client("admin")
    span = {"from": "2026-11-20T10:00", "to": "2026-11-20T09:00:30"}
    page = admin.post(f"{HOME}/often/backfill", span, follow=True).content.decode()
    assert all(f'value="{typed}"' in page for typed in span.values())
    assert "Nothing was started. " in page
    assert "2026-11-20" not in text(admin, "often/")


def test_a_priority_of_zero_is_one(house: House, often: Schedule) -> None:
    viewer = house.client("viewer")
    assert "<dt>Priority</dt><dd>the workflow" in text(viewer, "often/")
    Schedule.objects.update(priority=0)
    assert "<dt>Priority</dt><dd>0</dd>" in text(viewer, "often/")


@pytest.mark.parametrize("kind", ["concurrency", "over_quota"])
def test_a_time_that_was_refused_says_why(house: House, often: Schedule, kind: str) -> None:
    if kind == "concurrency":
        one = {"key": "all", "limit": 1, "on_conflict": "reject"}
        document = {"steps": STEPS, "concurrency": one}
        publish_workflow(tenant=house.tenant, name="import", document=document, actor=COMMAND)
    else:
        set_quota(tenant=house.tenant, max_active_runs=1, actor=COMMAND)
    house.run()
    away(often, for_=MINUTE, late=timedelta(seconds=1))
    look()
    fire = ScheduleFire.objects.get()
    assert (fire.outcome, fire.reason) == ("failed", kind)
    page = html.unescape(text(house.client("viewer"), "often/"))
    assert fire.detail
    assert fire.detail in page
    assert f'<td class="wrap">{kind.capitalize()}' not in page, "in words"


def test_every_reason_that_is_documented_has_its_words() -> None:
    table = (settings.BASE_DIR / "docs" / "schedules.md").read_text().split("became of a time")[1]
    documented: set[str] = set()
    for row in re.findall(r"^\| `(?:skipped|failed|missed)` \|([^|]*)\|", table, re.MULTILINE):
        documented |= set(re.findall(r"`(\w+)`", row))
    assert documented == set(REASONS)


def test_past_times_and_the_run_that_came_of_one(house: House, often: Schedule) -> None:
    viewer = house.client("viewer")
    assert "No time has come yet" in text(viewer, "often/")
    away(often, late=timedelta(seconds=1))
    look()
    away(often, for_=MINUTE, late=timedelta(0))
    look()
    page = text(viewer, "often/?cursor=rubbish")
    assert "4 times since" in page
    assert "An earlier run had not ended" in page
    run_id = ScheduleFire.objects.get(outcome="started").run_id
    assert f"/t/mill/runs/{run_id}/" in page
    assert "skipped" in text(viewer)
    run = viewer.get(f"/t/mill/runs/{run_id}/").content.decode()
    assert '<a href="/t/mill/schedules/often/">often</a>' in run
    plain = viewer.get(f"/t/mill/runs/{house.run(schedule='often')}/").content.decode()
    assert "/t/mill/schedules/often/" not in plain


def test_pages_have_sections_that_live(house: House, often: Schedule) -> None:
    viewer = house.client("viewer")
    for address, section in (("", "rows"), ("often/", "fires")):
        answer = viewer.get(f"{HOME}/{address}", headers={"X-Live": "1"})
        assert f'<div id="section-{section}" hx-swap-oob' in answer.content.decode()


def test_long_lists_page(house: House, often: Schedule, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashboard.pages.schedules.LIMIT", 1)
    monkeypatch.setattr("dashboard.pages.schedules.FIRES", 1)
    other = {"name": "seldom", "workflow": "import", "cron": "@daily"}
    create_schedule(tenant=house.tenant, body=other, actor=COMMAND)
    for _ in range(2):
        away(often, for_=MINUTE, late=timedelta(seconds=1))
        look()
    viewer = house.client("viewer")
    assert "More" in text(viewer)
    assert "Older" in text(viewer, "often/")
