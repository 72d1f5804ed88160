"""Requests to `/hooks/…` as a sender makes them."""

from __future__ import annotations

import json
import time
from typing import cast

from django.http import HttpResponse
from django.test import Client

from orchestrator.domain.webhooks import sign
from tests.api.client import Answer


def signed(secret: str, body: bytes, *, age_s: float = 0.0) -> dict[str, str]:
    """The headers of a request signed so long ago."""
    timestamp = str(int(time.time() - age_s))
    return {
        "Millrace-Timestamp": timestamp,
        "Millrace-Signature": f"v1={sign(secret, timestamp, body)}",
    }


def send(
    path: str, body: object = None, *, secret: str = "", raw: bytes | None = None, age_s: float = 0,
    headers: dict[str, str] | None = None, method: str = "POST",
) -> Answer:  # fmt: skip
    """A request; signed where `secret` is given, with `headers` besides."""
    data = json.dumps(body).encode() if raw is None else raw
    made = signed(secret, data, age_s=age_s) if secret else {}
    response = Client(enforce_csrf_checks=True, raise_request_exception=False).generic(
        method, path, data, content_type="application/json", headers={**made, **(headers or {})}
    )
    return Answer(cast(HttpResponse, response))
