"""Around every request: its id, and its line in the log."""

from __future__ import annotations

import logging
from contextvars import copy_context
from typing import Any

import pytest
from prometheus_client import REGISTRY

from orchestrator import logs, metrics
from orchestrator.api import errors
from orchestrator.api.access import Told, request_id, shown_path
from tenants.models import Tenant
from tests.api.client import Api

Headers = list[tuple[bytes, bytes]]


class Served:
    """What an application answered."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    async def ask(
        self, inner: Any, path: str = "/api/v1/runs", headers: Headers | None = None
    ) -> None:
        """A request."""
        scope = {"type": "http", "method": "GET", "path": path, "headers": headers or [],
                 "query_string": b"token=secret"}  # fmt: skip
        await Told(inner)(scope, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        return {"type": "http.request"}

    async def _send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    @property
    def headers(self) -> dict[bytes, bytes]:
        """Of the answer."""
        return dict(self.sent[0]["headers"])


async def fine(scope: Any, receive: Any, send: Any) -> None:
    """Answer, having learnt whose request it is."""
    about = logs.request.get()
    assert about is not None
    about.tenant, about.key = "acme", "mk_1"
    await send({"type": "http.response.start", "status": 204, "headers": [(b"a", b"b")]})
    await send({"type": "http.response.body", "body": b""})


async def fails(scope: Any, receive: Any, send: Any) -> None:
    """Raise."""
    raise ValueError("no")


async def leaves(scope: Any, receive: Any, send: Any) -> None:
    """Answer nothing."""


async def test_an_answer_carries_the_requests_id(caplog: pytest.LogCaptureFixture) -> None:
    served = Served()
    with caplog.at_level(logging.INFO, "access"):
        await served.ask(fine, headers=[(b"x-request-id", b"from-a-proxy.1")])
    assert served.headers == {b"a": b"b", b"x-request-id": b"from-a-proxy.1"}
    (record,) = caplog.records
    assert record.getMessage() == "GET /api/v1/runs"
    known = vars(record)
    assert known["status"] == 204
    assert known["ms"] >= 0
    labels = {"method": "GET", "route": "-", "status": "204"}
    assert (REGISTRY.get_sample_value(f"{metrics.HTTP_SECONDS.name}_count", labels) or 0) >= 1
    about = logs.request.get()
    assert about is not None
    assert about.facts() == {"request": "from-a-proxy.1", "tenant": "acme", "key": "mk_1"}


@pytest.mark.parametrize("given", [b"", b"a b", b"a\nb", b"x" * 129, "é".encode()])
def test_an_id_that_is_none_is_replaced(given: bytes) -> None:
    made = request_id([(b"x-request-id", given)])
    assert len(made) == 32
    assert request_id([]) != made


async def test_what_went_wrong_is_told_too(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "access"):
        with pytest.raises(ValueError, match="no"):
            await Served().ask(fails)
        await Served().ask(leaves)
    assert [vars(one)["status"] for one in caplog.records] == [500, 499]


async def test_health_and_files_are_quiet(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "access"):
        for path in ("/health/ready", "/static/css/base.css", "/metrics"):
            await Served().ask(fine, path)
    assert caplog.records == []


def test_addresses_that_are_secrets_are_not_told() -> None:
    assert shown_path("/invitations/abc") == "/invitations/…"
    assert shown_path("/login/forgotten/MQ/abc-def") == "/login/forgotten/…"
    assert shown_path("/login/forgotten") == "/login/forgotten"
    assert len(shown_path("/" + "a" * 9_000)) == 500


def test_a_key_is_named_and_an_unexpected_error_names_the_request(api: Api, tenant: Tenant) -> None:
    def ask() -> None:
        about = logs.Request("r-1")
        logs.request.set(about)
        assert api.get("/runs").status == 200
        assert about.tenant == tenant.slug
        assert (api.key or "").startswith(f"{about.key}_")
        problem = errors.unexpected(ValueError("no"))
        assert b'"request_id":"r-1"' in problem.content

    copy_context().run(ask)
