"""Requests that mean harm: each is refused with its code, costs little, and changes nothing."""

from __future__ import annotations

import gzip
import json
import logging
import zipfile
from collections.abc import Callable
from io import BytesIO
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest
from django.test import Client

from orchestrator import logs
from orchestrator.api.bounds import Bounded
from orchestrator.api.root import api as root
from orchestrator.models import Run
from tenants.actors import SYSTEM
from tenants.models import AuditEntry, Tenant
from tenants.services import create_api_key, create_secret, create_tenant
from tests.api.client import Api
from tests.api.test_audit_walk_pages import PAGES

INJECTIONS = (
    "' OR 1=1 --", "'; DROP TABLE run; --", '" OR ""="', "\\", "%", "_", "$1", "%s", "{0}", "a' || pg_sleep(5) --",
    "\x00", "x\x00y", "⁠", "𝔘", "null", "-1", "1e9", "NaN", "../../etc/passwd", "x" * 3000,
)  # fmt: skip


def readers() -> list[tuple[str, list[str]]]:
    """Every list and object of the API with its parameters."""
    document = root.get_openapi_schema()
    return [
        (path.removeprefix("/api/v1"), [one["name"] for one in route["get"].get("parameters", ())
                                        if one["in"] == "query"])
        for path, route in document["paths"].items()
        if "get" in route
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "names"), readers(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_sql_in_every_filter_and_every_path(
    api: Api, echo: str, path: str, names: list[str], tenant: Tenant
) -> None:
    run_id = api.post("/workflows/echo/runs", {"input": {"text": "x"}, "labels": {"k": "v"}}).body[
        "id"
    ]
    fixed = path.replace("{run_id}", run_id).replace("{name}", "echo").replace("{step}", "say")
    fixed = fixed.replace("{version}", "1").replace("{action_id}", str(uuid4()))
    for name in names:
        for text in INJECTIONS:
            answer = api.response("GET", f"{fixed}?{name}={quote(text)}")
            assert answer.status_code in (200, 404, 422), (path, name, text)
            if name in ("q", "workflow", "actor", "action", "target", "origin") and "items" in str(
                getattr(answer, "content", b"")
            ):
                items = json.loads(answer.content)["items"]
                assert not items or text in ("%", "_", "\\"), (path, name, text, items)
    for place in ("{run_id}", "{name}", "{step}", "{version}", "{action_id}"):
        if place in path:
            for text in INJECTIONS:
                answer = api.response("GET", fixed.replace(run_id, quote(text, safe=""), 1)
                                      if place == "{run_id}" else path.replace("{run_id}", run_id)
                                      .replace(place, quote(text, safe="")))  # fmt: skip
                assert answer.status_code in (404, 422), (path, place, text)
    assert Run.objects.filter(tenant=tenant).count() == 1


def test_wild_cards_are_letters(api: Api, echo: str) -> None:
    for labels in ({"k": "a%b"}, {"k": "a_b"}, {"k": "axb"}):
        assert (
            api.post("/workflows/echo/runs", {"input": {"text": 1}, "labels": labels}).status == 202
        )
    for text in ("a%b", "a_b"):
        found = api.get(f"/runs?q={quote(text)}").body["items"]
        assert [one["labels"]["k"] for one in found] == [text]


def bomb() -> bytes:
    """64 MiB that weigh 64 KiB."""
    return gzip.compress(b'{"input":"' + b" " * (64 << 20) + b'"}', compresslevel=1)


def archive() -> bytes:
    """The same as an archive."""
    file = BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("body.json", b" " * (8 << 20))
    return file.getvalue()


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "gzip, gzip"])
def test_what_is_compressed_is_not_opened(api: Api, echo: str, coding: str) -> None:
    for raw in (bomb(), archive()):
        answer = api.post("/workflows/echo/runs", raw=raw, headers={"Content-Encoding": coding})
        assert (answer.status, answer.code) == (400, "malformed_json")


JSON_BOMBS = {
    "arrays": b"[" * 500_000 + b"]" * 500_000,
    "objects": b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
    "a number": b'{"input":' + b"9" * 2_000_000 + b"}",
    "an exponent": b'{"input":1e' + b"9" * 1_000 + b"}",
    "many keys": b'{"input":{' + b",".join(b'"%d":1' % n for n in range(1_000)) + b'},"x":1}',
    "a doubled key": b'{"input":{},"inputs":1}',
    "an escape": b'{"input":"' + b"\\ud83d" * 10_000 + b'"}',
}


@pytest.mark.parametrize("kind", JSON_BOMBS)
def test_json_that_is_deep_or_huge_is_refused(api: Api, echo: str, kind: str) -> None:
    answer = api.post("/workflows/echo/runs", raw=JSON_BOMBS[kind])
    assert answer.status in (400, 413, 422)
    assert not Run.objects.exists()


async def test_a_body_without_end_is_refused_while_it_comes() -> None:
    told: list[dict[str, Any]] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["more_body"]:
            pass
        raise AssertionError("it came to its end")

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"x" * 1_000, "more_body": True}

    async def send(message: dict[str, Any]) -> None:
        told.append(message)

    bounded = Bounded(inner, 10_000)
    await bounded({"type": "http", "path": "/api/v1/runs/bulk", "headers": []}, receive, send)
    assert told[0]["status"] == 413
    assert json.loads(told[1]["body"])["code"] == "too_large"
    told.clear()
    declared = [(b"content-length", b"10001")]
    await bounded({"type": "http", "path": "/", "headers": declared}, receive, send)
    assert told[0]["status"] == 413


def test_a_guessed_key_learns_nothing(tenant: Tenant) -> None:
    _, raw = create_api_key(tenant=tenant, actor=SYSTEM)
    prefix, _, secret = raw.partition("_")[2].partition("_")
    other = "B" if secret.endswith("A") else "A"
    guesses = (
        f"mr_{prefix}_{'A' * 43}", f"mr_{prefix}_{secret[:-1]}{other}", f"mr_zzzzzzzz_{secret}",
        raw[:-1], raw + "x", raw.upper(), "", " ", "mr_", raw.replace("_", "-"), "Bearer " + raw, raw + "\x00",
    )  # fmt: skip
    answers = {(a.status, a.text) for a in (Api(guess).get("/runs") for guess in guesses)}
    assert len(answers) == 1, "absent, wrong and malformed keys look the same"
    ((status, text),) = answers
    assert (status, json.loads(text)["code"]) == (401, "invalid_key")


def test_a_key_is_no_cookie_and_a_session_no_key(
    tenant: Tenant, key_of: Callable[..., Api]
) -> None:
    key = key_of(tenant).key
    client = Client(raise_request_exception=False)
    client.cookies["sessionid"] = str(key)
    assert client.get("/api/v1/runs").status_code == 401
    assert (
        client.get("/api/v1/runs", {"key": str(key), "access_token": str(key)}).status_code == 401
    )


@pytest.mark.parametrize("scope", ["runs:read", "runs:write", "workflows:read", "workflows:write"])
def test_secrets_and_the_audit_log_need_the_scope_admin(
    tenant: Tenant, key_of: Callable[..., Api], scope: str
) -> None:
    create_secret(tenant=tenant, name="TOKEN", value="a-secret", actor=SYSTEM)
    api = key_of(tenant, scope)
    for path in ("/secrets", "/secrets/TOKEN", "/audit", "/audit/export"):
        assert api.get(path).code == "missing_scope"
    assert api.put("/secrets/TOKEN", {"value": "another"}).code == "missing_scope"


def test_a_stranger_sees_no_secret_and_no_entry(tenant: Tenant, stranger: Api) -> None:
    create_secret(tenant=tenant, name="TOKEN", value="a-secret", actor=SYSTEM)
    for method, path in (("GET", "/secrets/TOKEN"), ("DELETE", "/secrets/TOKEN")):
        theirs = stranger.send(method, path)
        assert theirs.status == 404
        assert theirs.text == stranger.send(method, "/secrets/ABSENT").text.replace(
            "ABSENT", "TOKEN"
        )
    assert stranger.get("/secrets").body["items"] == []
    assert all(one["target"] != "TOKEN" for one in stranger.get("/audit").body["items"])


@pytest.mark.parametrize("name", PAGES)
def test_no_form_without_its_token(tenant: Tenant, api: Api, echo: str, name: str) -> None:
    from django.contrib.auth.models import User
    from django.urls import reverse

    from tenants.models import Role
    from tenants.services import create_user

    create_user(
        name="ada", password="a-long-enough-word-9", tenant=tenant, role=Role.ADMIN, actor=SYSTEM
    )
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.get(), backend="django.contrib.auth.backends.ModelBackend")
    for more in ({}, {"run_id": uuid4()}, {"run_id": uuid4(), "step": "a"}, {"name": "echo"},
                 {"name": "echo", "action": "pause"}, {"run_id": uuid4(), "name": "go"},
                 {"key_id": "mr_aaaaaaaa"}, {"alert_id": uuid4()}, {"silence_id": uuid4()}):  # fmt: skip
        try:
            address = reverse(name, kwargs={"slug": tenant.slug, **more})
            break
        except Exception:
            continue
    before = AuditEntry.objects.count()
    for headers in ({}, {"Origin": "https://evil.example"}, {"Referer": "https://evil.example/"}):
        assert client.post(address, {"name": "x"}, headers=headers).status_code == 403
    assert AuditEntry.objects.count() == before


def test_what_is_sent_makes_no_line_of_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "process", {})  # another test's worker
    record = logging.LogRecord(
        "n", 30, __file__, 1, "no user %s", ("a\n2026 ERROR forged\x1b[2J\x85",), None
    )
    line = logs.Formatter(form="console").format(record)
    assert line.partition("Z ")[2] == "WARNING n: no user a\\n2026 ERROR forged\\x1b[2J\\x85"


@pytest.mark.parametrize(
    "sent",
    [
        "a\r\nSet-Cookie: x=1",
        "a\nX-Evil: 1",
        "http://evil.example",
        "//evil.example",
        "/\\evil.example",
    ],
)
def test_no_answer_gets_a_header_from_a_request(
    api: Api, echo: str, client: Client, sent: str
) -> None:
    answer = api.post(
        "/workflows/echo/runs", {"input": {"text": sent}}, headers={"Idempotency-Key": sent}
    )
    assert "X-Evil" not in answer.headers
    assert "Set-Cookie" not in answer.headers
    page = client.get("/login", {"next": sent})
    assert page.status_code == 200
    create_user_and = client.post("/login", {"username": "x", "password": "y", "next": sent})
    assert not create_user_and.headers.get("Location", "").startswith(("http:", "//", "/\\"))


def test_a_tenants_name_is_no_way_out(db: None) -> None:
    for slug in ("../x", "a/b", "A", "", "-a", "a" * 64, "a\n", "a;b"):
        with pytest.raises(Exception, match="slug"):
            create_tenant(slug=slug, actor=SYSTEM)
