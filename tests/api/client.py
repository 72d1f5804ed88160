"""A client of the API, in this process."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, cast

from asgiref.sync import async_to_sync
from django.http import HttpResponse, StreamingHttpResponse
from django.test import Client

from orchestrator.api.doors import Later

PREFIX = "/api/v1"


class Answer:
    """A response: its status, headers, and body as JSON."""

    def __init__(self, response: HttpResponse) -> None:
        self.status = response.status_code
        self.headers = response.headers
        self.type = response.headers.get("Content-Type", "")
        self.text = response.content.decode()

    @property
    def body(self) -> Any:
        """The decoded body; integers keep every digit."""
        return json.loads(self.text)

    @property
    def code(self) -> str:
        """A problem's code."""
        assert self.type == "application/problem+json", self.text
        assert self.body["status"] == self.status
        return str(self.body["code"])

    @property
    def findings(self) -> set[tuple[str, str]]:
        """A problem's (path, code) pairs."""
        return {(finding["path"], finding["code"]) for finding in self.body["errors"]}


class Api:
    """Requests with a key (none: without)."""

    def __init__(self, key: str | None) -> None:
        self.key = key
        self._client = Client(raise_request_exception=False)

    def send(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        raw: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """One request below /api/v1; `raw` is a body as it stands."""
        response = self.response(method, path, body, raw=raw, headers=headers)
        return Answer(cast(HttpResponse, response))

    def response(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        raw: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        """The same, as Django's response."""
        data = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        sent = {"Authorization": f"Bearer {self.key}"} if self.key is not None else {}
        response: Any = self._client.generic(
            method,
            PREFIX + path,
            data,
            content_type="application/json",
            headers={**sent, **(headers or {})},
        )
        if isinstance(response, Later):  # as orchestrator.asgi does
            async_to_sync(response.wait)()
            return response.settle()
        return response

    def get(self, path: str) -> Answer:
        """GET."""
        return self.send("GET", path)

    def post(self, path: str, body: object = None, **more: Any) -> Answer:
        """POST."""
        return self.send("POST", path, body, **more)

    def put(self, path: str, body: object = None, **more: Any) -> Answer:
        """PUT."""
        return self.send("PUT", path, body, **more)

    def delete(self, path: str) -> Answer:
        """DELETE."""
        return self.send("DELETE", path)

    def bulk(self, *lines: object) -> list[dict[str, Any]]:
        """POST /runs/bulk; bytes go in as they stand."""
        texts = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
        response = self.response("POST", "/runs/bulk", raw=b"\n".join(texts) + b"\n")
        assert response.status_code == 200
        assert response.headers["Content-Type"] == "application/x-ndjson"
        return [json.loads(line) for line in streamed(response).splitlines()]


def streamed(response: StreamingHttpResponse) -> bytes:
    """The whole of a streamed answer."""

    async def collect() -> bytes:
        return b"".join([piece async for piece in cast(AsyncIterator[bytes], response)])

    return async_to_sync(collect)()
