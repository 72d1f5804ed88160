"""The pages Secrets and Audit log: for admins, without values, with what has changed."""

from __future__ import annotations

import pytest

from dashboard.pages.audit import Change, changes
from tenants.actors import COMMAND, Actor
from tenants.models import AuditEntry, Secret
from tenants.sealing import unseal
from tenants.services import create_secret, record
from tenants.services.secrets import PURPOSE
from tests.api.client import streamed
from tests.dashboard.conftest import House

VALUE = "correct horse battery"
PAGES = ("secrets/", "secrets/TOKEN/", "audit/", "audit/csv", "audit/ndjson")


@pytest.mark.parametrize("path", PAGES)
def test_admins_alone(house: House, path: str) -> None:
    create_secret(tenant=house.tenant, name="TOKEN", value=VALUE, actor=COMMAND)
    assert house.client("admin").get(f"/t/mill/{path}").status_code == 200
    assert house.client("operator").get(f"/t/mill/{path}").status_code == 403
    assert house.client(None).get(f"/t/mill/{path}").status_code == 404
    shown = house.client("viewer").get("/t/mill/").content.decode()
    assert "/t/mill/secrets/" not in shown
    assert "/t/mill/audit/" not in shown


def test_a_secret_is_made_changed_and_deleted_and_never_shown(house: House) -> None:
    client = house.client("admin")
    assert "No secret yet" in client.get("/t/mill/secrets/").content.decode()
    told = client.post("/t/mill/secrets/+new", {"name": "TOKEN", "value": VALUE}, follow=True)
    page = told.content.decode()
    assert "secrets.TOKEN" in page
    assert VALUE not in page
    again = client.post("/t/mill/secrets/+new", {"name": "TOKEN", "value": VALUE}, follow=True)
    assert "is there already" in again.content.decode()
    changed = client.post("/t/mill/secrets/TOKEN/change", {"value": VALUE + "!"}, follow=True)
    assert "Version 2 is kept" in changed.content.decode()
    refused = client.post("/t/mill/secrets/TOKEN/change", {"value": "abc"}, follow=True)
    assert "Nothing was changed" in refused.content.decode()
    assert VALUE not in client.get("/t/mill/secrets/TOKEN/").content.decode()
    assert client.post("/t/mill/secrets/TOKEN/delete").status_code == 302
    assert not Secret.objects.exists()
    assert client.get("/t/mill/secrets/TOKEN/").status_code == 404
    assert client.post("/t/mill/secrets/TOKEN/delete").status_code == 404
    for path in ("secrets/+new", "secrets/TOKEN/change", "secrets/TOKEN/delete"):
        assert house.client("operator").post(f"/t/mill/{path}").status_code == 403
        break


def test_a_value_of_several_lines_is_kept_as_a_file_has_it(house: House) -> None:
    """Browsers send the lines of a form with CR LF, which no PEM file has."""
    client = house.client("admin")
    for path, typed, kept in (
        ("+new", {"name": "TOKEN", "value": "a\r\nbcd\r\n"}, "a\nbcd\n"),
        ("TOKEN/change", {"value": "e\r\nfgh"}, "e\nfgh"),
    ):
        assert client.post(f"/t/mill/secrets/{path}", typed).status_code == 302
        assert unseal(bytes(Secret.objects.get().sealed), purpose=PURPOSE) == kept


def test_the_log_shows_what_has_changed_and_keeps_its_filters(house: House) -> None:
    ada = Actor("user", "ada", "192.0.2.7")
    for number in range(60):
        record(
            tenant=house.tenant, actor=ada, action="quota.set", target=f"q{number}",
            before={"max_connections": number, "weight": 1}, after={"max_connections": 99, "weight": 1},
        )  # fmt: skip
    client = house.client("admin")
    page = client.get("/t/mill/audit/?action=quota.*").content.decode()
    assert "<del>59</del> <ins>99</ins>" in page
    assert "weight" not in page
    assert "?action=quota.%2A&amp;cursor=" in page
    assert "q59" in page
    assert "q0<" not in page
    assert "No entry matches" in client.get("/t/mill/audit/?target=absent").content.decode()
    assert client.get("/t/mill/audit/?cursor=x&period=nonsense").status_code == 200
    file = streamed(client.get("/t/mill/audit/csv?target=q7"))  # type: ignore[arg-type]
    assert file.decode().count("quota.set") == 1
    assert client.get("/t/mill/audit/pdf").status_code == 404
    assert AuditEntry.objects.filter(action="quota.set").count() == 60


def test_differences() -> None:
    assert list(changes(None, None)) == []
    assert list(changes(None, "x")) == [Change("", None, "x")]
    assert list(changes({"a": 1}, None)) == [Change("a", 1, None)]
    assert list(changes({"a": 1, "b": 2}, {"b": 2, "c": 3})) == [
        Change("a", 1, None),
        Change("c", None, 3),
    ]
    assert list(changes({"a": 1}, 2)) == [Change("a", 1, None), Change("", None, 2)]
