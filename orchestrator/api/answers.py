"""Answers: JSON that keeps every digit."""

from __future__ import annotations

from collections.abc import Mapping

from django.http import HttpResponse

from orchestrator.selectors.payloads import render

JSON = "application/json"


def answer(
    value: object,
    status: int = 200,
    *,
    headers: Mapping[str, str] | None = None,
    content_type: str = JSON,
) -> HttpResponse:
    """`value` as JSON; see `selectors.payloads.render` for what it may hold."""
    text = render(value).encode()
    length = {"Content-Length": str(len(text))}  # the API's handler has no middleware that adds it
    return HttpResponse(
        text, status=status, headers={**length, **(headers or {})}, content_type=content_type
    )
