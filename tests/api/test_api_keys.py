"""API keys over the API: shown once, for keys with the scope admin, within their tenant."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone

from tenants import keys
from tenants.guesses import Guesses
from tenants.models import ApiKey, AuditEntry, Tenant
from tests.api.client import Api


@pytest.fixture(autouse=True)
def forgotten() -> None:
    keys.forget()
    keys.guesses.forget()


def test_a_key_is_made_used_listed_and_ended(api: Api, tenant: Tenant) -> None:
    made = api.post("/api-keys", {"name": "ci", "scopes": ["runs:read"], "expires_at": "90d"})
    assert (made.status, made.headers["Cache-Control"]) == (201, "no-store")
    raw, key_id = made.body["key"], made.body["id"]
    assert raw.startswith(f"{key_id}_")
    assert made.headers["Location"] == f"/api/v1/api-keys/{key_id}"
    assert (made.body["state"], made.body["last_used_at"]) == ("active", None)
    assert Api(raw).get("/runs").status == 200
    assert Api(raw).get("/api-keys").code == "missing_scope"
    found = api.get(f"/api-keys/{key_id}").body
    assert "key" not in found
    assert found["last_used_at"] is not None
    page = api.get("/api-keys?limit=1")
    assert [one["id"] for one in page.body["items"]] == [key_id]
    assert raw not in page.text
    rest = api.get(f"/api-keys?cursor={page.body['next_cursor']}").body
    assert len(rest["items"]) == 1
    assert rest["next_cursor"] is None
    assert api.delete(f"/api-keys/{key_id}").status == 204
    keys.forget()
    assert Api(raw).get("/runs").status == 401
    assert api.delete(f"/api-keys/{key_id}").status == 204
    assert api.get(f"/api-keys/{key_id}").body["state"] == "revoked"
    entries = AuditEntry.objects.filter(tenant=tenant, target=key_id).order_by("id")
    assert [one.action for one in entries] == ["api_key.created", "api_key.revoked"]
    assert all(one.actor.startswith("key:mr_") for one in entries)


def test_a_key_without_a_body_may_do_everything(api: Api) -> None:
    made = api.post("/api-keys")
    assert made.status == 201
    assert made.body["scopes"] == list(keys.SCOPES)
    assert made.body["expires_at"] is None


@pytest.mark.parametrize(
    ("body", "findings"),
    [
        ([], {("", "wrong_type")}),
        ({"scope": []}, {("/scope", "unknown_key")}),
        ({"scopes": []}, {("/scopes", "out_of_range")}),
        ({"scopes": "runs:read"}, {("/scopes", "wrong_type")}),
        ({"scopes": ["runs:red", 1]}, {("/scopes/0", "wrong_enum"), ("/scopes/1", "wrong_type")}),
        ({"name": "x" * 201}, {("/name", "out_of_range")}),
        ({"expires_at": "soon"}, {("/expires_at", "bad_time")}),
        ({"expires_at": "2020-01-01T00:00:00Z"}, {("/expires_at", "out_of_range")}),
        ({"expires_at": "9999-01-01T00:00:00Z"}, {("/expires_at", "out_of_range")}),
    ],
)
def test_bad_bodies(api: Api, body: object, findings: set[tuple[str, str]]) -> None:
    answer = api.post("/api-keys", body)
    assert (answer.status, answer.code) == (422, "invalid_request")
    assert answer.findings == findings
    assert ApiKey.objects.count() == 1


def test_rotation_with_overlap(api: Api) -> None:
    made = api.post("/api-keys", {"name": "ci", "scopes": ["runs:read"]}).body
    rotated = api.post(f"/api-keys/{made['id']}/rotate", {"overlap": "2h"})
    assert (rotated.status, rotated.headers["Cache-Control"]) == (201, "no-store")
    assert rotated.body["rotated_from"] == made["id"]
    assert (rotated.body["name"], rotated.body["scopes"]) == ("ci", ["runs:read"])
    for raw in (made["key"], rotated.body["key"]):
        assert Api(raw).get("/runs").status == 200
    old = ApiKey.objects.get(prefix=made["id"])
    assert old.expires_at is not None
    left = old.expires_at - timezone.now()
    assert timedelta(hours=1, minutes=59) < left <= timedelta(hours=2)
    again = api.post(f"/api-keys/{made['id']}/rotate")
    assert (again.status, again.code) == (409, "api_key_ended")
    wrong = api.post(f"/api-keys/{rotated.body['id']}/rotate", {"overlap": "-1s"})
    assert wrong.findings == {("/overlap", "bad_duration")}
    at_once = api.post(f"/api-keys/{rotated.body['id']}/rotate", {"overlap": 0})
    assert at_once.status == 201
    keys.forget()  # as on commit
    assert Api(rotated.body["key"]).get("/runs").status == 401


def test_other_tenants_keys_are_not_there(
    api: Api, stranger: Api, tenant: Tenant, key_of: Callable[..., Api]
) -> None:
    made = api.post("/api-keys", {"name": "ours"}).body
    for key_id in (made["id"], "mr_absent00", "%00"):
        answers = (
            stranger.get(f"/api-keys/{key_id}"),
            stranger.delete(f"/api-keys/{key_id}"),
            stranger.post(f"/api-keys/{key_id}/rotate", raw=b"{nonsense"),
        )
        assert {(one.status, one.code) for one in answers} == {(404, "api_key_not_found")}
    assert made["id"] not in stranger.get("/api-keys").text
    assert api.get(f"/api-keys/{made['id']}").body["state"] == "active"
    lower = key_of(tenant, *(scope for scope in keys.SCOPES if scope != "admin"))
    assert lower.get("/api-keys").code == "missing_scope"
    assert lower.post("/api-keys").code == "missing_scope"


def test_guessed_keys_are_slowed_down(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "guesses", Guesses(burst=20, per_s=0.01))
    assert api.get("/runs").status == 200
    wrong = Api("mr_abcdefgh_" + "x" * 43)
    codes = {wrong.get("/runs").code for _ in range(20)}
    assert codes == {"invalid_key"}
    answer = wrong.get("/runs")
    assert (answer.status, answer.code) == (429, "too_many_guesses")
    assert 90 <= int(answer.headers["Retry-After"]) <= 100
    assert Api(None).get("/runs").status == 401
    assert api.get("/runs").status == 200
