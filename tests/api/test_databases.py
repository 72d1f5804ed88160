"""Which database steps use, over HTTP: read, set elsewhere, set back; the address is never shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from orchestrator.conf import conf
from orchestrator.embedded import paths
from tenants import services
from tenants.actors import SYSTEM
from tenants.models import Tenant, TenantDatabase
from tests.api.client import Api
from tests.connections.door import Door

ADDRESS = "postgresql://app:secret@127.0.0.1:1/shop"

BROKEN: dict[str, tuple[object, set[tuple[str, str]]]] = {
    "no object": ([], {("", "wrong_type")}),
    "nothing": ({}, {("", "missing")}),
    "no text": ({"address": 1}, {("/address", "wrong_type")}),
    "unknown key": ({"address": ADDRESS, "addres": 1}, {("/addres", "unknown_key")}),
    "too long": ({"address": "x" * 2001}, {("/address", "out_of_range")}),
    "no address": ({"address": "shop"}, {("/address", "bad_address")}),
    "private": ({"address": ADDRESS}, {("/address", "bad_address")}),
    "a socket": ({"address": "postgresql://a:secret@/b?host=/tmp"}, {("/address", "bad_address")}),
}


def test_a_tenant_begins_with_its_schema(api: Api, tenant: Tenant) -> None:
    shown = api.get("/database").body
    assert {**shown, "updated_at": 0} == {
        "schema_name": f"tenant_{tenant.pk}",
        "external": None,
        "max_connections": 10,
        "updated_at": 0,
        "waits": {"count": 0, "seconds": 0, "last_at": None},
    }


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_wrong_is_named(api: Api, tenant: Tenant, kind: str) -> None:
    body, findings = BROKEN[kind]
    answer = api.put("/database", body)
    assert (answer.status, answer.code) == (422, "invalid_request"), answer.text
    assert answer.findings == findings
    assert "secret" not in answer.text
    assert TenantDatabase.objects.get(tenant=tenant).external is None


@pytest.fixture
def door(db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    """A database at a private address, which is allowed here."""
    monkeypatch.setenv("ORCHESTRATOR_DATABASE_ALLOW_PRIVATE", "true")
    conf.cache_clear()
    found = Door()
    yield found
    found.close()
    conf.cache_clear()


def test_set_elsewhere_and_back(api: Api, stranger: Api, tenant: Tenant, door: Door) -> None:
    address = door.login()
    password = address.split(":")[2].split("@")[0]
    shown = f"{paths.DATABASE_ROLE}@127.0.0.1:{door.port}/{door.database}"
    answer = api.put("/database", {"address": address})
    assert (answer.status, answer.body["external"]) == (200, shown), answer.text
    assert password not in answer.text + api.get("/database").text
    assert stranger.get("/database").body["external"] is None
    assert stranger.delete("/database").status == 204
    assert api.get("/database").body["external"] == shown
    wrong = api.put("/database", {"address": address.replace(password, "wrong-one")})
    assert (wrong.status, wrong.findings) == (422, {("/address", "bad_address")})
    assert "wrong-one" not in wrong.text
    assert api.get("/database").body["external"] == shown
    assert api.delete("/database").status == 204
    assert api.delete("/database").status == 204
    assert api.get("/database").body["external"] is None


def test_only_admins(tenant: Tenant, key_of: Callable[..., Api]) -> None:
    services.clear_external_database(tenant=tenant, actor=SYSTEM)
    lower = key_of(tenant, "runs:read", "runs:write", "workflows:write")
    for answer in (lower.get("/database"), lower.put("/database", {}), lower.delete("/database")):
        assert (answer.status, answer.code) == (403, "missing_scope")
