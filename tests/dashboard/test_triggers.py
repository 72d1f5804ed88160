"""The pages of triggers: by every role, what their forms do, and a secret shown once."""

from __future__ import annotations

import re

import pytest
from django.test import Client

from orchestrator.models import Trigger
from orchestrator.services.triggers import create_trigger
from tenants.actors import COMMAND
from tests.api.hooks import send
from tests.dashboard.conftest import House

HOME = "/t/mill/triggers"
FORM = {
    "name": "shop", "workflow": "import", "scheme": "millrace", "input": '{"day": "${{ body.day }}"}',
    "labels": "", "priority": "2", "dedup_key": "${{ body.id }}", "rate": "5/1s", "enabled": "on",
}  # fmt: skip


@pytest.fixture
def secret(house: House) -> str:
    """The secret of a trigger `orders`."""
    body = {"name": "orders", "workflow": "import", "labels": {"by": "hook"}}
    return create_trigger(tenant=house.tenant, body=body, actor=COMMAND)[1]


def text(client: Client, address: str = "") -> str:
    answer = client.get(f"{HOME}/{address}")
    assert answer.status_code == 200
    return answer.content.decode()


def test_lists_are_for_members_and_forms_for_admins(house: House, secret: str) -> None:
    viewer, admin, stranger = house.client("viewer"), house.client("admin"), house.client(None)
    for address in ("", "orders/"):
        assert "/hooks/mill/orders" in text(viewer, address)
        assert secret not in text(admin, address)
        assert stranger.get(f"{HOME}/{address}").status_code == 404
    assert "New trigger" not in text(viewer)
    assert "New secret" not in text(viewer, "orders/")
    assert "New secret" in text(admin, "orders/")
    for address in ("+new", "orders/edit"):
        assert viewer.get(f"{HOME}/{address}").status_code == 403
        assert stranger.get(f"{HOME}/{address}").status_code == 404
        assert admin.get(f"{HOME}/{address}").status_code == 200
    for action in ("rotate", "delete"):
        assert viewer.post(f"{HOME}/orders/{action}").status_code == 403
        assert stranger.post(f"{HOME}/orders/{action}").status_code == 404
        assert admin.post(f"{HOME}/absent/{action}").status_code == 404
    for address in ("absent/", "absent/edit"):
        assert admin.get(f"{HOME}/{address}").status_code == 404


def test_a_priority_of_zero_is_one(house: House, secret: str) -> None:
    viewer = house.client("viewer")
    assert "<dt>Priority</dt><dd>the workflow" in text(viewer, "orders/")
    Trigger.objects.update(priority=0)
    assert "<dt>Priority</dt><dd>0</dd>" in text(viewer, "orders/")


def test_an_empty_list_says_how_to_begin(house: House) -> None:
    assert "No trigger yet" in text(house.client("viewer"), "?cursor=rubbish")
    assert "Make the first one" in text(house.client("admin"))


def test_making_one_shows_its_secret_once(house: House) -> None:
    admin = house.client("admin")
    made = admin.post(f"{HOME}/+new", FORM)
    assert (made.status_code, made["Cache-Control"]) == (200, "no-store")
    found = re.search(r"mrwh_[\w-]{43}", made.content.decode())
    assert found is not None
    answer = send("/hooks/mill/shop", {"day": "x", "id": 1}, secret=found[0])
    assert answer.status == 202
    page = text(admin, "shop/")
    assert found[0] not in page
    assert f"/t/mill/runs/{answer.body['id']}/" in page
    assert "${{ body.day }}" in page
    shown = text(admin, "shop/edit")
    for value in ("${{ body.id }}", "5/1s", "${{ body.day }}"):
        assert value in shown
    assert "checked" in shown
    changed = admin.post(f"{HOME}/shop/edit", {**FORM, "enabled": "", "input": ""}, follow=True)
    assert "The trigger shop is saved." in changed.content.decode()
    row = Trigger.objects.get()
    assert (row.enabled, row.input, row.priority) == (False, None, 2)
    assert send("/hooks/mill/shop", {}, secret=found[0]).status == 401
    assert "the trigger was off" in text(admin, "shop/")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"rate": "x"}, "At most</a>: a rate is"),
        ({"input": "{"}, "Input</a>: is no JSON"),
        ({"priority": "high"}, "Priority</a>: must be a whole number"),
        ({"name": "orders"}, "The trigger orders is there already."),
    ],
)
def test_what_is_wrong_is_said_beside_what_was_typed(
    house: House, secret: str, more: dict[str, str], said: str
) -> None:
    answer = house.client("admin").post(f"{HOME}/+new", {**FORM, **more})
    assert answer.status_code == 422
    page = answer.content.decode()
    assert said in page
    assert "${{ body.id }}" in page
    assert Trigger.objects.count() == 1


def test_a_new_secret_and_the_end(house: House, secret: str) -> None:
    admin = house.client("admin")
    rotated = admin.post(f"{HOME}/orders/rotate")
    found = re.search(r"mrwh_[\w-]{43}", rotated.content.decode())
    assert found is not None
    assert found[0] != secret
    assert rotated["Cache-Control"] == "no-store"
    assert "The secret before counts until" in text(admin, "orders/")
    gone = admin.post(f"{HOME}/orders/delete", follow=True)
    assert "The trigger orders is deleted." in gone.content.decode()
    assert not Trigger.objects.exists()


def test_deliveries(house: House, secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    viewer = house.client("viewer")
    assert "Nothing has come yet" in text(viewer, "orders/")
    send("/hooks/mill/orders", {"n": 1}, secret=secret)
    send("/hooks/mill/orders", raw=b"{", secret=secret)
    send("/hooks/mill/orders", {}, secret="wrong")
    page = text(viewer, "orders/?cursor=rubbish")
    assert "malformed_json" in page
    assert "the signature was not right" in page
    monkeypatch.setattr("dashboard.pages.triggers.DELIVERIES", 1)
    monkeypatch.setattr("dashboard.pages.triggers.LIMIT", 1)
    assert "Older" in text(viewer, "orders/")
    other = {"name": "zebra", "workflow": "import"}
    create_trigger(tenant=house.tenant, body=other, actor=COMMAND)
    assert "More" in text(viewer)
    answer = viewer.get(f"{HOME}/orders/", headers={"X-Live": "1"})
    assert '<div id="section-deliveries" hx-swap-oob' in answer.content.decode()
