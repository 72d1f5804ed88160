"""The Usage page, and what staff see and set of tenants."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from orchestrator.models import Rollup, Storage, Usage
from tenants.actors import COMMAND
from tenants.models import AuditEntry, Quota, QuotaOverride, Tenant
from tenants.services import end_override, set_quota
from tests.dashboard.conftest import House
from tests.inputs import inputs

PAGE = "/t/mill/usage/"
STAFF = "/staff/tenants/mill/"


def hour(house: House, ago: int, **values: int) -> None:
    at = timezone.now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=ago)
    Usage.objects.create(tenant_id=house.tenant.pk, width_s=3600, at=at, **values)
    Rollup.objects.create(
        tenant_id=house.tenant.pk, workflow_id=0, width_s=3600, at=at, submitted=4321
    )


def test_use_against_limits_with_a_forecast(house: House) -> None:
    until = timezone.now() + timedelta(hours=1)
    set_quota(tenant=house.tenant, actor=COMMAND, max_storage_bytes=4 * 1024**3, max_active_runs=1)
    set_quota(tenant=house.tenant, actor=COMMAND, weight=2.5, until=until, reason="sale")
    for ago in range(1, 4):
        hour(house, ago, requests=1234, bytes=5 * 1024**2, storage_bytes=(4 - ago) * 1024**3)
    Storage.objects.create(tenant_id=house.tenant.pk, bytes=3 * 1024**3 + 512 * 1024**2)
    house.run()
    client = house.client("viewer")
    text = client.get(PAGE).content.decode()
    for words in (
        "3.5 GiB",
        "4 GiB",
        "no limit",
        "if it goes on so",
        "sale",
        "13.0k",
        "3,702",
        "15 MiB",
    ):
        assert words in text, words
    assert client.get(PAGE + "?window=rubbish").status_code == 200
    live = client.get(PAGE, headers={"X-Live": "1"}).content.decode()
    assert '<div id="section-limits" hx-swap-oob="innerMorph">' in live
    assert house.client(None).get(PAGE).status_code == 404


def test_staff_see_use_shares_and_fairness(house: House) -> None:
    set_quota(tenant=house.tenant, actor=COMMAND, max_active_runs=7)
    minute = timezone.now().replace(second=0, microsecond=0) - timedelta(minutes=1)
    for at in (minute, minute + timedelta(minutes=1)):  # whichever is the last whole one
        Usage.objects.create(
            tenant_id=house.tenant.pk, width_s=60, at=at, entitled_s=60, received_s=60
        )
    house.run()
    text = house.client(None, staff=True).get("/staff/tenants/").content.decode()
    for words in (STAFF, "100 %", "1.00", '<span class="muted">of 7</span>'):
        assert words in text, words


@pytest.mark.parametrize("role", ["admin", "viewer", None])
def test_others_than_staff_do_not_find_it(house: House, role: str | None) -> None:
    client = house.client(role)
    assert client.get(STAFF).status_code == 404
    assert client.post(STAFF, {"do": "suspend", "reason": "x"}).status_code == 404
    assert Tenant.objects.get().suspended_at is None


def form(**values: str) -> dict[str, str]:
    """The form as it is sent unless something is typed."""
    quota = Quota.objects.get()
    sent = {
        field.name: "" if (value := getattr(quota, field.name)) is None else str(value)
        for field in Quota._meta.fields
        if field.name not in ("tenant", "keep_outputs", "updated_at")
    }
    return {**sent, "until": "", "reason": "", **values}


def test_limits_are_previewed_and_set_for_good_or_for_a_time(house: House) -> None:
    client = house.client(None, staff=True)
    assert client.get("/staff/tenants/none/").status_code == 404
    assert "no limit" in client.get(STAFF).content.decode()
    seen = client.post(STAFF, form(max_connections="3", do="preview"))
    assert "nothing is saved yet" in seen.content.decode()
    assert [one.after for one in seen.context["impacts"]] == [3]
    assert "Nothing would change" in client.post(STAFF, form(do="preview")).content.decode()
    assert Quota.objects.get().max_connections == 10
    sent = form(max_connections="3", max_active_runs="9", reason="small", do="save")
    assert client.post(STAFF, sent).status_code == 302
    assert (Quota.objects.get().max_connections, Quota.objects.get().max_active_runs) == (3, 9)
    sent = form(max_connections="30", until="2h", reason="sale", do="save")
    assert "They act at once" in client.post(STAFF, sent, follow=True).content.decode()
    assert QuotaOverride.objects.get().base == 3
    text = client.get(STAFF).content.decode()
    for words in ("End now", "sale", "small", "user:stranger-staff"):
        assert words in text, words
    client.post(STAFF, {"do": "end max_connections"})
    assert Quota.objects.get().max_connections == 3
    text = client.post(STAFF, form(do="save"), follow=True).content.decode()
    assert "Nothing was changed" in text
    client.post(STAFF, form(max_connections="30", until="2h", do="save"))
    assert "Keep for good" in client.get(STAFF).content.decode()
    text = client.post(STAFF, form(do="keep max_connections"), follow=True).content.decode()
    assert "max_connections is for good what it was set to" in text
    assert not QuotaOverride.objects.exists()
    assert Quota.objects.get().max_connections == 30


def test_a_form_that_was_left_open_sets_what_was_typed_alone(house: House) -> None:
    client = house.client(None, staff=True)
    until = timezone.now() + timedelta(hours=1)
    set_quota(tenant=house.tenant, actor=COMMAND, max_connections=50, until=until)
    shown = inputs(client.get(STAFF))
    end_override(tenant=house.tenant, name="max_connections", actor=COMMAND)
    set_quota(tenant=house.tenant, actor=COMMAND, max_active_runs=9)
    wrong = client.post(STAFF, shown | {"weight": "none", "do": "save"})
    assert wrong.status_code == 422
    client.post(STAFF, inputs(wrong) | {"weight": "2", "do": "save"})
    quota = Quota.objects.get()
    assert (quota.max_connections, quota.max_active_runs, quota.weight) == (10, 9, 2)
    assert AuditEntry.objects.latest("pk").after == {"weight": 2.0}


@pytest.mark.parametrize(
    "wrong",
    [{"max_connections": ""}, {"weight": "0"}, {"max_active_runs": "x"}, {"until": "soon"},
     {"until": "2001-01-01T00:00:00Z", "weight": "3.0"}],
)  # fmt: skip
def test_what_is_wrong_is_said_and_nothing_is_saved(house: House, wrong: dict[str, str]) -> None:
    answer = house.client(None, staff=True).post(STAFF, form(**wrong, do="save"))
    assert answer.status_code == 422
    assert "Nothing was saved" in answer.content.decode()
    assert not QuotaOverride.objects.exists()
    assert Quota.objects.get().weight == 1.0


def test_suspend_and_resume_with_a_reason(house: House) -> None:
    client = house.client(None, staff=True)
    client.post(STAFF, {"do": "suspend", "reason": " "})
    assert Tenant.objects.get().suspended_at is None
    text = client.post(STAFF, {"do": "suspend", "reason": "unpaid"}, follow=True).content.decode()
    assert "unpaid" in text
    client.post(STAFF, {"do": "resume"})
    assert Tenant.objects.get().suspended_at is None
    assert (
        "Nothing was changed" in client.post(STAFF, {"do": "dance"}, follow=True).content.decode()
    )
