"""The API keys page: for admins alone; a key is shown once."""

from __future__ import annotations

import re

import pytest
from django.test import Client

from tenants import keys
from tenants.actors import COMMAND
from tenants.models import ApiKey
from tenants.services import create_api_key, create_tenant
from tests.api.client import Api
from tests.dashboard.conftest import House

HOME = "/t/mill/api-keys"


@pytest.fixture(autouse=True)
def forgotten() -> None:
    keys.forget()
    keys.guesses.forget()


def raw_of(page: str) -> str:
    found = re.search(r'<code id="raw">(mr_[a-z0-9]{8}_[\w-]{43})</code>', page)
    assert found is not None
    return found[1]


def test_it_is_for_admins_alone(house: House) -> None:
    admin, operator, stranger = house.client("admin"), house.client("operator"), house.client(None)
    key, _ = create_api_key(tenant=house.tenant, actor=COMMAND)
    foreign, _ = create_api_key(tenant=create_tenant(slug="other", actor=COMMAND), actor=COMMAND)
    for address in (f"{HOME}/", f"{HOME}/{key.prefix}/"):
        assert admin.get(address).status_code == 200
        assert operator.get(address).status_code == 403
        assert stranger.get(address).status_code == 404
    assert admin.get(f"{HOME}/{foreign.prefix}/").status_code == 404
    assert foreign.prefix not in admin.get(f"{HOME}/").content.decode()
    for action in ("create", f"{key.prefix}/rotate", f"{key.prefix}/revoke"):
        assert operator.post(f"{HOME}/{action}").status_code == 403
        assert stranger.post(f"{HOME}/{action}").status_code == 404
    for action in ("rotate", "revoke"):
        assert admin.post(f"{HOME}/{foreign.prefix}/{action}").status_code == 404
    assert ApiKey.objects.filter(revoked_at=None).count() == 2


def test_a_key_is_made_shown_once_rotated_and_revoked(house: House) -> None:
    admin = house.client("admin")
    assert "No key yet" in admin.get(f"{HOME}/").content.decode()
    form = {"name": "nightly", "scopes": ["runs:read"], "expires_at": "90d"}
    made = admin.post(f"{HOME}/create", form)
    assert (made.status_code, made["Cache-Control"]) == (200, "no-store")
    raw = raw_of(made.content.decode())
    assert Api(raw).get("/runs").status == 200
    key = ApiKey.objects.get()
    page = admin.get(f"{HOME}/").content.decode()
    assert key.prefix in page
    assert "nightly" in page
    assert raw not in page
    rotated = admin.post(f"{HOME}/{key.prefix}/rotate", {"overlap": "1h"})
    new = raw_of(rotated.content.decode())
    assert "still counts" in rotated.content.decode()
    assert Api(raw).get("/runs").status == Api(new).get("/runs").status == 200
    again = admin.post(f"{HOME}/{key.prefix}/rotate", follow=True).content.decode()
    assert "rotated before" in again
    made_id = new.rsplit("_", 1)[0][:11]
    one = admin.get(f"{HOME}/{made_id}/").content.decode()
    assert f"{HOME}/{key.prefix}/" in one
    done = admin.post(f"{HOME}/{made_id}/revoke", follow=True).content.decode()
    assert "is refused from now on" in done
    keys.forget()
    assert Api(new).get("/runs").status == 401
    assert "Rotate" not in admin.get(f"{HOME}/{made_id}/").content.decode()


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"scopes": []}, "Scopes: names no scope"),
        ({"scopes": ["all"]}, "Scopes:"),
        ({"scopes": ["admin"], "expires_at": "soon"}, "It ends after: expires_at is RFC 3339"),
    ],
)
def test_what_is_wrong_is_said(house: House, form: dict[str, object], said: str) -> None:
    page = house.client("admin").post(f"{HOME}/create", form, follow=True).content.decode()
    assert f"No key was made. {said}" in page
    assert not ApiKey.objects.exists()


def test_pages_of_keys(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    admin: Client = house.client("admin")
    first, _ = create_api_key(tenant=house.tenant, actor=COMMAND)
    create_api_key(tenant=house.tenant, actor=COMMAND)
    monkeypatch.setattr("dashboard.pages.api_keys.LIMIT", 1)
    page = admin.get(f"{HOME}/?cursor=rubbish").content.decode()
    assert first.prefix not in page
    after = re.search(r'rel="next" href="(\?cursor=[^"]+)"', page)
    assert after is not None
    assert first.prefix in admin.get(f"{HOME}/{after[1]}").content.decode()
