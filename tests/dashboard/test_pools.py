"""The Pools page: use and waiting, who may resize, hosts that fail; the server's pools in the admin."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from orchestrator.models import Breaker, Pool
from orchestrator.services.pools import create_pool
from orchestrator.services.workflows import publish_workflow
from tenants.actors import COMMAND
from tenants.models import AuditEntry
from tests.dashboard.conftest import House

PAGE = "/t/mill/pools/"
TYPED = {"name": "p", "limit": "x", "rate": "y"}


def test_an_empty_page_says_what_a_pool_is(house: House) -> None:
    text = house.client("viewer").get(PAGE).content.decode()
    assert "No pool yet" in text
    assert "Resize or make" not in text


def test_use_waiting_and_the_servers_pools(house: House) -> None:
    create_pool(tenant=None, body={"name": "shared", "limit": 0}, actor=COMMAND)
    create_pool(tenant=house.tenant, body={"name": "p", "limit": 1, "rate": "9/1m"}, actor=COMMAND)
    steps = [{"name": n, "handler": "core.echo", "args": {}, "pool": "p"} for n in "abc"]
    publish_workflow(tenant=house.tenant, name="pooled", document={"steps": steps}, actor=COMMAND)
    run_id = house.run("pooled")
    house.engine.claim()
    client = house.client("viewer")
    text = client.get(PAGE).content.decode()
    for words in ("shared", ">server<", "9/1m", "paused", '1 <span class="muted">of 1</span>'):
        assert words in text, words
    assert client.get(PAGE + "?cursor=rubbish").status_code == 200
    assert "Its pool lets none start now" in client.get(f"/t/mill/runs/{run_id}/").content.decode()
    live = client.get(PAGE, headers={"X-Live": "1"}).content.decode()
    assert '<div id="section-rows" hx-swap-oob="innerMorph">' in live
    assert house.client(None).get(PAGE).status_code == 404


@pytest.mark.parametrize(
    ("role", "status"), [("admin", 302), ("operator", 403), ("viewer", 403), (None, 404)]
)
def test_admins_make_resize_and_delete_pools(house: House, role: str | None, status: int) -> None:
    client = house.client(role)
    made = client.post(PAGE + "set", {"name": "p", "limit": "3", "rate": "5/1s"})
    assert made.status_code == status
    assert Pool.objects.filter(name="p", max_places=3, rate="5/1s").exists() == (status == 302)
    if role == "admin":
        client.post(PAGE + "set", {"name": "p", "limit": "0"})
        pool = Pool.objects.get()
        assert (pool.max_places, pool.rate) == (0, "")
        wrong = client.post(PAGE + "set", TYPED, follow=True)
        text = wrong.content.decode()
        assert "Nothing was changed" in text
        assert all(f'name="{name}" value="{value}"' in text for name, value in TYPED.items())
    gone = client.post(PAGE + "delete", {"name": "p"})
    assert gone.status_code == status
    assert not Pool.objects.exists()
    if role == "admin":
        absent = client.post(PAGE + "delete", {"name": "p"}, follow=True)
        assert "There is no such pool" in absent.content.decode()
    actions = list(AuditEntry.objects.filter(target="p").values_list("action", flat=True))
    expected = ["pool.created", "pool.changed", "pool.deleted"] if status == 302 else []
    assert sorted(actions) == sorted(expected)


def test_hosts_that_fail_are_shown(house: House) -> None:
    now = timezone.now()
    for host, state, at in (
        ("a.example", "open", now),
        ("b.example", "half_open", now),
        ("c.example", "closed", None),
    ):
        Breaker.objects.create(
            tenant=house.tenant, host=host, state=state, failures=5, opened_at=at,
            retry_at=at and at + timedelta(seconds=30),
        )  # fmt: skip
    text = house.client("viewer").get(PAGE).content.decode()
    for words in ("a.example", "b.example", "c.example", "one step tries", "closed, counting"):
        assert words in text


def test_staff_set_the_servers_pools_in_the_admin(house: House) -> None:
    staff = house.client(None, staff=True)
    page = "/admin/orchestrator/pool/"
    assert staff.get(page).status_code == 200
    assert staff.get(page + "add/").status_code == 200
    made = staff.post(page + "add/", {"name": "shared", "limit": "4", "rate": ""})
    assert made.status_code == 302
    pool = Pool.objects.get()
    assert (pool.tenant_id, pool.max_places) == (None, 4)
    change = f"{page}{pool.pk}/change/"
    assert staff.get(change).status_code == 200
    staff.post(change, {"limit": "2", "rate": "10/1s"})
    pool.refresh_from_db()
    assert (pool.max_places, pool.rate) == (2, "10/1s")
    again = staff.post(page + "add/", {"name": "shared", "limit": "4"}, follow=True)
    assert "there already" in again.content.decode()
    bad = staff.post(change, {"limit": "2", "rate": "often"}, follow=True)
    assert "a rate is" in bad.content.decode()
    Pool.objects.update(in_use=1)
    delete = f"{page}{pool.pk}/delete/"
    held = staff.post(delete, {"post": "yes"}, follow=True)
    assert "Steps hold 1 of its places" in held.content.decode()
    Pool.objects.update(in_use=0)
    staff.post(delete, {"post": "yes"})
    assert not Pool.objects.exists()
    actions = AuditEntry.objects.filter(tenant=None, target="shared").order_by("id")
    assert [entry.action for entry in actions] == ["pool.created", "pool.changed", "pool.deleted"]
    create_pool(tenant=house.tenant, body={"name": "its-own-pool", "limit": 1}, actor=COMMAND)
    assert "its-own-pool" not in staff.get(page).content.decode()
