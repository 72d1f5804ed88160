"""Secrets over HTTP: values come in and never go out."""

from __future__ import annotations

from typing import Any

import pytest

from tenants.models import Secret, Tenant
from tests.api.client import Api

VALUE = "correct horse battery"


def test_values_come_in_and_never_go_out(api: Api, tenant: Tenant) -> None:
    made = api.post("/secrets", {"name": "TOKEN", "value": VALUE})
    assert (made.status, made.headers["Location"]) == (201, "/api/v1/secrets/TOKEN")
    assert made.body["updated_by"].startswith("key:mr_")
    assert (made.body["version"], made.body["last_used_at"]) == (1, None)
    changed = api.put("/secrets/TOKEN", {"value": VALUE + "!"})
    assert (changed.status, changed.body["version"]) == (200, 2)
    assert api.put("/secrets/OTHER", {"name": "OTHER", "value": VALUE}).status == 201
    detail = api.get("/secrets/TOKEN")
    assert [one["version"] for one in detail.body["versions"]] == [2, 1]
    listed = api.get("/secrets?limit=1").body
    assert [one["name"] for one in listed["items"]] == ["OTHER"]
    rest = api.get(f"/secrets?limit=1&cursor={listed['next_cursor']}").body
    assert ([one["name"] for one in rest["items"]], rest["next_cursor"]) == (["TOKEN"], None)
    for answer in (made, changed, detail):
        assert VALUE not in answer.text
        assert "sealed" not in answer.text
    taken = api.post("/secrets", {"name": "TOKEN", "value": VALUE})
    assert (taken.status, taken.code) == (409, "already_exists")
    assert api.delete("/secrets/TOKEN").status == 204
    assert api.delete("/secrets/TOKEN").code == "secret_not_found"
    assert api.get("/secrets/TOKEN").code == "secret_not_found"
    assert Secret.objects.filter(tenant=tenant).count() == 1


BAD: dict[str, tuple[object, set[tuple[str, str]]]] = {
    "no object": ([], {("", "wrong_type")}),
    "nothing": ({}, {("", "missing")}),
    "no text": ({"name": "A", "value": 12345}, {("/value", "wrong_type")}),
    "too short": ({"name": "A", "value": "abc"}, {("/value", "out_of_range")}),
    "too large": ({"name": "A", "value": "x" * 65_537}, {("/value", "out_of_range")}),
    "a bad name": ({"name": "a-b", "value": VALUE}, {("/name", "out_of_range")}),
    "unknown": ({"name": "A", "value": VALUE, "valeu": 1}, {("/valeu", "unknown_key")}),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_cannot_be_kept_is_refused(api: Api, kind: str) -> None:
    body, findings = BAD[kind]
    answer = api.post("/secrets", body)
    assert (answer.status, answer.code) == (422, "invalid_request")
    assert answer.findings == findings
    assert not Secret.objects.exists()


def test_a_name_in_the_body_is_the_addresss(api: Api) -> None:
    answer = api.put("/secrets/A", {"name": "B", "value": VALUE})
    assert answer.findings == {("/name", "name_mismatch")}
    assert api.put("/secrets/a-b", {"value": VALUE}).findings == {("/name", "out_of_range")}


def test_there_are_so_many_at_most(
    api: Api, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenants.services.secrets.MOST", 1)
    assert api.put("/secrets/A", {"value": VALUE}).status == 201
    assert api.put("/secrets/A", {"value": VALUE}).status == 200
    assert api.put("/secrets/B", {"value": VALUE}).findings == {("/name", "out_of_range")}


def test_publishing_warns_of_names_that_there_are_not(api: Api) -> None:
    assert api.put("/secrets/KNOWN", {"value": VALUE}).status == 201
    call = {"handler": "core.echo", "args": {"x": "${{ secrets.UNDO }}"}}
    step: dict[str, Any] = {
        "name": "a",
        "handler": "core.echo",
        "args": {"x": ["${{ secrets.KNOWN }}", "Bearer ${{ secrets.ARGS }}"]},
        "if": "${{ secrets.ARGS != '' }}",
        "undo": call,
    }
    document = {"steps": [step], "output": "${{ secrets.OUT }}"}
    for path, status in (("/workflows/w?dry_run=true", 200), ("/workflows/w", 201)):
        answer = api.put(path, document)
        assert answer.status == status
        assert [(one["path"], one["message"]) for one in answer.body["warnings"]] == [
            ("/output", "there is no secret OUT yet"),
            ("/steps/0", "there is no secret ARGS yet"),
            ("/steps/0/undo", "there is no secret UNDO yet"),
        ]
    plain = {"steps": [{"name": "a", "handler": "core.echo"}]}
    assert "warnings" not in api.put("/workflows/plain", plain).body
    key = {**plain, "concurrency": {"key": "${{ secrets.KNOWN }}"}}
    assert api.put("/workflows/key", key).findings == {("/concurrency/key", "bad_expression")}


def test_a_name_that_no_secret_can_have_is_absent(api: Api) -> None:
    assert api.delete("/secrets/%00").status == 404
